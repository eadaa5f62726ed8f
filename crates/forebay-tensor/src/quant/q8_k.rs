//! Q8_K: 256 elements in 292 bytes, for activations that meet weights in blocks of 256.
//!
//! ```text
//! byte 0       4                         260              292
//!      | d f32 | codes, 256 signed bytes | sums, 16 x i16 |
//! ```
//! An element is `d * code`; sum `j` is that of codes `16 j` to `16 j + 15`.

use super::block::{for_each_block, u32_at};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 292], out: &mut [f32; 256]| {
        let d = f32::from_bits(u32_at(block, 0));
        for (code, out) in block[4..260].iter().zip(out) {
            *out = d * f32::from(*code as i8);
        }
    });
}
