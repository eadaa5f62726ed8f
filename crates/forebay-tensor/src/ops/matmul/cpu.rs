#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "bytes that do not decode fail the stage")]
//! `matmul` on the CPU: a group owns some rows of the weight, and so some columns of the output.
//!
//! `decode` takes any format as it lies; `panels` takes the panels of a format, as they lie for one or two rows of
//! activations and expanded in cache for more. Besides the rules of `ops` this relies on A1: a buffer argument is
//! mapped memory, aligned for its element, until the launch is over.

use std::{marker::PhantomData, ops::Range, slice};

use forebay_device::{KernelDef, Param, Share, Signature};

use super::PART;
use crate::{
    DType, Level, quant,
    quant::{
        panel::{MOST, ROWS},
        rounded::Rounded,
    },
    tiles::{
        cpu::{
            arguments,
            dot::dot,
            formats::{FormatJob, PanelFormat, PerRow, with_format},
            lanes::{Job, Lanes},
            products::{self, Expanded, Meaning, PANELS, Sums},
        },
        level_and_scales,
    },
};

/// Elements decoded at a time: a whole number of blocks of every format.
const PIECE: usize = 512;

/// Decodes a piece of a row into f32 and multiplies all rows of activations by it.
pub(super) fn decode(dtype: DType) -> KernelDef {
    KernelDef::new(format!("matmul_decode_{dtype}"), signature(Param::read::<f32>())).cpu_shares(
        move |share| {
            let rows = arguments::count(share, 3);
            let own = share.groups().start * PART..(share.groups().end * PART).min(rows);
            own.for_each(|row| product_of_row(share, dtype, row, rows));
        },
    )
}

/// Makes one column of the output; the caller owns the row.
fn product_of_row(share: &Share<'_>, dtype: DType, row: usize, rows: usize) {
    // SAFETY: A2: the signature declares both as read.
    let (weight, x): (&[u8], &[f32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
    let count = share.bytes(2).1 / size_of::<f32>() / rows;
    let width = x.len() / count;
    let row_bytes = weight.len() / rows;
    let weight = &weight[row * row_bytes..][..row_bytes];
    let mut decoded = [0.0; PIECE];
    for (piece, bytes) in weight.chunks(PIECE / dtype.block_elements() * dtype.block_bytes()).enumerate() {
        let columns: Range<usize> = piece * PIECE..((piece + 1) * PIECE).min(width);
        let decoded = &mut decoded[..columns.len()];
        if let Err(error) = quant::decode(dtype, bytes, decoded) {
            panic!("{error}");
        }
        for (i, x) in x.chunks_exact(width).enumerate() {
            let at = i * rows + row;
            // SAFETY: A3: a group owns the columns of its rows of the weight, and this is one of them.
            let out: &mut [f32] = unsafe { arguments::write(share, 2, at..at + 1) };
            let sum = dot(&x[columns.clone()], decoded);
            out[0] = if piece == 0 { sum } else { out[0] + sum };
        }
    }
}

/// Multiplies panels by rounded rows; a group owns [`PANELS`] panels.
pub(super) fn panels(dtype: DType) -> KernelDef {
    let name = format!("matmul_panels_{dtype}");
    KernelDef::new(name, signature(Param::read::<Rounded>())).cpu_shares(move |share| {
        let (level, scale_type) = level_and_scales(share.word(4));
        if with_format(dtype, scale_type, Choose { share, level }).is_none() {
            panic!("{dtype} does not lie in panels");
        }
    })
}

/// Weight, activations, output, rows of the weight, and how it lies.
fn signature(x: Param) -> Signature {
    Signature::new([Param::read::<u8>(), x, Param::write::<f32>(), Param::u32(), Param::u32()])
}

/// Takes the format to the level.
struct Choose<'a, 'b> {
    share: &'a Share<'b>,
    level: Level,
}

impl FormatJob for Choose<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        self.level.run(Products { out: Out::of(self.share), f });
    }
}

/// The output, of which a worker takes what its groups own.
struct Out<'a, 'b> {
    share: &'a Share<'b>,
    rows: usize,
    count: usize,
    /// The first element; kept here because it is asked for in the innermost loops.
    first: *mut f32,
}

