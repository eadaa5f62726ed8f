//! Q2_K: 256 elements in 84 bytes, in 16 parts of 16.
//!
//! ```text
//! byte 0                  16                80      82         84
//!      | scales, 16 bytes | codes, 64 bytes | d f16 | dmin f16 |
//! ```
//! Scale byte `p` holds the scale of part `p` in its low half and its minimum in its high half. Codes have 2
//! bits: the element `128 h + 32 k + l` is bits `2 k` of code byte `32 h + l`.
//! An element is `d * scale * code - dmin * minimum`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_quarters, put_f16},
    two_level,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 84], out: &mut [f32; 256]| {
        let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
        for (i, out) in out.iter_mut().enumerate() {
            let scales = block[i / 16];
            let scale = d * f32::from(scales & 15);
            let minimum = dmin * f32::from(scales >> 4);
            let code = block[16 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3;
            *out = scale * f32::from(code) - minimum;
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 84]| {
        let fit = two_level::lined::<16>(x, w, 3.0, 15);
        for (scales, (scale, minimum)) in block.iter_mut().zip(fit.scales.iter().zip(fit.minimums)) {
            *scales = scale | minimum << 4;
        }
        pack_quarters(&fit.codes, &mut block[16..80]);
        put_f16(block, 80, fit.d);
        put_f16(block, 82, fit.dmin);
    });
}
