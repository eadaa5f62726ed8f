//! Q6_K: 256 elements in 210 bytes, in 16 parts of 16.
//!
//! ```text
//! byte 0                     128                   192                       208     210
//!      | low bits, 128 bytes | high bits, 64 bytes | scales, 16 signed bytes | d f16 |
//! ```
//! Codes have 6 bits: element `128 h + 32 k + l` has its low four in half `k / 2` of low byte
//! `64 h + 32 (k % 2) + l` and its high two in bits `2 k` of high byte `32 h + l`.
//! An element is `d * scale * (code - 32)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16},
    search::Integers,
    two_level,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 210], out: &mut [f32; 256]| {
        let d = f16_at(block, 208);
        for (i, out) in out.iter_mut().enumerate() {
            let (h, k, l) = (i / 128, i / 32 % 4, i % 32);
            let low = block[64 * h + 32 * (k % 2) + l] >> (4 * (k / 2)) & 15;
            let high = block[128 + 32 * h + l] >> (2 * k) & 3;
            let scale = d * f32::from(block[192 + i / 16] as i8);
            *out = scale * f32::from((low | high << 4) as i8 - 32);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 210]| {
        let fit = two_level::scaled::<16>(x, w, Integers { low: -32, high: 31 }, (-128, 127));
        *block = [0; 210];
        for (i, code) in fit.codes.iter().enumerate() {
            let (h, k, l) = (i / 128, i / 32 % 4, i % 32);
            block[64 * h + 32 * (k % 2) + l] |= (code & 15) << (4 * (k / 2));
            block[128 + 32 * h + l] |= (code >> 4) << (2 * k);
        }
        for (scale, byte) in fit.scales.iter().zip(&mut block[192..208]) {
            *byte = *scale as u8;
        }
        put_f16(block, 208, fit.d);
    });
}