impl<'a, 'b> Out<'a, 'b> {
    fn of(share: &'a Share<'b>) -> Self {
        let (first, bytes) = share.bytes(2);
        let rows = arguments::count(share, 3);
        Self { share, rows, count: bytes / size_of::<f32>() / rows, first: first.cast() }
    }

    /// The rows of the weight that a panel holds.
    #[inline(always)]
    fn rows_of(&self, panel: usize) -> Range<usize> {
        panel * ROWS..((panel + 1) * ROWS).min(self.rows)
    }

    /// What a panel that this worker owns makes of one row of activations.
    #[inline(always)]
    fn of_panel(&mut self, panel: usize, row: usize) -> &mut [f32] {
        let Range { start, end } = self.rows_of(panel);
        assert!(row < self.count && start < end, "panel {panel} and row {row} are not there");
        // SAFETY: A1, and the assertion for the range: it lies in one of `count` rows of `rows`. A3: a group owns the
        // columns of its panels, and the exclusive borrow allows one slice at a time.
        unsafe { slice::from_raw_parts_mut(self.first.add(row * self.rows + start), end - start) }
    }
}

/// The products of one worker.
struct Products<'a, 'b, F> {
    out: Out<'a, 'b>,
    f: F,
}

impl<F: PanelFormat> Job for Products<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { mut out, f } = self;
        // SAFETY: A2: the signature declares both as read.
        let (panels, x): (&[u8], &[Rounded]) =
            unsafe { (arguments::read(out.share, 0), arguments::read(out.share, 1)) };
        let all = out.rows.div_ceil(ROWS);
        let panel_bytes = panels.len() / all;
        let own = out.share.groups().start * PANELS..(out.share.groups().end * PANELS).min(all);
        let panel = |p: usize| &panels[p * panel_bytes..][..panel_bytes];
        if out.count <= 2 {
            let width = x.len() / out.count;
            for p in own {
                if out.count == 1 {
                    put(&mut out, p, 0, &products::panel(v, f, panel(p), [x])[0]);
                } else {
                    let (first, second) = x.split_at(width);
                    let both = products::panel(v, f, panel(p), [first, second]);
                    put(&mut out, p, 0, &both[0]);
                    put(&mut out, p, 1, &both[1]);
                }
            }
            return;
        }
        for first in own.clone().step_by(PANELS) {
            many(v, f, &mut out, first..(first + PANELS).min(own.end), &panel, x);
        }
    }
}

#[inline(always)]
fn put(out: &mut Out<'_, '_>, panel: usize, row: usize, sums: &PerRow) {
    let out = out.of_panel(panel, row);
    out.copy_from_slice(&sums[..out.len()]);
}

/// The products of some panels with many rows, 256 columns at a time, which are expanded once for all rows.
#[inline(always)]
fn many<'a, V: Lanes, F: PanelFormat>(
    v: V,
    f: F,
    out: &mut Out<'_, '_>,
    panels: Range<usize>,
    panel: &impl Fn(usize) -> &'a [u8],
    x: &[Rounded],
) {
    const CHUNK: usize = MOST / quant::rounded::ELEMENTS;
    let all = x.len() / out.count;
    let mut expanded = Expanded::new();
    for first in (0..all).step_by(CHUNK) {
        let groups = CHUNK.min(all - first);
        for p in panels.clone() {
            expanded.fill(v, f, panel(p), p - panels.start, (first, groups, all));
        }
        let (expanded, zero, panels) = (&expanded, F::ZERO, panels.clone());
        let chunk = Chunk { expanded, x, first, groups, all, panels, zero };
        match (F::GROUP, F::MINIMUM, F::WIDE) {
            (16, false, false) => chunk.add::<V, Sums<16, false, false>>(v, out),
            (16, false, true) => chunk.add::<V, Sums<16, false, true>>(v, out),
            (16, true, false) => chunk.add::<V, Sums<16, true, false>>(v, out),
            (16, true, true) => chunk.add::<V, Sums<16, true, true>>(v, out),
            (_, false, false) => chunk.add::<V, Sums<32, false, false>>(v, out),
            (_, false, true) => chunk.add::<V, Sums<32, false, true>>(v, out),
            (_, true, false) => chunk.add::<V, Sums<32, true, false>>(v, out),
            (_, true, true) => chunk.add::<V, Sums<32, true, true>>(v, out),
        }
    }
}

