//! IQ3_S: 256 elements in 110 bytes, in eight parts of 32, each eight groups of 4.
//!
//! ```text
//! byte 0       2                      66                     74                106               110
//!      | d f16 | low points, 64 bytes | high points, 8 bytes | signs, 32 bytes | scales, 4 bytes |
//! ```
//! Group `g` is one point of a table of 512: its low eight bits are low byte `g`, its ninth is bit `g % 8` of
//! high byte `g / 8`. A sign byte serves a pair of groups. Part `p` has its scale of 4 bits in half `p % 2`
//! of scale byte `p / 2`.
//! An element is `d * (1 + 2 scale) * (1 + 2 coordinate)`, signed.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_pairs, put_f16},
    grids,
    lattice::{self, Lattice},
    points,
};

/// What a coordinate is worth.
const LEVELS: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 110], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let part = group / 8;
            let scale = block[106 + part / 2] >> (4 * (part % 2)) & 15;
            let scale = d * f32::from(1 + 2 * scale);
            let ninth = usize::from(block[66 + group / 8] >> (group % 8) & 1);
            let point = points::four(grids::IQ3_S[usize::from(block[2 + group]) | ninth << 8]);
            let signs = block[74 + group / 2] >> (4 * (group % 2));
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * f32::from(1 + 2 * point[i]) * points::sign(signs, i);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<4, 8>::new(&grids::IQ3_S, 3, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 110]| {
        let folded = lattice::fold(x, w, false);
        let (fit, numbers) = lattice::fit::<4, 8, 8>(&mut lattice, &folded.magnitudes, w, (12.5, 24.0), 1.0);
        *block = [0; 110];
        put_f16(block, 0, fit.d);
        for (group, number) in numbers.iter().enumerate() {
            block[2 + group] = *number as u8;
            block[66 + group / 8] |= ((number >> 8) as u8) << (group % 8);
        }
        block[74..106].copy_from_slice(&folded.signs);
        pack_pairs(&fit.grades, &mut block[106..]);
    });
}
