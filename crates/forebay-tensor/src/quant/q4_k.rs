//! Q4_K: 256 elements in 144 bytes, in eight parts of 32.
//!
//! ```text
//! byte 0       2          4                  16                 144
//!      | d f16 | dmin f16 | scales, 12 bytes | codes, 128 bytes |
//! ```
//! Scales and minimums of 6 bits are packed as `k_scales` draws them. Code byte `32 h + l` holds element
//! `64 h + l` in its low half and element `64 h + 32 + l` in its high half.
//! An element is `d * scale * code - dmin * minimum`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_halves, put_f16},
    k_scales, two_level,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 144], out: &mut [f32; 256]| {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        for part in 0..8 {
            let (scale, minimum) = k_scales::get(&block[4..16], part);
            let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
            for l in 0..32 {
                let code = block[16 + 32 * (part / 2) + l] >> (4 * (part % 2)) & 15;
                out[32 * part + l] = scale * f32::from(code) - minimum;
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 144]| {
        let fit = two_level::lined::<8>(x, w, 15.0, 63);
        put_f16(block, 0, fit.d);
        put_f16(block, 2, fit.dmin);
        block[4..16].copy_from_slice(&k_scales::pack(&fit.scales, &fit.minimums));
        for (codes, bytes) in fit.codes.as_chunks::<64>().0.iter().zip(block[16..].as_chunks_mut::<32>().0) {
            pack_halves(codes, bytes);
        }
    });
}
