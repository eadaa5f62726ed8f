//! Q4_0: 32 elements in 18 bytes.
//!
//! ```text
//! byte 0      2                              18
//!      | d f16 | codes, 16 bytes             |
//! ```
//! Byte `j` of the codes holds element `j` in its low half and element `j + 16` in its high half.
//! An element is `d * (code - 8)`.

use super::{f16_at, put_f16};

const ELEMENTS: usize = 32;
const BYTES: usize = 18;

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(BYTES).zip(out.chunks_exact_mut(ELEMENTS)) {
        let d = f16_at(block, 0);
        for (j, codes) in block[2..].iter().enumerate() {
            out[j] = d * f32::from((codes & 15) as i8 - 8);
            out[j + 16] = d * f32::from((codes >> 4) as i8 - 8);
        }
    }
}

pub(super) fn encode(src: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    for (x, block) in src.chunks_exact(ELEMENTS).zip(out.chunks_exact_mut(BYTES)) {
        quantise_block(x, block);
    }
}

/// The element furthest from zero gets the code 0, which is the one with the largest magnitude.
fn quantise_block(x: &[f32], block: &mut [u8]) {
    let furthest = x.iter().fold(0.0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
    let d = furthest / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    put_f16(block, 0, d);
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    for j in 0..16 {
        block[2 + j] = code(x[j]) | code(x[j + 16]) << 4;
    }
}
