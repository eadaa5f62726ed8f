#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Products of panels and rounded rows: one panel with few rows as it lies, or expanded in cache with many.
//!
//! Every element of the result is a sum over groups of columns in their order, each the same few operations, so that it
//! does not depend on how many rows or workers there are, nor on the level. What the parts of a panel mean is in
//! `formats`, what vectors are in `lanes`.

use std::ops::Range;

use super::{
    formats::{PanelFormat, PerRow, Sides, quad},
    lanes::Lanes,
};
use crate::quant::{
    panel::{COLUMNS, MOST, ROWS},
    rounded::Rounded,
};

/// The most vectors that a panel's rows are.
const PARTS: usize = 4;
/// Quads of 32 columns.
const QUADS: usize = COLUMNS / 4;
/// How far ahead of its use a line is fetched.
const AHEAD: usize = 8192;

/// Adds the products of a panel with a few rounded rows.
#[inline(always)]
pub(crate) fn panel<V: Lanes, F: PanelFormat, const C: usize>(
    v: V,
    f: F,
    panel: &[u8],
    xs: [&[Rounded]; C],
    sums: &mut [PerRow; C],
) {
    let all = xs[0].len();
    let mut read = Sides::new();
    let mut totals = [[v.float(0.0); PARTS]; C];
    for c in 0..C {
        for part in 0..ROWS / V::N {
            totals[c][part] = v.load(&sums[c][part * V::N..]);
        }
    }
    for first in (0..all).step_by(GROUPS) {
        let piece = Piece::of(f, panel, first, all);
        for line in 0..piece.sides.len().div_ceil(64) {
            v.fetch(piece.sides, AHEAD + 64 * line);
        }
        for (block, sides) in piece.sides.chunks_exact(ROWS * f.side_bytes()).enumerate() {
            f.sides(v, sides, &mut read);
            for g in 0..f.span() / COLUMNS {
                let at = block * (f.span() / COLUMNS) + g;
                let lines = piece.lines::<F>(at);
                for line in 0..lines.len() / 64 {
                    v.fetch(lines, AHEAD + 64 * line);
                }
                for part in 0..ROWS / V::N {
                    let mut quads = [v.integer(0); QUADS];
                    for q in 0..QUADS {
                        quads[q] = quad::<V, F>(v, lines, part, q);
                    }
                    for c in 0..C {
                        let x = &xs[c][first + at];
                        totals[c][part] = add_group::<V, F>(v, totals[c][part], &quads, x, &read, g, part);
                    }
                }
            }
        }
    }
    for c in 0..C {
        for part in 0..ROWS / V::N {
            v.store(totals[c][part], &mut sums[c][part * V::N..]);
        }
    }
}

/// A piece of a panel.
struct Piece<'a> {
    sides: &'a [u8],
    lines: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The piece that begins at group `first` of 32 columns, of `all` that a row has.
    #[inline(always)]
    fn of<F: PanelFormat>(f: F, panel: &'a [u8], first: usize, all: usize) -> Self {
        let (side_bytes, line_bytes) = (ROWS * COLUMNS * f.side_bytes() / f.span(), 2 * COLUMNS * F::BITS);
        let groups = (all - first).min(GROUPS);
        let bytes = &panel[first * (side_bytes + line_bytes)..][..groups * (side_bytes + line_bytes)];
        let (sides, lines) = bytes.split_at(groups * side_bytes);
        Self { sides, lines }
    }

    /// The sides of a block.
    #[inline(always)]
    fn block<F: PanelFormat>(&self, f: F, block: usize) -> &'a [u8] {
        let side_bytes = ROWS * f.side_bytes();
        &self.sides[block * side_bytes..][..side_bytes]
    }

    /// The codes of a group.
    #[inline(always)]
    fn lines<F: PanelFormat>(&self, group: usize) -> &'a [u8] {
        let line_bytes = 2 * COLUMNS * F::BITS;
        &self.lines[group * line_bytes..][..line_bytes]
    }
}

