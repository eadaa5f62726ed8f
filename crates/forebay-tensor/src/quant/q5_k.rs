//! Q5_K: 256 elements in 176 bytes, in eight parts of 32.
//!
//! ```text
//! byte 0       2          4                  16                     48                    176
//!      | d f16 | dmin f16 | scales, 12 bytes | fifth bits, 32 bytes | low bits, 128 bytes |
//! ```
//! Scales and minimums of 6 bits are packed as `k_scales` draws them. Low byte `32 h + l` holds element
//! `64 h + l` in its low half and element `64 h + 32 + l` in its high half; the fifth bit of element
//! `32 p + l` is bit `p` of fifth byte `l`.
//! An element is `d * scale * code - dmin * minimum`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_halves, put_f16},
    k_scales, two_level,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 176], out: &mut [f32; 256]| {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        for part in 0..8 {
            let (scale, minimum) = k_scales::get(&block[4..16], part);
            let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
            for l in 0..32 {
                let low = block[48 + 32 * (part / 2) + l] >> (4 * (part % 2)) & 15;
                let fifth = block[16 + l] >> part & 1;
                out[32 * part + l] = scale * f32::from(low | fifth << 4) - minimum;
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 176]| {
        let fit = two_level::lined::<8>(x, w, 31.0, 63);
        put_f16(block, 0, fit.d);
        put_f16(block, 2, fit.dmin);
        block[4..16].copy_from_slice(&k_scales::pack(&fit.scales, &fit.minimums));
        block[16..48].fill(0);
        for (i, code) in fit.codes.iter().enumerate() {
            block[16 + i % 32] |= (code >> 4) << (i / 32);
        }
        for (codes, bytes) in fit.codes.as_chunks::<64>().0.iter().zip(block[48..].as_chunks_mut::<32>().0) {
            pack_halves(codes, bytes);
        }
    });
}
