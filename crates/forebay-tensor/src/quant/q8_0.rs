//! Q8_0: 32 elements in 34 bytes, a weight format and the plainest activation format.
//!
//! ```text
//! byte 0      2                              34
//!      | d f16 | codes, 32 signed bytes      |
//! ```
//! An element is `d * code`.

use super::{f16_at, put_f16};

const ELEMENTS: usize = 32;
const BYTES: usize = 34;

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(BYTES).zip(out.chunks_exact_mut(ELEMENTS)) {
        let d = f16_at(block, 0);
        for (code, out) in block[2..].iter().zip(out) {
            *out = d * f32::from(*code as i8);
        }
    }
}

pub(super) fn encode(src: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    for (x, block) in src.chunks_exact(ELEMENTS).zip(out.chunks_exact_mut(BYTES)) {
        quantise_block(x, block);
    }
}

/// The element furthest from zero gets the code 127 or -127; the rest round to nearest, halves away from zero.
fn quantise_block(x: &[f32], block: &mut [u8]) {
    let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let d = most / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    put_f16(block, 0, d);
    for (x, code) in x.iter().zip(&mut block[2..]) {
        *code = (x * inverse).round() as i8 as u8;
    }
}
