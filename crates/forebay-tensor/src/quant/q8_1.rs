//! Q8_1: 32 elements in 36 bytes, for activations that meet weights with a minimum.
//!
//! ```text
//! byte 0       2       4                        36
//!      | d f16 | s f16 | codes, 32 signed bytes |
//! ```
//! An element is `d * code`; `s` is `d` times the sum of the codes, by which a weight's minimum is
//! multiplied.

use super::block::{f16_at, for_each_block};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 36], out: &mut [f32; 32]| {
        let d = f16_at(block, 0);
        for (code, out) in block[4..].iter().zip(out) {
            *out = d * f32::from(*code as i8);
        }
    });
}
