//! Q5_1: 32 elements in 24 bytes.
//!
//! ```text
//! byte 0       2       4                 8                    24
//!      | d f16 | m f16 | fifth bits, u32 | low bits, 16 bytes |
//! ```
//! Byte `j` of the low bits holds element `j` in its low half and element `j + 16` in its high half; bit `i`
//! of the fifth bits belongs to element `i`.
//! An element is `d * code + m`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_fifths, pack_halves, put_f16, u32_at},
    search::{self, Bound},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 24], out: &mut [f32; 32]| {
        let (d, m, fifth) = (f16_at(block, 0), f16_at(block, 2), u32_at(block, 4));
        for (i, out) in out.iter_mut().enumerate() {
            let low = block[8 + i % 16] >> (4 * (i / 16)) & 15;
            let code = low | ((fifth >> i & 1) as u8) << 4;
            *out = d * f32::from(code) + m;
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 24]| {
        let line = search::best_line(x, w, 31.0, Bound::Free, search::line_as_f16);
        let mut codes = [0; 32];
        line.codes(x, 31.0, &mut codes);
        put_f16(block, 0, line.scale);
        put_f16(block, 2, line.offset);
        block[4..8].copy_from_slice(&pack_fifths(&codes).to_le_bytes());
        pack_halves(&codes, &mut block[8..]);
    });
}
