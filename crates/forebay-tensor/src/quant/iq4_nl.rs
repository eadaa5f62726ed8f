//! IQ4_NL: 32 elements in 18 bytes, codes of a curved table.
//!
//! ```text
//! byte 0       2                 18
//!      | d f16 | codes, 16 bytes |
//! ```
//! Byte `j` of the codes holds element `j` in its low half and element `j + 16` in its high half.
//! An element is `d * LEVELS[code]`; the levels lie closer together near zero, where most weights are.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_halves, put_f16},
    search::{self, Curve},
};

/// What a code is worth.
pub(crate) static LEVELS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 18], out: &mut [f32; 32]| {
        let d = f16_at(block, 0);
        for j in 0..16 {
            let byte = block[2 + j];
            out[j] = d * f32::from(LEVELS[usize::from(byte & 15)]);
            out[j + 16] = d * f32::from(LEVELS[usize::from(byte >> 4)]);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 18]| {
        let levels = Curve(&LEVELS);
        let d = search::best_scale(x, w, levels, search::as_f16);
        let mut codes = [0; 32];
        search::codes(x, d, levels, &mut codes);
        put_f16(block, 0, d);
        pack_halves(&codes, &mut block[2..]);
    });
}
