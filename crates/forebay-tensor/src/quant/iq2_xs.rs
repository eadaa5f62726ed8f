//! IQ2_XS: 256 elements in 74 bytes, in 16 parts of 16, each two groups of 8.
//!
//! ```text
//! byte 0       2                                                   66                74
//!      | d f16 | groups, 32 x u16: point 9 bits, then signs 7 bits | scales, 8 bytes |
//! ```
//! Part `p` has its scale of 4 bits in half `p % 2` of scale byte `p / 2`. A group is one point of a table of
//! 512, its coordinates worth 8, 25 and 43; the eighth sign makes the number of minuses even.
//! An element is `d * (scale + 0.5) / 4 * coordinate`, signed.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_pairs, put_f16, u16_at},
    grids,
    iq2_xxs::{LANDINGS, LEVELS},
    lattice::{self, Lattice},
    points,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 74], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = group / 2;
            let scale = block[66 + part / 2] >> (4 * (part % 2)) & 15;
            let scale = d * (0.5 + f32::from(scale)) * 0.25;
            let stored = u16_at(block, 2 + 2 * group);
            let signs = points::even_signs(u32::from(stored >> 9));
            let point = points::eight(grids::IQ2_XS[usize::from(stored & 511)]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * LEVELS[usize::from(point[i])] * points::sign(signs, i);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<8, 3>::new(&grids::IQ2_XS, 2, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 74]| {
        let folded = lattice::fold(x, w, true);
        let (fit, numbers) = lattice::fit::<8, 3, 16>(&mut lattice, &folded.magnitudes, w, LANDINGS, 0.125);
        put_f16(block, 0, fit.d);
        for (group, stored) in block[2..66].as_chunks_mut().0.iter_mut().enumerate() {
            *stored = (numbers[group] | u16::from(folded.signs[group] & 127) << 9).to_le_bytes();
        }
        pack_pairs(&fit.grades, &mut block[66..]);
    });
}
