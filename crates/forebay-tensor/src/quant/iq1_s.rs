//! IQ1_S: 256 elements in 50 bytes, in eight parts of 32, each four groups of 8.
//!
//! ```text
//! byte 0       2                      34                                                           50
//!      | d f16 | low points, 32 bytes | parts, 8 x u16: 3 high point bits x 4, scale 3 bits, shift |
//! ```
//! A group is one point of a table of 2048, its coordinates worth -1, 0 and 1; its low eight bits are in the
//! low points. The shift of a part moves all of it by `SHIFT`, downwards if the bit is set.
//! An element is `d * (1 + 2 scale) * (coordinate + shift)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16, u16_at},
    grids,
    lattice::{self, Lattice},
    points,
    search::{self, Outcome},
};

/// How far a part is moved off the integers, in the IQ1 formats.
pub(super) const SHIFT: f32 = 0.125;

/// What a coordinate is worth, in the IQ1 formats.
pub(super) const LEVELS: [f32; 3] = [-1.0, 0.0, 1.0];

/// Where the furthest element of a part may land, in the IQ1 formats.
pub(super) const LANDINGS: (f32, f32) = (0.9, 3.6);

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 50], out: &mut [f32; 256]| {
        let d = f16_at(block, 0);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let part = u16_at(block, 34 + 2 * (group / 4));
            let scale = d * f32::from(1 + 2 * (part >> 12 & 7));
            let shift = if part >> 15 == 1 { -SHIFT } else { SHIFT };
            let high = usize::from(part >> (3 * (group % 4)) & 7);
            let point = points::eight(grids::IQ1[usize::from(block[2 + group]) | high << 8]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * (f32::from(point[i]) - 1.0 + shift);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<8, 3>::new(&grids::IQ1, 2, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 50]| {
        let (mut numbers, mut shifted_down) = ([[0; 4]; 8], [false; 8]);
        let mut outcome_at = |part: usize, scale: f32| {
            let here = 32 * part..32 * (part + 1);
            let (x, w) = (&x[here.clone()], &w[here]);
            let mut best = Outcome { error: f32::INFINITY, ..Outcome::default() };
            for down in [false, true] {
                let mut tried = [0; 4];
                let outcome = code_shifted(&mut lattice, x, w, scale, down, &mut tried);
                if outcome.error < best.error {
                    (best, numbers[part], shifted_down[part]) = (outcome, tried, down);
                }
            }
            best
        };
        let wishes: [f32; 8] = std::array::from_fn(|part| {
            lattice::wish(&x[32 * part..32 * (part + 1)], LANDINGS, |scale| outcome_at(part, scale))
        });
        let fit = lattice::graded(search::energy(x, w), &wishes, 1.0, 7, &mut outcome_at);
        for (part, grade) in fit.grades.iter().enumerate() {
            outcome_at(part, lattice::scale_of(fit.d, 1.0, *grade));
        }
        put_f16(block, 0, fit.d);
        for part in 0..8 {
            let mut stored = u16::from(fit.grades[part]) << 12 | u16::from(shifted_down[part]) << 15;
            for (l, number) in numbers[part].iter().enumerate() {
                block[2 + 4 * part + l] = *number as u8;
                stored |= (number >> 8) << (3 * l);
            }
            block[34 + 2 * part..36 + 2 * part].copy_from_slice(&stored.to_le_bytes());
        }
    });
}

/// The numbers of the points nearest to some groups, at one scale and shift; for the IQ1 formats.
pub(super) fn code_shifted(
    lattice: &mut Lattice<8, 3>,
    x: &[f32],
    w: &[f32],
    scale: f32,
    down: bool,
    numbers: &mut [u16],
) -> Outcome {
    let shift = if down { -SHIFT } else { SHIFT };
    let inverse = search::inverse(scale);
    let mut outcome = Outcome::default();
    for ((x, w), number) in x.as_chunks().0.iter().zip(w.as_chunks().0).zip(numbers) {
        *number = lattice.nearest(&x.map(|x| x * inverse - shift), w);
        let levels = lattice.values(*number).map(|level| level + shift);
        outcome.include(&lattice::outcome_of(x, w, &levels, scale));
    }
    outcome
}
