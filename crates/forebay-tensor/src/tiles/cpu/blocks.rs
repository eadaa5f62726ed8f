#![allow(unsafe_code, reason = "kernels work on slices of device memory")]
//! The rows of activations that meet a weight, where the products go, and those of the panels that a worker owns.
//!
//! One or two rows meet a panel as it lies; more of them meet 256 columns of a few panels at a time, expanded in cache.
//! Next rooms: `many`, which takes the latter apart, and `products`, which multiplies; `ops/matmul` and `ops/routed_matmul`
//! say which rows meet which panels.
//!
//! Of the rules of `arguments` these matter here:
//! - A1 A buffer argument is mapped memory that stays until the launch is over.
//! - A3 A worker takes for writing only elements that its own groups own.

use std::{ops::Range, slice};

use forebay_device::Share;

use super::{
    around::Around,
    dot::dot,
    formats::PanelFormat,
    lanes::{Job, Lanes},
    many::many,
    products::{self, Expanded, PANELS},
};
use crate::quant::{
    panel::{MOST, ROWS},
    rounded::Rounded,
};

/// An output of rows, of which a worker takes the columns that belong to its rows of the weight.
pub(crate) struct Out<'a> {
    /// The first element; kept here because it is asked for in the innermost loops.
    first: *mut f32,
    count: usize,
    rows: usize,
    /// The rows of the weight that are this worker's.
    own: Range<usize>,
    around: Around<'a>,
}

impl<'a> Out<'a> {
    /// The argument, whose rows are as long as a weight has rows.
    ///
    /// # Safety
    /// The parameter is declared as written, with elements of `f32`; the columns of `own` are this worker's by A3, and
    /// nothing is asked for after the launch.
    pub(crate) unsafe fn of(share: &Share<'_>, argument: usize, rows: usize, own: Range<usize>) -> Self {
        let (first, bytes) = share.bytes(argument);
        let count = bytes / size_of::<f32>() / rows;
        Self { first: first.cast(), count, rows, own, around: Around::default() }
    }

    /// The same, with something around the products.
    pub(crate) fn around(self, around: Around<'a>) -> Self {
        Self { around, ..self }
    }

    /// Whether sums begin with what is there, after [`begin`](Self::begin).
    #[inline(always)]
    pub(crate) fn is_begun(&self) -> bool {
        self.around.begins()
    }

    /// Makes what the products with some rows are added to: those of the weight that are this worker's, and those of `inputs`.
    pub(crate) fn begin<T>(&mut self, rows: Range<usize>, inputs: &Inputs<'_, T>) {
        let around = self.around;
        if !around.bias.is_empty() {
            for i in 0..inputs.len() {
                around.begin(rows.clone(), self.of_rows(rows.clone(), inputs.place(i)));
            }
        }
    }

    /// Makes of the products with some rows what is wanted of them.
    pub(crate) fn end<T>(&mut self, rows: Range<usize>, inputs: &Inputs<'_, T>) {
        if let Some(gate) = self.around.gate {
            for i in 0..inputs.len() {
                let first = inputs.place(i) * self.rows;
                gate(first + rows.start..first + rows.end, self.of_rows(rows.clone(), inputs.place(i)));
            }
        }
    }

    /// How many rows of activations there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How long a row is.
    pub(crate) fn width(&self) -> usize {
        self.rows
    }

    /// The rows of the weight that are this worker's.
    pub(crate) fn own(&self) -> Range<usize> {
        self.own.clone()
    }

    /// The panels that are this worker's.
    fn own_panels(&self) -> Range<usize> {
        self.own.start / ROWS..self.own.end.div_ceil(ROWS)
    }

    /// The rows of the weight that a panel holds; none if it comes after those of this worker.
    #[inline(always)]
    fn rows_of(&self, panel: usize) -> Range<usize> {
        panel * ROWS..((panel + 1) * ROWS).min(self.own.end)
    }

