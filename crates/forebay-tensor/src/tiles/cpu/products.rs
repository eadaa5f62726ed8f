//! Products of panels and rounded rows: one panel with few rows as it lies, or expanded in cache with many.
//!
//! Every element of the result is a sum over groups of columns in their order, each the same few operations, so that it
//! does not depend on how many rows or workers there are, nor on the level. What the parts of a panel mean is in
//! `formats`, what vectors are in `lanes`.

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
const AHEAD: usize = 3072;

/// The products of a panel with a few rounded rows.
#[inline(always)]
pub(crate) fn panel<V: Lanes, F: PanelFormat, const C: usize>(
    v: V,
    f: F,
    panel: &[u8],
    xs: [&[Rounded]; C],
) -> [PerRow; C] {
    let (blocks, groups) = (xs[0].len() * COLUMNS / f.span(), f.span() / COLUMNS);
    let side_bytes = ROWS * f.side_bytes();
    let line_bytes = 2 * COLUMNS * F::BITS;
    let (sides, lines) = panel.split_at(blocks * side_bytes);
    let mut lines = lines.chunks_exact(line_bytes);
    let mut read = Sides::new();
    let mut totals = [[v.float(0.0); PARTS]; C];
    for (block, side) in sides.chunks_exact(side_bytes).enumerate() {
        v.fetch(side, AHEAD / 4);
        f.sides(v, side, &mut read);
        for (g, lines) in lines.by_ref().take(groups).enumerate() {
            (0..line_bytes).step_by(64).for_each(|line| v.fetch(lines, AHEAD + line));
            for part in 0..ROWS / V::N {
                let quads: [V::Words; QUADS] = std::array::from_fn(|q| quad::<V, F>(v, lines, part, q));
                for (total, x) in totals.iter_mut().zip(&xs) {
                    total[part] =
                        add_group::<V, F>(v, total[part], &quads, &x[block * groups + g], &read, g, part);
                }
            }
        }
    }
    totals.map(|total| {
        let mut out = [0.0; ROWS];
        (0..ROWS / V::N).for_each(|part| v.store(total[part], &mut out[part * V::N..]));
        out
    })
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
    let dot = if F::WIDE { V::dot_wide } else { V::dot };
    let sum = |first: i32, quads: &[V::Words], codes: &[i8]| {
        let quads = quads.iter().zip(codes.as_chunks::<4>().0);
        quads.fold(v.integer(first), |sum, (a, b)| dot(v, sum, *a, v.quad(*b)))
    };
    let of = |numbers: &[PerRow], i: usize| v.load(&numbers[if F::MANY { i } else { 0 }][part * V::N..]);
    let mut total = total;
    if F::GROUP == 16 {
        for h in 0..2 {
            let (i, codes) = (2 * g + h, &x.codes[16 * h..16 * h + 16]);
            let sum = sum(-F::ZERO * x.sums[h], &quads[4 * h..4 * h + 4], codes);
            total = v.add(total, v.mul(v.floats(sum), v.mul(of(&sides.scales, i), v.float(x.d))));
            if F::MINIMUM {
                total = v.add(total, v.mul(of(&sides.minimums, i), v.float(x.dsums[h])));
            }
        }
    } else {
        let sum = sum(-F::ZERO * x.sum, quads, &x.codes);
        total = v.add(total, v.mul(v.floats(sum), v.mul(of(&sides.scales, g), v.float(x.d))));
        if F::MINIMUM {
            total = v.add(total, v.mul(of(&sides.minimums, g), v.float(x.dsum)));
        }
    }
    total
}

/// Panels that are expanded together.
pub(crate) const PANELS: usize = 4;
/// Groups of 32 columns that are expanded together.
const GROUPS: usize = MOST / COLUMNS;

/// Some columns of some panels: a byte for each value, a float for each scale.
pub(crate) struct Expanded {
    /// For each panel, for each 32 columns, for each quad the bytes of 16 rows.
    values: [[[[u8; 64]; QUADS]; GROUPS]; PANELS],
    /// For each panel the scales and minimums of its groups.
    scales: [[PerRow; 2 * GROUPS]; PANELS],
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

    /// Expands groups `first..first + groups` of 32 columns of a panel into place `p`.
    #[inline(always)]
    pub(crate) fn fill<V: Lanes, F: PanelFormat>(
        &mut self,
        v: V,
        f: F,
        panel: &[u8],
        p: usize,
        (first, groups, all): (usize, usize, usize),
    ) {
        let side_bytes = ROWS * f.side_bytes();
        let line_bytes = 2 * COLUMNS * F::BITS;
        let per_block = f.span() / COLUMNS;
        let (sides, lines) = panel.split_at(all / per_block * side_bytes);
        let mut read = Sides::new();
        for g in 0..groups {
            let at = first + g;
            if at.is_multiple_of(per_block) || g == 0 {
                f.sides(v, &sides[at / per_block * side_bytes..][..side_bytes], &mut read);
            }
            let (within, each) = (at % per_block, COLUMNS / F::GROUP);
            for h in 0..each {
                let from = if F::MANY { within * each + h } else { 0 };
                self.scales[p][g * each + h] = read.scales[from];
                if F::MINIMUM {
                    self.minimums[p][g * each + h] = read.minimums[from];
                }
            }
            let lines = &lines[at * line_bytes..][..line_bytes];
            for part in 0..ROWS / V::N {
                for (q, values) in self.values[p][g].iter_mut().enumerate() {
                    v.put_words(quad::<V, F>(v, lines, part, q), &mut values[part * 4 * V::N..]);
                }
            }
        }
    }