/// Some columns of some panels, and the rows that meet them.
struct Chunk<'a> {
    expanded: &'a Expanded,
    x: &'a [Rounded],
    first: usize,
    groups: usize,
    all: usize,
    panels: Range<usize>,
    zero: i32,
}

impl Chunk<'_> {
    /// Adds the products of all rows, in code of its own: formats that mean the same share it.
    #[inline(always)]
    fn add<V: Lanes, M: Meaning>(self, v: V, out: &mut Out<'_, '_>) {
        v.run(AddChunk { chunk: self, out, meaning: PhantomData::<M> });
    }

    /// Adds the products of `C` rows, `R` vectors of weights at a time, and says how many rows these were.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
    fn tile<V: Lanes, M: Meaning, const R: usize, const C: usize>(
        &self,
        v: V,
        out: &mut Out<'_, '_>,
        row: usize,
    ) -> usize {
        let mut xs: [&[Rounded]; C] = [&[]; C];
        for (c, x) in xs.iter_mut().enumerate() {
            *x = &self.x[(row + c) * self.all + self.first..][..self.groups];
        }
        let per_panel = ROWS / V::N;
        let vectors = self.panels.len().next_multiple_of(R.div_ceil(per_panel)) * per_panel;
        for vector in (0..vectors).step_by(R) {
            let mut totals = [[v.float(0.0); C]; R];
            if self.first > 0 {
                for r in 0..R {
                    let (panel, at) = products::place::<V>(vector + r);
                    for c in 0..C {
                        totals[r][c] = load(v, out, self.panels.start + panel, row + c, at);
                    }
                }
            }
            self.expanded.add::<V, M, R, C>(v, self.zero, vector, xs, &mut totals);
            for r in 0..R {
                let (panel, at) = products::place::<V>(vector + r);
                for c in 0..C {
                    store(v, out, self.panels.start + panel, row + c, at, totals[r][c]);
                }
            }
        }
        C
    }
}

/// Adds the products of all rows.
struct AddChunk<'a, 'b, 'c, M> {
    chunk: Chunk<'a>,
    out: &'a mut Out<'b, 'c>,
    meaning: PhantomData<M>,
}

impl<M: Meaning> Job for AddChunk<'_, '_, '_, M> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { chunk, out, .. } = self;
        let mut row = 0;
        while row < out.count {
            let left = out.count - row;
            row += if V::N == ROWS && left >= 6 {
                chunk.tile::<V, M, 2, 6>(v, out, row)
            } else if left >= 4 {
                chunk.tile::<V, M, 1, 4>(v, out, row)
            } else {
                chunk.tile::<V, M, 1, 1>(v, out, row)
            };
        }
    }
}

/// What a panel has made so far of a row, from its row `at` on; nothing where it has no more rows.
#[inline(always)]
fn load<V: Lanes>(v: V, out: &mut Out<'_, '_>, panel: usize, row: usize, at: usize) -> V::Floats {
    let have = out.rows_of(panel).len();
    if at + V::N <= have {
        return v.load(&out.of_panel(panel, row)[at..]);
    }
    let mut floats = [0.0; ROWS];
    if at < have {
        floats[..have - at].copy_from_slice(&out.of_panel(panel, row)[at..]);
    }
    v.load(&floats)
}

/// Keeps what a panel has made so far of a row, from its row `at` on, as far as it has rows.
#[inline(always)]
fn store<V: Lanes>(v: V, out: &mut Out<'_, '_>, panel: usize, row: usize, at: usize, total: V::Floats) {
    let have = out.rows_of(panel).len();
    if at + V::N <= have {
        v.store(total, &mut out.of_panel(panel, row)[at..]);
    } else if at < have {
        let mut floats = [0.0; ROWS];
        v.store(total, &mut floats);
        out.of_panel(panel, row)[at..].copy_from_slice(&floats[..have - at]);
    }
}
