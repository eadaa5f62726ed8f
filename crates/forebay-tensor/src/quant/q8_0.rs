//! Q8_0: 32 elements in 34 bytes, a weight format and the plainest activation format.
//!
//! ```text
//! byte 0       2                        34
//!      | d f16 | codes, 32 signed bytes |
//! ```
//! An element is `d * code`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16},
    search::{self, Integers},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 34], out: &mut [f32; 32]| {
        let d = f16_at(block, 0);
        for (code, out) in block[2..].iter().zip(out) {
            *out = d * f32::from(*code as i8);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 34]| {
        let levels = Integers { low: -127, high: 127 };
        let d = search::best_scale(x, w, levels, search::as_f16);
        put_f16(block, 0, d);
        search::codes(x, d, levels, &mut block[2..]);
        for code in &mut block[2..] {
            *code = code.wrapping_sub(127);
        }
    });
}
