//! IQ4_XS: 256 elements in 136 bytes, in eight parts of 32, codes of IQ4_NL's table.
//!
//! ```text
//! byte 0       2                  4                     8                  136
//!      | d f16 | high scales, u16 | low scales, 4 bytes | codes, 128 bytes |
//! ```
//! Scales have 6 bits: part `p` has its low four in half `p % 2` of low byte `p / 2` and its high two in bits
//! `2 p` of the high scales. Code byte `16 p + j` holds element `32 p + j` in its low half and
//! `32 p + 16 + j` in its high half.
//! An element is `d * (scale - 32) * LEVELS[code]`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_halves, put_f16, u16_at},
    iq4_nl::LEVELS,
    search::Curve,
    two_level,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 136], out: &mut [f32; 256]| {
        let (d, high_scales) = (f16_at(block, 0), u16_at(block, 2));
        for part in 0..8 {
            let low = block[4 + part / 2] >> (4 * (part % 2)) & 15;
            let high = (high_scales >> (2 * part) & 3) as u8;
            let scale = d * f32::from((low | high << 4) as i8 - 32);
            for j in 0..16 {
                let byte = block[8 + 16 * part + j];
                out[32 * part + j] = scale * f32::from(LEVELS[usize::from(byte & 15)]);
                out[32 * part + 16 + j] = scale * f32::from(LEVELS[usize::from(byte >> 4)]);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 136]| {
        let fit = two_level::scaled::<8>(x, w, Curve(&LEVELS), (-32, 31));
        *block = [0; 136];
        put_f16(block, 0, fit.d);
        let mut high_scales = 0;
        for (part, scale) in fit.scales.iter().enumerate() {
            let scale = (scale + 32) as u16;
            block[4 + part / 2] |= (scale as u8 & 15) << (4 * (part % 2));
            high_scales |= (scale >> 4) << (2 * part);
        }
        block[2..4].copy_from_slice(&high_scales.to_le_bytes());
        for (codes, bytes) in fit.codes.as_chunks::<32>().0.iter().zip(block[8..].as_chunks_mut::<16>().0) {
            pack_halves(codes, bytes);
        }
    });
}
