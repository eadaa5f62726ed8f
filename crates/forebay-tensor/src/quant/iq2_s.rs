//! IQ2_S: 256 elements in 82 bytes, in 16 parts of 16, each two groups of 8.
//!
//! ```text
//! byte 0       2                      34                66                     74                82
//!      | d f16 | low points, 32 bytes | signs, 32 bytes | high points, 8 bytes | scales, 8 bytes |
//! ```
//! Group `g` is one point of a table of 1024: its low eight bits are low byte `g`, its high two bits
//! `2 (g % 4)` of high byte `g / 4`; its coordinates are worth 8, 25 and 43 and all eight signs are stored.
//! Part `p` has its scale of 4 bits in half `p % 2` of scale byte `p / 2`.
//! An element is `d * (scale + 0.5) / 4 * coordinate`, signed.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, pack_pairs, put_f16},
    grids,
    iq2_xxs::{LANDINGS, LEVELS},
    lattice::{self, Lattice},
    points,
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 82], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = group / 2;
            let scale = block[74 + part / 2] >> (4 * (part % 2)) & 15;
            let scale = d * (0.5 + f32::from(scale)) * 0.25;
            let high = usize::from(block[66 + group / 4] >> (2 * (group % 4)) & 3);
            let point = points::eight(grids::IQ2_S[usize::from(block[2 + group]) | high << 8]);
            let signs = block[34 + group];
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * LEVELS[usize::from(point[i])] * points::sign(signs, i);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<8, 3>::new(&grids::IQ2_S, 2, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 82]| {
        let folded = lattice::fold(x, w, false);
        let (fit, numbers) = lattice::fit::<8, 3, 16>(&mut lattice, &folded.magnitudes, w, LANDINGS, 0.125);
        *block = [0; 82];
        put_f16(block, 0, fit.d);
        for (group, number) in numbers[..32].iter().enumerate() {
            block[2 + group] = *number as u8;
            block[34 + group] = folded.signs[group];
            block[66 + group / 4] |= ((number >> 8) as u8) << (2 * (group % 4));
        }
        pack_pairs(&fit.grades, &mut block[74..]);
    });
}