/// Adds the products of 32 columns.
#[inline(always)]
fn add_group<V: Lanes, F: PanelFormat>(
    v: V,
    total: V::Floats,
    quads: &[V::Words; QUADS],
    x: &Rounded,
    sides: &Sides,
    g: usize,
    part: usize,
) -> V::Floats {
    let row = part * V::N;
    // Two sums side by side: a product waits for the one before it.
    let mut sums = [v.integer(0); 2];
    let halves = F::GROUP == 16 || F::FOLD.is_some();
    if F::ZERO != 0 {
        sums = if halves {
            [v.integer(-F::ZERO * x.sums[0]), v.integer(-F::ZERO * x.sums[1])]
        } else {
            [v.integer(-F::ZERO * x.sum), v.integer(0)]
        };
    }
    for q in 0..QUADS {
        sums[q / 4] = dot::<V>(v, F::WIDE, sums[q / 4], quads[q], v.quad(quad_of(x, q)));
    }
    let mut total = total;
    if F::FOLD.is_some() {
        for h in 0..2 {
            sums[h] = v.mul_integers(sums[h], factors_of(v, sides, 2 * g + h, row));
        }
    }
    if F::GROUP == 16 {
        for h in 0..2 {
            let i = if F::MANY { 2 * g + h } else { 0 };
            let scale = v.mul(v.load(&sides.scales[i][row..]), v.float(x.d));
            total = v.add(total, v.mul(v.floats(sums[h]), scale));
        }
    } else {
        let i = if F::MANY && F::FOLD.is_none() { g } else { 0 };
        let scale = v.mul(v.load(&sides.scales[i][row..]), v.float(x.d));
        total = v.add(total, v.mul(v.floats(v.add_integers(sums[0], sums[1])), scale));
    }
    if F::MINIMUM == 16 {
        for h in 0..2 {
            let i = if F::MANY { 2 * g + h } else { 0 };
            total = v.add(total, v.mul(v.load(&sides.minimums[i][row..]), v.float(x.dsums[h])));
        }
    } else if F::MINIMUM == 32 {
        let i = if F::MANY { g } else { 0 };
        total = v.add(total, v.mul(v.load(&sides.minimums[i][row..]), v.float(x.dsum)));
    }
    total
}

/// What the values of 16 columns of some rows are multiplied by.
#[inline(always)]
fn factors_of<V: Lanes>(v: V, sides: &Sides, sixteen: usize, row: usize) -> V::Words {
    v.words(bytemuck::cast_slice(&sides.factors[sixteen][row..]))
}

/// Adds products of bytes, of any or of those below 128.
#[inline(always)]
fn dot<V: Lanes>(v: V, wide: bool, sum: V::Words, a: V::Words, b: V::Words) -> V::Words {
    if wide { v.dot_wide(sum, a, b) } else { v.dot(sum, a, b) }
}

/// The codes of a quad.
#[inline(always)]
fn quad_of(x: &Rounded, q: usize) -> [i8; 4] {
    [x.codes[4 * q], x.codes[4 * q + 1], x.codes[4 * q + 2], x.codes[4 * q + 3]]
}

/// Panels that are expanded together.
pub(crate) const PANELS: usize = 4;
/// Groups of 32 columns that are expanded together.
const GROUPS: usize = MOST / COLUMNS;

/// Some columns of some panels: a byte for each value, a float for each scale. Vectors of it lie within lines of the cache.
#[repr(C, align(64))]
pub(crate) struct Expanded {
    /// For each panel, for each 32 columns, for each quad the bytes of 16 rows.
    pub(crate) values: [[[[u8; 64]; QUADS]; GROUPS]; PANELS],
    /// For each panel the scales and minimums of its groups.
    pub(crate) scales: [[PerRow; 2 * GROUPS]; PANELS],
    minimums: [[PerRow; 2 * GROUPS]; PANELS],
}

