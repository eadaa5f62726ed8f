//! IQ2_XXS: 256 elements in 66 bytes, in eight parts of 32, each four groups of 8.
//!
//! ```text
//! byte 0      2                                                    66
//!      | d f16 | part 0, 8 bytes | part 1, 8 bytes | ... | part 7     |
//!                 | points, 4 bytes | u32: 7 sign bits x 4, scale 4 bits |
//! ```
//! A group is one point of a table of 256, its coordinates worth 8, 25 and 43; seven of its signs are stored, the eighth
//! makes the number of minuses even. An element is `d * (scale + 0.5) / 4 * coordinate`, signed.

use super::{f16_at, for_each_block, grids, u32_at};

/// What a coordinate is worth, in all IQ2 formats.
pub(super) const LEVELS: [f32; 4] = [8.0, 25.0, 43.0, 0.0];

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 66], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let (at, l) = (2 + 8 * (group / 4), group % 4);
            let signs_and_scale = u32_at(block, at + 4);
            let scale = d * (0.5 + (signs_and_scale >> 28) as f32) * 0.25;
            let signs = grids::even_signs(signs_and_scale >> (7 * l));
            let point = grids::eight(grids::IQ2_XXS[usize::from(block[at + l])]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * LEVELS[usize::from(point[i])] * grids::sign(signs, i);
            }
        }
    });
}
