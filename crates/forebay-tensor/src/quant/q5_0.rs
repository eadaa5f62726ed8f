//! Q5_0: 32 elements in 22 bytes.
//!
//! ```text
//! byte 0       2                 6                    22
//!      | d f16 | fifth bits, u32 | low bits, 16 bytes |
//! ```
//! Byte `j` of the low bits holds element `j` in its low half and element `j + 16` in its high half; bit `i`
//! of the fifth bits belongs to element `i`.
//! An element is `d * (code - 16)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_fifths, pack_halves, put_f16, u32_at},
    search::{self, Integers},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 22], out: &mut [f32; 32]| {
        let (d, fifth) = (f16_at(block, 0), u32_at(block, 2));
        for (i, out) in out.iter_mut().enumerate() {
            let low = block[6 + i % 16] >> (4 * (i / 16)) & 15;
            let code = low | ((fifth >> i & 1) as u8) << 4;
            *out = d * f32::from(code as i8 - 16);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 22]| {
        let levels = Integers { low: -16, high: 15 };
        let d = search::best_scale(x, w, levels, search::as_f16);
        let mut codes = [0; 32];
        search::codes(x, d, levels, &mut codes);
        put_f16(block, 0, d);
        block[2..6].copy_from_slice(&pack_fifths(&codes).to_le_bytes());
        pack_halves(&codes, &mut block[6..]);
    });
}
