//! IQ2_XS: 256 elements in 74 bytes, in 16 parts of 16, each two groups of 8.
//!
//! ```text
//! byte 0      2                              66                     74
//!      | d f16 | groups, 32 x u16            | scales, 8 bytes      |
//!                 | point 9 bits, signs 7 bits |
//! ```
//! Part `p` has its scale of 4 bits in half `p % 2` of scale byte `p / 2`. A group is one point of a table of 512, its
//! coordinates worth 8, 25 and 43; the eighth sign makes the number of minuses even.
//! An element is `d * (scale + 0.5) / 4 * coordinate`, signed.

use super::{f16_at, for_each_block, grids, iq2_xxs::LEVELS, u16_at};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 74], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = group / 2;
            let scale = block[66 + part / 2] >> (4 * (part % 2)) & 15;
            let scale = d * (0.5 + f32::from(scale)) * 0.25;
            let stored = u16_at(block, 2 + 2 * group);
            let signs = grids::even_signs(u32::from(stored >> 9));
            let point = grids::eight(grids::IQ2_XS[usize::from(stored & 511)]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * LEVELS[usize::from(point[i])] * grids::sign(signs, i);
            }
        }
    });
}
