//! Searching for the scale of least squared error: one scale for some elements, or a scale and an offset.
//!
//! A search tries scales that let the furthest element land a little inside or outside the last level, takes
//! the best by least squares, and then alternates between nearest levels and best scale until the error stops
//! falling. It never draws a layout; formats do that with what comes back. Blocks with scales of scales are
//! in `two_level`.

/// What the codes of a format are worth, in units of the scale.
pub(super) trait Levels: Copy {
    /// The code whose level is nearest to `u`, and that level.
    fn nearest(self, u: f32) -> (u8, f32);

    /// Where the furthest element may land, in units of the scale, for the scale to be worth a try.
    fn landings(self) -> (f32, f32);

    /// True if the negative of every level is a level.
    fn symmetric(self) -> bool;
}

/// Whole numbers from `low` to `high`; the code 0 is `low`.
#[derive(Clone, Copy)]
pub(super) struct Integers {
    pub(super) low: i16,
    pub(super) high: i16,
}

impl Levels for Integers {
    #[inline]
    fn nearest(self, u: f32) -> (u8, f32) {
        let level = nearest_integer(u.clamp(self.low.into(), self.high.into()));
        ((level - f32::from(self.low)) as u8, level)
    }

    fn landings(self) -> (f32, f32) {
        let top = f32::from(self.low.abs().max(self.high));
        (top - 0.6, if top > 64.0 { top + 3.0 } else { top * 1.25 + 2.0 })
    }

    fn symmetric(self) -> bool {
        self.low == -self.high
    }
}

/// Sixteen levels in rising order.
#[derive(Clone, Copy)]
pub(super) struct Curve(pub(super) &'static [i8; 16]);

impl Levels for Curve {
    #[inline]
    fn nearest(self, u: f32) -> (u8, f32) {
        let beyond = |pair: &[i8]| u * 2.0 > f32::from(pair[0]) + f32::from(pair[1]);
        let code = self.0.windows(2).filter(|pair| beyond(pair)).count();
        (code as u8, self.0[code].into())
    }

    fn landings(self) -> (f32, f32) {
        let top = f32::from(self.0[0]).abs().max(self.0[15].into());
        (top * 0.85, top * 1.4)
    }

    fn symmetric(self) -> bool {
        false
    }
}

/// Adding and taking away 1.5 * 2^23 leaves a float without room for a fraction; `u` is far smaller than
/// that.
#[inline]
pub(super) fn nearest_integer(u: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    (u + ROUNDER) - ROUNDER
}

/// A scale as an f16 holds it; what is too large for one becomes the largest.
pub(super) fn as_f16(scale: f32) -> f32 {
    half::f16::from_f32(scale.clamp(-65504.0, 65504.0)).to_f32()
}

/// A line as two f16 hold it.
pub(super) fn line_as_f16(line: Line) -> Line {
    Line { scale: as_f16(line.scale), offset: as_f16(line.offset) }
}

/// Elements that are summed side by side. Parts of blocks are multiples of it.
const LANES: usize = 8;

/// What encoding at one scale gives: the weighted squared error, and the sums of element times level and of
/// level squared, from which the scale follows that suits the same codes best.
#[derive(Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) error: f32,
    pub(super) xl: f32,
    pub(super) ll: f32,
}

impl Outcome {
    /// Counts another group of elements.
    pub(super) fn include(&mut self, other: &Outcome) {
        self.error += other.error;
        self.xl += other.xl;
        self.ll += other.ll;
    }

    /// The scale that suits the same codes best.
    pub(super) fn better_scale(&self) -> f32 {
        if self.ll > 0.0 { self.xl / self.ll } else { 0.0 }
    }

    /// How much error the codes take away at the scale that suits them best.
    pub(super) fn gain(&self) -> f32 {
        self.xl * self.better_scale()
    }
}

/// Encodes at one scale.
pub(super) fn outcome(x: &[f32], w: &[f32], scale: f32, levels: impl Levels) -> Outcome {
    let inverse = inverse(scale);
    let (mut error, mut xl, mut ll) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            let (_, level) = levels.nearest(x[i] * inverse);
            let off = x[i] - scale * level;
            error[i] += w[i] * off * off;
            xl[i] += w[i] * x[i] * level;
            ll[i] += w[i] * level * level;
        }
    }
    Outcome { error: sum(error), xl: sum(xl), ll: sum(ll) }
}