impl Expanded {
    /// Nothing yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            values: [[[[0; 64]; QUADS]; GROUPS]; PANELS],
            scales: [[[0.0; ROWS]; 2 * GROUPS]; PANELS],
            minimums: [[[0.0; ROWS]; 2 * GROUPS]; PANELS],
        }
    }

    /// Expands groups `first..first + groups` of 32 columns of a panel, which are a piece, into place `p`.
    #[inline(always)]
    pub(crate) fn fill<V: Lanes, F: PanelFormat>(
        &mut self,
        v: V,
        f: F,
        panel: &[u8],
        p: usize,
        (first, groups, all): (usize, usize, usize),
    ) {
        let piece = Piece::of(f, panel, first, all);
        let per_block = f.span() / COLUMNS;
        let mut read = Sides::new();
        for g in 0..groups {
            if g.is_multiple_of(per_block) {
                f.sides(v, piece.block(f, g / per_block), &mut read);
            }
            let within = g % per_block;
            for h in 0..COLUMNS / F::GROUP {
                let each = COLUMNS / F::GROUP;
                let from = if F::MANY && F::FOLD.is_none() { within * each + h } else { 0 };
                self.scales[p][g * each + h] = read.scales[from];
            }
            let each = COLUMNS.checked_div(F::MINIMUM).unwrap_or(0);
            for h in 0..each {
                let from = if F::MANY { within * each + h } else { 0 };
                self.minimums[p][g * each + h] = read.minimums[from];
            }
            let lines = piece.lines::<F>(g);
            for part in 0..ROWS / V::N {
                for q in 0..QUADS {
                    let mut codes = quad::<V, F>(v, lines, part, q);
                    if let Some(raised) = F::FOLD {
                        let factors = factors_of(v, &read, 2 * within + q / 4, part * V::N);
                        codes = folded(v, codes, factors, F::ZERO, raised);
                    }
                    v.put_words(codes, &mut self.values[p][g][q][part * 4 * V::N..]);
                }
            }
        }
    }

    /// Adds the products with `C` rounded rows to `totals`, for `R` vectors of rows from `vector` on.
    #[inline(always)]
    pub(crate) fn add<V: Lanes, M: Meaning, const R: usize, const C: usize>(
        &self,
        v: V,
        zero: i32,
        vector: usize,
        xs: [&[Rounded]; C],
        totals: &mut [[V::Floats; C]; R],
    ) {
        let each = COLUMNS / M::GROUP;
        for g in 0..xs[0].len().min(GROUPS) {
            for h in 0..each {
                let mut sums = [[v.integer(0); C]; R];
                for c in 0..C {
                    let x = &xs[c][g];
                    let first = v.integer(-zero * if each == 2 { x.sums[h] } else { x.sum });
                    for r in 0..R {
                        sums[r][c] = first;
                    }
                }
                for q in h * QUADS / each..(h + 1) * QUADS / each {
                    let mut a = [v.integer(0); R];
                    for r in 0..R {
                        let (panel, row) = place::<V>(vector + r);
                        a[r] = v.words(&self.values[panel][g][q][4 * row..]);
                    }
                    for c in 0..C {
                        let b = v.quad(quad_of(&xs[c][g], q));
                        for r in 0..R {
                            sums[r][c] = dot::<V>(v, M::WIDE, sums[r][c], a[r], b);
                        }
                    }
                }
                for r in 0..R {
                    let (panel, row) = place::<V>(vector + r);
                    let scales = v.load(&self.scales[panel][g * each + h][row..]);
                    for c in 0..C {
                        let scale = v.mul(scales, v.float(xs[c][g].d));
                        totals[r][c] = v.add(totals[r][c], v.mul(v.floats(sums[r][c]), scale));
                    }
                }
            }
            // In loops of their own, for which fewer numbers have to be at hand at once.
            for h in 0..COLUMNS.checked_div(M::MINIMUM).unwrap_or(0) {
                for r in 0..R {
                    let (panel, row) = place::<V>(vector + r);
                    let minimums = v.load(&self.minimums[panel][g * (COLUMNS / M::MINIMUM) + h][row..]);
                    for c in 0..C {
                        let x = &xs[c][g];
                        let dsum = v.float(if M::MINIMUM == 16 { x.dsums[h] } else { x.dsum });
                        totals[r][c] = v.add(totals[r][c], v.mul(minimums, dsum));
                    }
                }
            }
        }
    }
}

/// Codes times the factor of their row, less that of zero, and raised. No byte carries into the next one: in the end each is what
/// it holds alone.
#[inline(always)]
fn folded<V: Lanes>(v: V, codes: V::Words, factors: V::Words, zero: i32, raised: i32) -> V::Words {
    let products = v.mul_integers(codes, factors);
    let raised = v.add_integers(v.integer(raised), v.mul_integers(factors, v.integer(-zero)));
    v.add_integers(products, v.mul_integers(raised, v.integer(0x0101_0101)))
}

/// The panel of a vector of rows, and its first row there.
#[inline(always)]
pub(crate) fn place<V: Lanes>(vector: usize) -> (usize, usize) {
    let per_panel = ROWS / V::N;
    (vector / per_panel, vector % per_panel * V::N)
}

/// What the sums of expanded panels depend on: formats that agree in it share the code.
pub(crate) trait Meaning {
    /// As in [`PanelFormat`].
    const GROUP: usize;
    /// As in [`PanelFormat`].
    const MINIMUM: usize;
    /// As in [`PanelFormat`].
    const WIDE: bool;
}

/// Sums of 16 or 32 columns, with minimums of 16 or 32 columns or without, of any bytes or of those below 128.
pub(crate) struct Sums<const GROUP: usize, const MINIMUM: usize, const WIDE: bool>;

impl<const GROUP: usize, const MINIMUM: usize, const WIDE: bool> Meaning for Sums<GROUP, MINIMUM, WIDE> {
    const GROUP: usize = GROUP;
    const MINIMUM: usize = MINIMUM;
    const WIDE: bool = WIDE;
}