    /// What a panel that this worker owns makes of one row of activations.
    #[inline(always)]
    fn of_panel(&mut self, panel: usize, row: usize) -> &mut [f32] {
        self.of_rows(self.rows_of(panel), row)
    }

    /// What rows of the weight that this worker owns make of one row of activations.
    #[inline(always)]
    pub(crate) fn of_rows(&mut self, rows: Range<usize>, row: usize) -> &mut [f32] {
        let Range { start, end } = rows;
        let fits = row < self.count && self.own.start <= start && start < end && end <= self.own.end;
        assert!(fits, "rows {rows:?} for row {row} are not this worker's");
        // SAFETY: A1, and the assertion for the range: it lies in one of `count` rows of `rows`. A3: it is in `own`, which
        // is this worker's, as the maker vouched, and the exclusive borrow allows one slice at a time.
        unsafe { slice::from_raw_parts_mut(self.first.add(row * self.rows + start), end - start) }
    }
}

/// The panels of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    bytes: &'a [u8],
    each: usize,
}

impl<'a> Panels<'a> {
    /// So many panels.
    pub(crate) fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { bytes, each: bytes.len() / count }
    }

    #[inline(always)]
    fn of(&self, panel: usize) -> &'a [u8] {
        &self.bytes[panel * self.each..][..self.each]
    }
}

/// Rows of activations, and which row of the output belongs to each.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    /// Rows that lie one after another: of floats, or of rounded blocks.
    pub(crate) x: &'a [T],
    /// How many of these a row has.
    pub(crate) width: usize,
    /// Which rows are meant.
    pub(crate) rows: Meant<'a>,
}

/// Which rows are meant.
#[derive(Clone, Copy)]
pub(crate) enum Meant<'a> {
    /// So many from the first on; each has the row of the output of its number.
    First(usize),
    /// Those of some rows of the output; so many of these, side by side, share a row.
    Of(&'a [u32], usize),
}

impl<'a, T> Inputs<'a, T> {
    /// How many rows are meant.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        match self.rows {
            Meant::First(count) => count,
            Meant::Of(rows, _) => rows.len(),
        }
    }

    /// Where the results of row `i` go.
    #[inline(always)]
    pub(crate) fn place(&self, i: usize) -> usize {
        match self.rows {
            Meant::First(_) => i,
            Meant::Of(rows, _) => rows[i] as usize,
        }
    }

    /// A part of row `i`.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize, part: Range<usize>) -> &'a [T] {
        let row = match self.rows {
            Meant::First(_) => i,
            Meant::Of(rows, share) => rows[i] as usize / share,
        };
        &self.x[row * self.width..][part]
    }
}

/// What can be expanded to a byte for each value.
pub(crate) trait Values: Copy {
    /// The value of zero.
    const ZERO: i32;
    /// As in [`PanelFormat`].
    const GROUP: usize;
    /// As in [`PanelFormat`].
    const MINIMUM: usize;
    /// As in [`PanelFormat`].
    const WIDE: bool;

    /// Expands some of the columns of a panel, counted in groups of 32 and at most 256, into a place.
    fn expand<V: Lanes>(self, v: V, panel: usize, columns: Range<usize>, to: &mut Expanded, place: usize);
}

/// Panels with their format.
#[derive(Clone, Copy)]
struct Packed<'a, F> {
    f: F,
    panels: Panels<'a>,
    /// Groups of 32 columns.
    all: usize,
}

impl<F: PanelFormat> Values for Packed<'_, F> {
    const ZERO: i32 = if let Some(raised) = F::FOLD { raised } else { F::ZERO };
    const GROUP: usize = F::GROUP;
    const MINIMUM: usize = F::MINIMUM;
    const WIDE: bool = F::WIDE || matches!(F::FOLD, Some(1..));

    #[inline(always)]
    fn expand<V: Lanes>(self, v: V, panel: usize, columns: Range<usize>, to: &mut Expanded, place: usize) {
        to.fill(v, self.f, self.panels.of(panel), place, (columns.start, columns.len(), self.all));
    }
}

