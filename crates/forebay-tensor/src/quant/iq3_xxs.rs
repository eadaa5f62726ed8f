//! IQ3_XXS: 256 elements in 98 bytes, in eight parts of 32, each eight groups of 4.
//!
//! ```text
//! byte 0       2                  66                                                   98
//!      | d f16 | points, 64 bytes | parts, 8 x u32: 7 sign bits x 4, then scale 4 bits |
//! ```
//! A group is one point of a table of 256. Signs belong to pairs of groups: seven are stored, the eighth
//! makes the number of minuses even.
//! An element is `d * (scale + 0.5) / 2 * LEVELS[coordinate]`, signed.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16, u32_at},
    grids,
    lattice::{self, Lattice},
    points,
};

/// What a coordinate is worth.
pub(crate) const LEVELS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 98], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (pair, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let signs_and_scale = u32_at(block, 66 + 4 * (pair / 4));
            let scale = d * (0.5 + (signs_and_scale >> 28) as f32) * 0.5;
            let signs = points::even_signs(signs_and_scale >> (7 * (pair % 4)));
            for (i, out) in out.iter_mut().enumerate() {
                let point = points::four(grids::IQ3_XXS[usize::from(block[2 + 2 * pair + i / 4])]);
                *out = scale * LEVELS[usize::from(point[i % 4])] * points::sign(signs, i);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<4, 8>::new(&grids::IQ3_XXS, 3, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 98]| {
        let folded = lattice::fold(x, w, true);
        let (fit, numbers) =
            lattice::fit::<4, 8, 8>(&mut lattice, &folded.magnitudes, w, (50.0, 100.0), 0.25);
        put_f16(block, 0, fit.d);
        for (number, byte) in numbers.iter().zip(&mut block[2..66]) {
            *byte = *number as u8;
        }
        for (part, stored) in block[66..].as_chunks_mut().0.iter_mut().enumerate() {
            let grade = u32::from(fit.grades[part]) << 28;
            let signs = (0..4).map(|l| u32::from(folded.signs[4 * part + l] & 127) << (7 * l));
            *stored = signs.fold(grade, |all, signs| all | signs).to_le_bytes();
        }
    });
}
