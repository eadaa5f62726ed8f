//! IQ1_S: 256 elements in 50 bytes, in eight parts of 32, each four groups of 8.
//!
//! ```text
//! byte 0      2                      34                                                     50
//!      | d f16 | low points, 32 bytes | parts, 8 x u16: 3 high point bits x 4, scale 3 bits, shift |
//! ```
//! A group is one point of a table of 2048, its coordinates worth -1, 0 and 1; its low eight bits are in the low points.
//! The shift of a part moves all of it by `SHIFT`, downwards if the bit is set.
//! An element is `d * (1 + 2 scale) * (coordinate + shift)`.

use super::{f16_at, for_each_block, grids, u16_at};

/// How far a part is moved off the integers, in the IQ1 formats.
pub(super) const SHIFT: f32 = 0.125;

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 50], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = u16_at(block, 34 + 2 * (group / 4));
            let scale = d * f32::from(1 + 2 * (part >> 12 & 7));
            let shift = if part >> 15 == 1 { -SHIFT } else { SHIFT };
            let high = usize::from(part >> (3 * (group % 4)) & 7);
            let point = grids::eight(grids::IQ1[usize::from(block[2 + group]) | high << 8]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * (f32::from(point[i]) - 1.0 + shift);
            }
        }
    });
}
