//! Q4_0: 32 elements in 18 bytes.
//!
//! ```text
//! byte 0       2                 18
//!      | d f16 | codes, 16 bytes |
//! ```
//! Byte `j` of the codes holds element `j` in its low half and element `j + 16` in its high half.
//! An element is `d * (code - 8)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_halves, put_f16},
    search::{self, Integers},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 18], out: &mut [f32; 32]| {
        let d = f16_at(block, 0);
        for j in 0..16 {
            let byte = block[2 + j];
            out[j] = d * f32::from((byte & 15) as i8 - 8);
            out[j + 16] = d * f32::from((byte >> 4) as i8 - 8);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 18]| {
        let levels = Integers { low: -8, high: 7 };
        let d = search::best_scale(x, w, levels, search::as_f16);
        let mut codes = [0; 32];
        search::codes(x, d, levels, &mut codes);
        put_f16(block, 0, d);
        pack_halves(&codes, &mut block[2..]);
    });
}
