//! Q3_K: 256 elements in 110 bytes, in 16 parts of 16.
//!
//! ```text
//! byte 0                     32                   96                 108     110
//!      | high bits, 32 bytes | low bits, 64 bytes | scales, 12 bytes | d f16 |
//! ```
//! Codes have 3 bits: element `128 h + 32 k + l` has its low two in bits `2 k` of low byte `32 h + l` and its
//! high one in bit `4 h + k` of high byte `l`. Scales have 6 bits: part `p` has its low four in half `p / 8`
//! of scale byte `p % 8` and its high two in bits `2 (p / 4)` of scale byte `8 + p % 4`.
//! An element is `d * (scale - 32) * (code - 4)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_quarters, put_f16},
    search::Integers,
    two_level,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 110], out: &mut [f32; 256]| {
        let d = f16_at(block, 108);
        for (i, out) in out.iter_mut().enumerate() {
            let scale = d * f32::from(scale_of(block, i / 16) as i8 - 32);
            let low = block[32 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3;
            let high = block[i % 32] >> (i / 32) & 1;
            *out = scale * f32::from((low | high << 2) as i8 - 4);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 110]| {
        let fit = two_level::scaled::<16>(x, w, Integers { low: -4, high: 3 }, (-32, 31));
        *block = [0; 110];
        for (i, code) in fit.codes.iter().enumerate() {
            block[i % 32] |= (code >> 2) << (i / 32);
        }
        pack_quarters(&fit.codes.map(|code| code & 3), &mut block[32..96]);
        for (part, scale) in fit.scales.iter().enumerate() {
            let scale = (scale + 32) as u8;
            block[96 + part % 8] |= (scale & 15) << (4 * (part / 8));
            block[104 + part % 4] |= (scale >> 4) << (2 * (part / 4));
        }
        put_f16(block, 108, fit.d);
    });
}

/// The 6-bit scale of a part.
fn scale_of(block: &[u8; 110], part: usize) -> u8 {
    let low = block[96 + part % 8] >> (4 * (part / 8)) & 15;
    let high = block[104 + part % 4] >> (2 * (part / 4)) & 3;
    low | high << 4
}
