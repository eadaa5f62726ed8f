//! Searching in blocks of 256 whose parts have small integer scales, which the block's own scales multiply.
//!
//! First every part gets its best scale as if it could be stored exactly. Then the block's scale is fixed,
//! each part tries the integers around its wish with fresh codes, and the block's scale follows by least
//! squares; this is repeated while the error falls. Layouts are drawn by the formats.

use super::search::{self, Bound, Levels, Line, as_f16, inverse, nearest_integer};

const ROUNDS: usize = 4;

/// A block with scales alone: an element is `d * scale * level`.
pub(super) struct Scaled<const PARTS: usize> {
    pub(super) d: f32,
    pub(super) scales: [i16; PARTS],
    pub(super) codes: [u8; 256],
}

/// Fits a block; scales lie between `low` and `high`, of which `low` is the furthest from zero.
pub(super) fn scaled<const PARTS: usize>(
    x: &[f32; 256],
    w: &[f32; 256],
    levels: impl Levels,
    (low, high): (i16, i16),
) -> Scaled<PARTS> {
    let part = 256 / PARTS;
    let wishes: [f32; PARTS] = std::array::from_fn(|p| {
        let here = part * p..part * (p + 1);
        search::best_scale(&x[here.clone()], &w[here], levels, |scale| scale)
    });
    let furthest = wishes.iter().fold(0.0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
    let mut best = Scaled { d: 0.0, scales: [0; PARTS], codes: [0; 256] };
    let mut best_error = search::energy(x, w);
    // The middle one leaves room above: among the smallest f16 a `d` can land far below what was asked for.
    for start in [f32::from(low), f32::from(low) * 0.8, f32::from(high)] {
        let mut d = as_f16(furthest / start);
        for _ in 0..ROUNDS {
            let (mut error, mut xl, mut ll) = (0.0, 0.0, 0.0);
            let mut scales = [0; PARTS];
            for p in 0..PARTS {
                let here = part * p..part * (p + 1);
                let (x, w) = (&x[here.clone()], &w[here]);
                let wish = nearest_integer((wishes[p] * inverse(d)).clamp(low.into(), high.into())) as i16;
                let tries = (wish - 1).max(low)..=(wish + 1).min(high);
                let outcomes =
                    tries.map(|scale| (scale, search::outcome(x, w, d * f32::from(scale), levels)));
                let chosen = outcomes.min_by(|a, b| a.1.error.total_cmp(&b.1.error));
                let Some((scale, outcome)) = chosen else { continue };
                scales[p] = scale;
                error += outcome.error;
                xl += f32::from(scale) * outcome.xl;
                ll += f32::from(scale).powi(2) * outcome.ll;
            }
            if error >= best_error {
                break;
            }
            best_error = error;
            best.d = d;
            best.scales = scales;
            if ll > 0.0 {
                d = as_f16(xl / ll);
            }
        }
    }
    for (p, codes) in best.codes.chunks_exact_mut(part).enumerate() {
        search::codes(&x[part * p..], best.d * f32::from(best.scales[p]), levels, codes);
    }
    best
}

/// A block with scales and minimums: an element is `d * scale * code - dmin * minimum`.
pub(super) struct Lined<const PARTS: usize> {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [u8; PARTS],
    pub(super) minimums: [u8; PARTS],
    pub(super) codes: [u8; 256],
}

/// Fits a block; codes go up to `top`, scales and minimums up to `top_scale`.
pub(super) fn lined<const PARTS: usize>(
    x: &[f32; 256],
    w: &[f32; 256],
    top: f32,
    top_scale: u8,
) -> Lined<PARTS> {
    let part = 256 / PARTS;
    let wishes: [Line; PARTS] = std::array::from_fn(|p| {
        let here = part * p..part * (p + 1);
        search::best_line(&x[here.clone()], &w[here], top, Bound::NotAbove, |line| line)
    });
    let most_scale = wishes.iter().fold(0.0f32, |most, line| most.max(line.scale));
    let most_minimum = wishes.iter().fold(0.0f32, |most, line| most.max(-line.offset));
    let mut best = Lined { d: 0.0, dmin: 0.0, scales: [0; PARTS], minimums: [0; PARTS], codes: [0; 256] };
    let mut best_error = search::energy(x, w);
    for stretch in [1.0, 0.97] {
        let mut d = as_f16(most_scale * stretch / f32::from(top_scale));
        let mut dmin = as_f16(most_minimum * stretch / f32::from(top_scale));
        for _ in 0..ROUNDS {
            let mut error = 0.0;
            let (mut scales, mut minimums) = ([0; PARTS], [0; PARTS]);
            let mut sums = BlockSums::default();
            for p in 0..PARTS {
                let here = part * p..part * (p + 1);
                let (x, w) = (&x[here.clone()], &w[here]);
                let chosen = best_pair(x, w, top, wishes[p], (d, dmin), top_scale);
                error += chosen.error;
                (scales[p], minimums[p]) = (chosen.scale, chosen.minimum);
                sums.add(x, w, top, &chosen, (d, dmin));
            }
            if error >= best_error {
                break;
            }
            best_error = error;
            (best.d, best.dmin, best.scales, best.minimums) = (d, dmin, scales, minimums);
            (d, dmin) = sums.solve((d, dmin));
        }
    }
    for (p, codes) in best.codes.chunks_exact_mut(part).enumerate() {
        let line = stored((best.d, best.dmin), best.scales[p], best.minimums[p]);
        line.codes(&x[part * p..part * (p + 1)], top, codes);
    }
    best
}

/// The line that stored integers stand for.
fn stored((d, dmin): (f32, f32), scale: u8, minimum: u8) -> Line {
    Line { scale: d * f32::from(scale), offset: -(dmin * f32::from(minimum)) }
}

struct Pair {
    scale: u8,
    minimum: u8,
    error: f32,
}

/// The best of the integers around a wish.
fn best_pair(x: &[f32], w: &[f32], top: f32, wish: Line, (d, dmin): (f32, f32), top_scale: u8) -> Pair {
    let around = |wish: f32, unit: f32| {
        let middle = nearest_integer((wish * inverse(unit)).clamp(0.0, top_scale.into())) as u8;
        middle.saturating_sub(1)..=(middle + 1).min(top_scale)
    };
    let mut best = Pair { scale: 0, minimum: 0, error: f32::INFINITY };
    for minimum in around(-wish.offset, dmin) {
        for scale in around(wish.scale, d) {
            let line = stored((d, dmin), scale, minimum);
            let error = line.outcome(x, w, top, Bound::NotAbove).0;
            if error < best.error {
                best = Pair { scale, minimum, error };
            }
        }
    }
    best
}

/// Sums from which the best `d` and `dmin` of a block follow, its codes, scales and minimums given.
#[derive(Default)]
struct BlockSums {
    aa: f32,
    ab: f32,
    bb: f32,
    xa: f32,
    xb: f32,
}

impl BlockSums {
    fn add(&mut self, x: &[f32], w: &[f32], top: f32, pair: &Pair, units: (f32, f32)) {
        let line = stored(units, pair.scale, pair.minimum);
        let inverse = inverse(line.scale);
        let b = -f32::from(pair.minimum);
        for (x, w) in x.iter().zip(w) {
            let a = f32::from(pair.scale) * line.code(inverse, *x, top);
            self.aa += w * a * a;
            self.ab += w * a * b;
            self.bb += w * b * b;
            self.xa += w * x * a;
            self.xb += w * x * b;
        }
    }

    fn solve(&self, (d, dmin): (f32, f32)) -> (f32, f32) {
        let determinant = self.aa * self.bb - self.ab * self.ab;
        if determinant > 1e-6 * self.aa * self.bb {
            let solved = (
                as_f16((self.xa * self.bb - self.xb * self.ab) / determinant),
                as_f16((self.xb * self.aa - self.xa * self.ab) / determinant),
            );
            if solved.0 > 0.0 && solved.1 >= 0.0 {
                return solved;
            }
        }
        if self.bb == 0.0 && self.aa > 0.0 { (as_f16(self.xa / self.aa), dmin) } else { (d, dmin) }
    }
}
