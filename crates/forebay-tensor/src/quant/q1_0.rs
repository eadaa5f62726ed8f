//! Q1_0: 128 signs with one scale in 18 bytes.
//!
//! ```text
//! byte 0       2                 18
//!      | d f16 | signs, 16 bytes |
//! ```
//! Bit `i % 8` of sign byte `i / 8` belongs to element `i`, which is `d` where it is set and `-d` where it is
//! not.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16},
    search,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 18], out: &mut [f32; 128]| {
        let d = f16_at(block, 0);
        for (i, out) in out.iter_mut().enumerate() {
            *out = if block[2 + i / 8] >> (i % 8) & 1 == 1 { d } else { -d };
        }
    });
}

/// The mean magnitude is the scale of least squared error.
pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 128], w, block: &mut [u8; 18]| {
        let sum = x.iter().zip(w).map(|(x, w)| f64::from(*w) * f64::from(x.abs())).sum::<f64>();
        let total = w.iter().copied().map(f64::from).sum::<f64>();
        put_f16(block, 0, search::as_f16((sum / total) as f32));
        for (x, signs) in x.as_chunks::<8>().0.iter().zip(&mut block[2..]) {
            *signs = (0..8).fold(0, |signs, i| signs | u8::from(x[i] >= 0.0) << i);
        }
    });
}
