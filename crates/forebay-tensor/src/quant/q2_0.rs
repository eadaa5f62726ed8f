//! Q2_0: 64 elements in 18 bytes.
//!
//! ```text
//! byte 0       2                 18
//!      | d f16 | codes, 16 bytes |
//! ```
//! Codes have 2 bits: element `i` is bits `2 (i % 4)` of code byte `i / 4`.
//! An element is `d * (code - 1)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16},
    search::{self, Integers},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 18], out: &mut [f32; 64]| {
        let d = f16_at(block, 0);
        for (i, out) in out.iter_mut().enumerate() {
            let code = block[2 + i / 4] >> (2 * (i % 4)) & 3;
            *out = d * (f32::from(code) - 1.0);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 64], w, block: &mut [u8; 18]| {
        let levels = Integers { low: -1, high: 2 };
        let d = search::best_scale(x, w, levels, search::as_f16);
        let mut codes = [0; 64];
        search::codes(x, d, levels, &mut codes);
        put_f16(block, 0, d);
        for (codes, byte) in codes.as_chunks::<4>().0.iter().zip(&mut block[2..]) {
            *byte = codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6;
        }
    });
}
