//! IQ1_M: 256 elements in 56 bytes, in 16 parts of 16, each two groups of 8.
//!
//! ```text
//! byte 0                      32                                           48                      56
//!      | low points, 32 bytes | parts, 16 x (3 high point bits, shift) x 2 | scales and d, 4 x u16 |
//! ```
//! A group is one point of a table of 2048, its coordinates worth -1, 0 and 1; its shift moves it by `SHIFT`,
//! downwards if the bit is set. Scale word `w` holds the scales of parts `4 w` to `4 w + 3` in 3 bits each,
//! and in its high four bits four bits of the f16 `d`, lowest first.
//! An element is `d * (1 + 2 scale) * (coordinate + shift)`.

use super::{
    block::{Weights, encode_blocks, for_each_block, u16_at},
    grids,
    iq1_s::{LANDINGS, LEVELS, SHIFT, code_shifted},
    lattice::{self, Lattice},
    points,
    search::{self, Outcome},
};

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
            let point = points::eight(grids::IQ1[usize::from(block[group]) | usize::from(high & 7) << 8]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * (f32::from(point[i]) - 1.0 + shift);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    let mut lattice = Lattice::<8, 3>::new(&grids::IQ1, 2, LEVELS);
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 56]| {
        let (mut numbers, mut shifted_down) = ([0; 32], [false; 32]);
        let mut outcome_at = |part: usize, scale: f32| {
            let mut total = Outcome::default();
            for group in [2 * part, 2 * part + 1] {
                let here = 8 * group..8 * (group + 1);
                let (x, w) = (&x[here.clone()], &w[here]);
                let mut best = Outcome { error: f32::INFINITY, ..Outcome::default() };
                for down in [false, true] {
                    let mut tried = [0];
                    let outcome = code_shifted(&mut lattice, x, w, scale, down, &mut tried);
                    if outcome.error < best.error {
                        (best, numbers[group], shifted_down[group]) = (outcome, tried[0], down);
                    }
                }
                total.include(&best);
            }
            total
        };
        let wishes: [f32; 16] = std::array::from_fn(|part| {
            lattice::wish(&x[16 * part..16 * (part + 1)], LANDINGS, |scale| outcome_at(part, scale))
        });
        let fit = lattice::graded(search::energy(x, w), &wishes, 1.0, 7, &mut outcome_at);
        for (part, grade) in fit.grades.iter().enumerate() {
            outcome_at(part, lattice::scale_of(fit.d, 1.0, *grade));
        }
        *block = [0; 56];
        for group in 0..32 {
            block[group] = numbers[group] as u8;
            let high = (numbers[group] >> 8) as u8 | u8::from(shifted_down[group]) << 3;
            block[32 + group / 2] |= high << (4 * (group % 2));
        }
        let d = half::f16::from_f32(fit.d).to_bits();
        for (w, word) in block[48..].as_chunks_mut().0.iter_mut().enumerate() {
            let grades = (0..4).map(|i| u16::from(fit.grades[4 * w + i]) << (3 * i));
            *word = grades.fold((d >> (4 * w)) << 12, |all, grade| all | grade).to_le_bytes();
        }
    });
}
