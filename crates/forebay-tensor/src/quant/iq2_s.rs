//! IQ2_S: 256 elements in 82 bytes, in 16 parts of 16, each two groups of 8.
//!
//! ```text
//! byte 0      2                        34               66                      74               82
//!      | d f16 | low points, 32 bytes   | signs, 32 bytes | high points, 8 bytes  | scales, 8 bytes |
//! ```
//! Group `g` is one point of a table of 1024: its low eight bits are low byte `g`, its high two bits `2 (g % 4)` of high
//! byte `g / 4`; its coordinates are worth 8, 25 and 43 and all eight signs are stored. Part `p` has its scale of 4 bits
//! in half `p % 2` of scale byte `p / 2`. An element is `d * (scale + 0.5) / 4 * coordinate`, signed.

use super::{f16_at, for_each_block, grids, iq2_xxs::LEVELS};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 82], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = group / 2;
            let scale = block[74 + part / 2] >> (4 * (part % 2)) & 15;
            let scale = d * (0.5 + f32::from(scale)) * 0.25;
            let high = usize::from(block[66 + group / 4] >> (2 * (group % 4)) & 3);
            let point = grids::eight(grids::IQ2_S[usize::from(block[2 + group]) | high << 8]);
            let signs = block[34 + group];
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * LEVELS[usize::from(point[i])] * grids::sign(signs, i);
            }
        }
    });
}