/// Multiplies what has to be expanded by rows, in code of its own for each format and level.
pub(crate) struct MultiplyExpanded<'a, 'b, S> {
    pub(crate) values: S,
    pub(crate) inputs: Inputs<'a, Rounded>,
    pub(crate) out: &'a mut Out<'b>,
}

impl<S: Values> Job for MultiplyExpanded<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { values, inputs, out } = self;
        let own = out.own_panels();
        if inputs.len() > 0 {
            for first in own.clone().step_by(PANELS) {
                let panels = first..(first + PANELS).min(own.end);
                let rows = panels.start * ROWS..(panels.end * ROWS).min(out.own.end);
                out.begin(rows.clone(), &inputs);
                many(v, values, panels, rows.clone(), &inputs, out);
                out.end(rows, &inputs);
            }
        }
    }
}

/// Multiplies panels by rows, in code of its own for each format and level, which all ops share.
pub(crate) struct Multiply<'a, 'b, F> {
    pub(crate) f: F,
    pub(crate) panels: Panels<'a>,
    pub(crate) inputs: Inputs<'a, Rounded>,
    pub(crate) out: &'a mut Out<'b>,
}

impl<F: PanelFormat> Job for Multiply<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { f, panels, inputs, out } = self;
        match inputs.len() {
            0 => {}
            1 => few::<V, F, 1>(v, f, panels, &inputs, out),
            2 => few::<V, F, 2>(v, f, panels, &inputs, out),
            _ => {
                let values = Packed { f, panels, all: inputs.width };
                MultiplyExpanded { values, inputs, out }.run(v);
            }
        }
    }
}

/// Multiplies panels by rows of floats: 256 columns of a panel are decoded at a time, once for all rows.
pub(crate) struct MultiplyDecoded<'a, 'b, F> {
    pub(crate) f: F,
    pub(crate) panels: Panels<'a>,
    pub(crate) inputs: Inputs<'a, f32>,
    pub(crate) out: &'a mut Out<'b>,
}

impl<F: PanelFormat> Job for MultiplyDecoded<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { f, panels, inputs, out } = self;
        let own = out.own();
        let mut rows = [[0.0; MOST]; ROWS];
        out.begin(own.clone(), &inputs);
        for p in out.own_panels() {
            let of_panel = out.rows_of(p);
            for first in (0..inputs.width).step_by(MOST) {
                let columns = first..(first + MOST).min(inputs.width);
                products::decode(v, f, panels.of(p), columns.clone(), inputs.width, &mut rows);
                let begun = first > 0 || out.is_begun();
                for i in 0..inputs.len() {
                    let x = inputs.row(i, columns.clone());
                    let out = out.of_rows(of_panel.clone(), inputs.place(i));
                    for (row, out) in rows.iter().zip(out) {
                        let sum = dot(x, &row[..x.len()]);
                        *out = if begun { *out + sum } else { sum };
                    }
                }
            }
        }
        out.end(own, &inputs);
    }
}

/// The products with `C` rows, of panels as they lie.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
fn few<V: Lanes, F: PanelFormat, const C: usize>(
    v: V,
    f: F,
    panels: Panels<'_>,
    inputs: &Inputs<'_, Rounded>,
    out: &mut Out<'_>,
) {
    let mut xs: [&[Rounded]; C] = [&[]; C];
    for c in 0..C {
        xs[c] = inputs.row(c, 0..inputs.width);
    }
    let own = out.own();
    out.begin(own.clone(), inputs);
    for p in out.own_panels() {
        let mut sums = [[0.0; ROWS]; C];
        if out.is_begun() {
            for c in 0..C {
                let before = out.of_panel(p, inputs.place(c));
                sums[c][..before.len()].copy_from_slice(before);
            }
        }
        products::panel(v, f, panels.of(p), xs, &mut sums);
        for c in 0..C {
            let out = out.of_panel(p, inputs.place(c));
            out.copy_from_slice(&sums[c][..out.len()]);
        }
    }
    out.end(own, inputs);
}
