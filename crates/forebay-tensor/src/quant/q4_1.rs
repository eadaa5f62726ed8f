//! Q4_1: 32 elements in 20 bytes.
//!
//! ```text
//! byte 0       2       4                 20
//!      | d f16 | m f16 | codes, 16 bytes |
//! ```
//! Byte `j` of the codes holds element `j` in its low half and element `j + 16` in its high half.
//! An element is `d * code + m`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_halves, put_f16},
    search::{self, Bound},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 20], out: &mut [f32; 32]| {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        for j in 0..16 {
            let byte = block[4 + j];
            out[j] = d * f32::from(byte & 15) + m;
            out[j + 16] = d * f32::from(byte >> 4) + m;
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 20]| {
        let line = search::best_line(x, w, 15.0, Bound::Free, search::line_as_f16);
        let mut codes = [0; 32];
        line.codes(x, 15.0, &mut codes);
        put_f16(block, 0, line.scale);
        put_f16(block, 2, line.offset);
        pack_halves(&codes, &mut block[4..]);
    });
}