/// The error of a block whose elements all become zero.
pub(super) fn energy(x: &[f32; 256], w: &[f32; 256]) -> f32 {
    x.iter().zip(w).map(|(x, w)| w * x * x).sum()
}

/// The sum over the lanes.
#[inline]
pub(super) fn sum<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The codes at one scale.
pub(super) fn codes(x: &[f32], scale: f32, levels: impl Levels, out: &mut [u8]) {
    let inverse = inverse(scale);
    for (x, code) in x.iter().zip(out) {
        *code = levels.nearest(x * inverse).0;
    }
}

/// The scale of least weighted squared error that is found; `round` brings a scale to what can be stored.
pub(super) fn best_scale(x: &[f32], w: &[f32], levels: impl Levels, round: impl Fn(f32) -> f32) -> f32 {
    const STEPS: u16 = 24;
    let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let (first, last) = levels.landings();
    let mut found = [(0.0, 0.0); 2];
    for step in 0..STEPS {
        let landing = first + (last - first) * f32::from(step) / f32::from(STEPS - 1);
        let scale = most / landing;
        let scales = [scale, -scale];
        for scale in &scales[..if levels.symmetric() { 1 } else { 2 }] {
            let outcome = outcome(x, w, *scale, levels);
            let candidate = (outcome.gain(), outcome.better_scale());
            if candidate.0 > found[0].0 {
                found = [candidate, found[0]];
            } else if candidate.0 > found[1].0 {
                found[1] = candidate;
            }
        }
    }
    let nothing = outcome(x, w, 0.0, levels).error;
    let polished = found.map(|(_, scale)| polish(x, w, scale, levels, &round));
    let best = if polished[1].0 < polished[0].0 { polished[1] } else { polished[0] };
    if best.0 < nothing { best.1 } else { 0.0 }
}

/// Alternates between nearest levels and best scale while the error falls; returns error and scale.
fn polish(
    x: &[f32],
    w: &[f32],
    mut scale: f32,
    levels: impl Levels,
    round: &impl Fn(f32) -> f32,
) -> (f32, f32) {
    let mut best = (f32::INFINITY, 0.0);
    for _ in 0..8 {
        let rounded = round(scale);
        let outcome = outcome(x, w, rounded, levels);
        if outcome.error >= best.0 {
            break;
        }
        best = (outcome.error, rounded);
        scale = outcome.better_scale();
    }
    best
}

/// 1 over `scale`, or 0 where that would not be a number.
#[inline]
pub(super) fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Scale and offset of least weighted squared error for codes from 0 to `top`: an element is
/// `scale * code + offset`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) scale: f32,
    pub(super) offset: f32,
}

impl Line {
    /// The code nearest to `x`, as a float.
    #[inline]
    pub(super) fn code(self, inverse: f32, x: f32, top: f32) -> f32 {
        nearest_integer(((x - self.offset) * inverse).clamp(0.0, top))
    }

    /// The weighted squared error, and the line that suits the same codes best.
    pub(super) fn outcome(self, x: &[f32], w: &[f32], top: f32, bound: Bound) -> (f32, Line) {
        let inverse = inverse(self.scale);
        let mut error = [0.0; LANES];
        let mut sums = LineSums::default();
        for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
            for i in 0..LANES {
                let code = self.code(inverse, x[i], top);
                let off = x[i] - (self.scale * code + self.offset);
                error[i] += w[i] * off * off;
                sums.w[i] += w[i];
                sums.l[i] += w[i] * code;
                sums.ll[i] += w[i] * code * code;
                sums.x[i] += w[i] * x[i];
                sums.xl[i] += w[i] * x[i] * code;
            }
        }
        (sum(error), sums.line(bound).unwrap_or(self))
    }

    /// The codes nearest to `x`.
    pub(super) fn codes(self, x: &[f32], top: f32, out: &mut [u8]) {
        let inverse = inverse(self.scale);
        for (x, code) in x.iter().zip(out) {
            *code = self.code(inverse, *x, top) as u8;
        }
    }
}

