//! IQ2_XXS: 256 elements in 66 bytes, in eight parts of 32, each four groups of 8.
//!
//! ```text
//! byte 0       2                                                                       66
//!      | d f16 | parts, 8 x (points, 4 bytes; u32: 7 sign bits x 4, then scale 4 bits) |
//! ```
//! A group is one point of a table of 256, its coordinates worth 8, 25 and 43; seven of its signs are stored,
//! the eighth makes the number of minuses even.
//! An element is `d * (scale + 0.5) / 4 * coordinate`, signed.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16, u32_at},
    grids,
    lattice::{self, Lattice},
    points,
};

/// What a coordinate is worth, in all IQ2 formats.
pub(crate) const LEVELS: [f32; 3] = [8.0, 25.0, 43.0];

/// Where the furthest element of a part may land, in all IQ2 formats.
pub(super) const LANDINGS: (f32, f32) = (34.0, 80.0);

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 66], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let (at, l) = (2 + 8 * (group / 4), group % 4);
            let signs_and_scale = u32_at(block, at + 4);
            let scale = d * (0.5 + (signs_and_scale >> 28) as f32) * 0.25;
            let signs = points::even_signs(signs_and_scale >> (7 * l));
            let point = points::eight(grids::IQ2_XXS[usize::from(block[at + l])]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * LEVELS[usize::from(point[i])] * points::sign(signs, i);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<8, 3>::new(&grids::IQ2_XXS, 2, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 66]| {
        let folded = lattice::fold(x, w, true);
        let (fit, numbers) = lattice::fit::<8, 3, 8>(&mut lattice, &folded.magnitudes, w, LANDINGS, 0.125);
        put_f16(block, 0, fit.d);
        for (part, grade) in fit.grades.iter().enumerate() {
            let at = 2 + 8 * part;
            let mut signs_and_scale = u32::from(*grade) << 28;
            for l in 0..4 {
                block[at + l] = numbers[4 * part + l] as u8;
                signs_and_scale |= u32::from(folded.signs[4 * part + l] & 127) << (7 * l);
            }
            block[at + 4..at + 8].copy_from_slice(&signs_and_scale.to_le_bytes());
        }
    });
}