    /// Adds the products with `C` rounded rows to `totals`, for `R` vectors of rows from `vector` on.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
    pub(crate) fn add<V: Lanes, M: Meaning, const R: usize, const C: usize>(
        &self,
        v: V,
        zero: i32,
        vector: usize,
        xs: [&[Rounded]; C],
        totals: &mut [[V::Floats; C]; R],
    ) {
        let per_panel = ROWS / V::N;
        let place = |r: usize| ((vector + r) / per_panel, (vector + r) % per_panel * V::N);
        let dot = if M::WIDE { V::dot_wide } else { V::dot };
        let each = COLUMNS / M::GROUP;
        for g in 0..xs[0].len().min(GROUPS) {
            for h in 0..each {
                let first = |x: &Rounded| -zero * if each == 2 { x.sums[h] } else { x.sum };
                let mut sums: [[V::Words; C]; R] = [std::array::from_fn(|c| v.integer(first(&xs[c][g]))); R];
                for q in h * QUADS / each..(h + 1) * QUADS / each {
                    let a: [V::Words; R] = std::array::from_fn(|r| {
                        let (panel, row) = place(r);
                        v.words(&self.values[panel][g][q][4 * row..])
                    });
                    for c in 0..C {
                        let b = v.quad(xs[c][g].codes.as_chunks::<4>().0[q]);
                        for r in 0..R {
                            sums[r][c] = dot(v, sums[r][c], a[r], b);
                        }
                    }
                }
                for r in 0..R {
                    let (panel, row) = place(r);
                    let scales = v.load(&self.scales[panel][g * each + h][row..]);
                    for c in 0..C {
                        let scale = v.mul(scales, v.float(xs[c][g].d));
                        totals[r][c] = v.add(totals[r][c], v.mul(v.floats(sums[r][c]), scale));
                    }
                    if M::MINIMUM {
                        let minimums = v.load(&self.minimums[panel][g * each + h][row..]);
                        for c in 0..C {
                            let x = &xs[c][g];
                            let dsum = v.float(if each == 2 { x.dsums[h] } else { x.dsum });
                            totals[r][c] = v.add(totals[r][c], v.mul(minimums, dsum));
                        }
                    }
                }
            }
        }
    }
}

/// What the sums of expanded panels depend on: formats that agree in it share the code.
pub(crate) trait Meaning {
    /// As in [`PanelFormat`].
    const GROUP: usize;
    /// As in [`PanelFormat`].
    const MINIMUM: bool;
    /// As in [`PanelFormat`].
    const WIDE: bool;
}

/// Sums of 16 or 32 columns, with minimums or without, of any bytes or of those below 128.
pub(crate) struct Sums<const GROUP: usize, const MINIMUM: bool, const WIDE: bool>;

impl<const GROUP: usize, const MINIMUM: bool, const WIDE: bool> Meaning for Sums<GROUP, MINIMUM, WIDE> {
    const GROUP: usize = GROUP;
    const MINIMUM: bool = MINIMUM;
    const WIDE: bool = WIDE;
}

/// The elements of one row of a panel.
#[inline(always)]
pub(crate) fn row<V: Lanes, F: PanelFormat>(v: V, f: F, panel: &[u8], row: usize, out: &mut [f32]) {
    let groups = out.len() / COLUMNS;
    let per_block = f.span() / COLUMNS;
    let side_bytes = ROWS * f.side_bytes();
    let line_bytes = 2 * COLUMNS * F::BITS;
    let (sides, lines) = panel.split_at(groups / per_block * side_bytes);
    let mut read = Sides::new();
    for (at, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        if at.is_multiple_of(per_block) {
            f.sides(v, &sides[at / per_block * side_bytes..][..side_bytes], &mut read);
        }
        let lines = &lines[at * line_bytes..][..line_bytes];
        for (i, out) in out.iter_mut().enumerate() {
            let mut values = [0; 4 * ROWS];
            v.put_words(quad::<V, F>(v, lines, row / V::N, i / 4), &mut values);
            let value = i32::from(values[row % V::N * 4 + i % 4]) - F::ZERO;
            let each = COLUMNS / F::GROUP;
            let from = if F::MANY { at % per_block * each + i / F::GROUP } else { 0 };
            *out = read.scales[from][row] * value as f32;
            if F::MINIMUM {
                *out += read.minimums[from][row];
            }
        }
    }
}
