//! IQ1_M: 256 elements in 56 bytes, in 16 parts of 16, each two groups of 8.
//!
//! ```text
//! byte 0                      32                                          48                  56
//!      | low points, 32 bytes | parts, 16 bytes: (3 high point bits, shift) x 2 | scales, 4 x u16 |
//! ```
//! A group is one point of a table of 2048, its coordinates worth -1, 0 and 1; its shift moves it by `SHIFT`, downwards
//! if the bit is set. Scale word `w` holds the scales of parts `4 w` to `4 w + 3` in 3 bits each, and in its high four
//! bits four bits of the f16 `d`, lowest first. An element is `d * (1 + 2 scale) * (coordinate + shift)`.

use super::{for_each_block, grids, iq1_s::SHIFT, u16_at};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 56], out: &mut [f32; 256]| {
        let d = (0..4).fold(0, |d, w| d | (u16_at(block, 48 + 2 * w) >> 12) << (4 * w));
        let d = half::f16::from_bits(d).to_f32();
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = group / 2;
            let scale = u16_at(block, 48 + 2 * (part / 4)) >> (3 * (part % 4)) & 7;
            let scale = d * f32::from(1 + 2 * scale);
            let high = block[32 + part] >> (4 * (group % 2));
            let shift = if high & 8 == 8 { -SHIFT } else { SHIFT };
            let point = grids::eight(grids::IQ1[usize::from(block[group]) | usize::from(high & 7) << 8]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * (f32::from(point[i]) - 1.0 + shift);
            }
        }
    });
}
