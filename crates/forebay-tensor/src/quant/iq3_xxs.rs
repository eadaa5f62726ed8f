//! IQ3_XXS: 256 elements in 98 bytes, in eight parts of 32, each eight groups of 4.
//!
//! ```text
//! byte 0      2                  66                                                     98
//!      | d f16 | points, 64 bytes | part 0: u32 of 7 sign bits x 4, scale 4 bits | ...    |
//! ```
//! A group is one point of a table of 256. Signs belong to pairs of groups: seven are stored, the eighth makes the number
//! of minuses even. An element is `d * (scale + 0.5) / 2 * LEVELS[coordinate]`, signed.

use super::{f16_at, for_each_block, grids, u32_at};

/// What a coordinate is worth.
pub(super) const LEVELS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 98], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (pair, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let signs_and_scale = u32_at(block, 66 + 4 * (pair / 4));
            let scale = d * (0.5 + (signs_and_scale >> 28) as f32) * 0.5;
            let signs = grids::even_signs(signs_and_scale >> (7 * (pair % 4)));
            for (i, out) in out.iter_mut().enumerate() {
                let point = grids::four(grids::IQ3_XXS[usize::from(block[2 + 2 * pair + i / 4])]);
                *out = scale * LEVELS[usize::from(point[i % 4])] * grids::sign(signs, i);
            }
        }
    });
}