/// The elements of some columns of a panel, which are a piece, row by row.
#[inline(always)]
pub(crate) fn decode<V: Lanes, F: PanelFormat>(
    v: V,
    f: F,
    panel: &[u8],
    columns: Range<usize>,
    width: usize,
    out: &mut [[f32; MOST]; ROWS],
) {
    let piece = Piece::of(f, panel, columns.start / COLUMNS, width / COLUMNS);
    let per_block = f.span() / COLUMNS;
    let mut read = Sides::new();
    for g in 0..columns.len() / COLUMNS {
        if g.is_multiple_of(per_block) {
            f.sides(v, piece.block(f, g / per_block), &mut read);
        }
        let lines = piece.lines::<F>(g);
        for q in 0..QUADS {
            let mut values = [0; 4 * ROWS];
            for part in 0..ROWS / V::N {
                v.put_words(quad::<V, F>(v, lines, part, q), &mut values[part * 4 * V::N..]);
            }
            let within = g % per_block;
            let of = |columns: usize| within * (COLUMNS / columns) + 4 * q / columns;
            let scales = &read.scales[if F::MANY && F::FOLD.is_none() { of(F::GROUP) } else { 0 }];
            let minimums = &read.minimums[if F::MANY && F::MINIMUM > 0 { of(F::MINIMUM) } else { 0 }];
            for row in 0..ROWS {
                for i in 0..4 {
                    let factor = if F::FOLD.is_some() { read.factors[of(16)][row] } else { 1 };
                    let value = (i32::from(values[4 * row + i]) - F::ZERO) * factor;
                    let element = scales[row] * value as f32;
                    out[row][g * COLUMNS + 4 * q + i] =
                        if F::MINIMUM > 0 { element + minimums[row] } else { element };
                }
            }
        }
    }
}

/// The elements of one row of a panel.
#[inline(always)]
pub(crate) fn row<V: Lanes, F: PanelFormat>(v: V, f: F, panel: &[u8], row: usize, out: &mut [f32]) {
    let all = out.len() / COLUMNS;
    let per_block = f.span() / COLUMNS;
    let mut read = Sides::new();
    for (at, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let g = at % GROUPS;
        let piece = Piece::of(f, panel, at - g, all);
        if g.is_multiple_of(per_block) {
            f.sides(v, piece.block(f, g / per_block), &mut read);
        }
        let lines = piece.lines::<F>(g);
        for (i, out) in out.iter_mut().enumerate() {
            let mut values = [0; 4 * ROWS];
            v.put_words(quad::<V, F>(v, lines, row / V::N, i / 4), &mut values);
            let value = i32::from(values[row % V::N * 4 + i % 4]) - F::ZERO;
            let of = |columns: usize| if F::MANY { (g % per_block * COLUMNS + i) / columns } else { 0 };
            let scale = match F::FOLD {
                Some(_) => read.scales[0][row] * read.factors[of(16)][row] as f32,
                None => read.scales[of(F::GROUP)][row],
            };
            *out = scale * value as f32;
            if F::MINIMUM > 0 {
                *out += read.minimums[of(F::MINIMUM)][row];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Level, tiles::cpu::lanes::Job};

    /// Folds four codes by a factor of all rows.
    struct Fold {
        codes: [u8; 4],
        factor: i32,
        zero: i32,
        raised: i32,
    }

    impl Job for Fold {
        type Output = [u8; 4];

        #[inline(always)]
        fn run<V: Lanes>(self, v: V) -> [u8; 4] {
            let words = v.integer(i32::from_le_bytes(self.codes));
            let mut bytes = [0; 4 * ROWS];
            v.put_words(folded(v, words, v.integer(self.factor), self.zero, self.raised), &mut bytes);
            [bytes[0], bytes[1], bytes[2], bytes[3]]
        }
    }

    #[test]
    fn bytes_are_folded_each_as_if_it_were_alone() {
        let formats = [(4, 127, 8, -32..32), (0, 0, 4, 0..16)];
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            for (zero, raised, codes, factors) in formats.clone() {
                for factor in factors {
                    for first in 0..codes {
                        let codes = [first, 0, codes - 1, first / 2];
                        let wanted = codes.map(|code| ((i32::from(code) - zero) * factor + raised) as u8);
                        let got = level.run(Fold { codes, factor, zero, raised });
                        assert_eq!(got, wanted, "{codes:?} times {factor} on {level}");
                    }
                }
            }
        }
    }
}
