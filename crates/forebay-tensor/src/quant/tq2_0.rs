//! TQ2_0: 256 elements in 66 bytes, meant for -1, 0 and 1 times a scale.
//!
//! ```text
//! byte 0                 64      66
//!      | codes, 64 bytes | d f16 |
//! ```
//! Codes have 2 bits: element `128 h + 32 k + l` is bits `2 k` of code byte `32 h + l`.
//! An element is `d * (code - 1)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_quarters, put_f16},
    search::{self, Integers},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 66], out: &mut [f32; 256]| {
        let d = f16_at(block, 64);
        for (i, out) in out.iter_mut().enumerate() {
            let code = block[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3;
            *out = d * (f32::from(code) - 1.0);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 66]| {
        let levels = Integers { low: -1, high: 1 };
        let d = search::best_scale(x, w, levels, search::as_f16);
        let mut codes = [0; 256];
        search::codes(x, d, levels, &mut codes);
        pack_quarters(&codes, &mut block[..64]);
        put_f16(block, 64, d);
    });
}