/// What an offset may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Any number.
    Free,
    /// Zero or less.
    NotAbove,
}

/// Sums from which the best line follows: of the weights, and of what is multiplied by them.
#[derive(Default)]
struct LineSums {
    w: [f32; LANES],
    l: [f32; LANES],
    ll: [f32; LANES],
    x: [f32; LANES],
    xl: [f32; LANES],
}

impl LineSums {
    fn line(&self, bound: Bound) -> Option<Line> {
        let [w, l, ll, x, xl] = [self.w, self.l, self.ll, self.x, self.xl].map(sum);
        let determinant = w * ll - l * l;
        if determinant > 1e-6 * w * ll {
            let scale = (w * xl - x * l) / determinant;
            let offset = (ll * x - l * xl) / determinant;
            if bound == Bound::Free || offset <= 0.0 {
                return Some(Line { scale, offset });
            }
        }
        let offset = if bound == Bound::Free && w > 0.0 { x / w } else { 0.0 };
        let scale = if ll > 0.0 { (xl - offset * l) / ll } else { 0.0 };
        (scale > 0.0).then_some(Line { scale, offset })
    }
}

/// The best line that is found; `round` brings one to what can be stored.
pub(super) fn best_line(x: &[f32], w: &[f32], top: f32, bound: Bound, round: impl Fn(Line) -> Line) -> Line {
    const INSETS: [f32; 5] = [-0.02, 0.0, 0.03, 0.08, 0.16];
    let (mut low, mut high) =
        x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    if bound == Bound::NotAbove {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    let mut best = (Line::default().outcome(x, w, top, bound).0, Line::default());
    for inset_low in INSETS {
        for inset_high in INSETS {
            let start = low + (high - low) * inset_low;
            let start = if bound == Bound::NotAbove { start.min(0.0) } else { start };
            let end = high - (high - low) * inset_high;
            let mut line = Line { scale: (end - start) / top, offset: start };
            for _ in 0..2 {
                line = line.outcome(x, w, top, bound).1;
            }
            let mut last = f32::INFINITY;
            for _ in 0..4 {
                let rounded = round(line);
                let (error, better) = rounded.outcome(x, w, top, bound);
                if error < best.0 {
                    best = (error, rounded);
                }
                if error >= last || last > 1.3 * best.0 && last.is_finite() {
                    break;
                }
                (last, line) = (error, better);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_levels_is_met_exactly() {
        let levels = Integers { low: -8, high: 7 };
        for scale in [0.25, -0.25, 1.0, -3.0, 0.0625] {
            let x: [f32; 32] = std::array::from_fn(|i| scale * (i as f32 % 16.0 - 8.0));
            let found = best_scale(&x, &[1.0; 32], levels, as_f16);
            assert_eq!(outcome(&x, &[1.0; 32], found, levels).error, 0.0, "scale {scale}: found {found}");
        }
    }

    #[test]
    fn what_lies_on_a_line_is_met_exactly() {
        for (scale, offset) in [(0.5, -3.0), (0.125, 2.0), (2.0, 0.0)] {
            let x: [f32; 32] = std::array::from_fn(|i| scale * (i as f32 % 16.0) + offset);
            let line = best_line(&x, &[1.0; 32], 15.0, Bound::Free, line_as_f16);
            assert_eq!((line.scale, line.offset), (scale, offset));
        }
    }

    #[test]
    fn a_bound_offset_never_rises_above_zero() {
        let x: [f32; 32] = std::array::from_fn(|i| 5.0 + 0.01 * i as f32);
        let line = best_line(&x, &[1.0; 32], 15.0, Bound::NotAbove, |line| line);
        assert!(line.offset <= 0.0 && (line.outcome(&x, &[1.0; 32], 15.0, Bound::NotAbove).0 < 1.0));
    }

    #[test]
    fn a_heavy_element_pulls_the_scale() {
        let mut x = [0.0; 32];
        x[..3].copy_from_slice(&[1.0, 0.55, -0.3]);
        let mut w = [1.0; 32];
        w[1] = 1e4;
        let levels = Integers { low: -1, high: 1 };
        let scale = best_scale(&x, &w, levels, as_f16);
        assert!((scale - 0.55).abs() < 1e-3, "{scale}");
    }
}
