#![allow(unsafe_code, reason = "sums are gathered in memory that nobody has to clear")]
//! Products of some panels with many rows of activations: 256 columns at a time are expanded for all of them.
//!
//! Sums are gathered here and not in the output, whose rows lie so far apart that a cache holds few of them. Tiles are as large
//! as there are registers for their sums. Next room: `products`, which expands and adds.
//!
//! Rule M1: totals are taken for floats only after all of them were written.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use super::{
    blocks::{Inputs, Out, Values},
    lanes::{Job, Lanes},
    products::{Expanded, Meaning, PANELS, Sums},
};
use crate::quant::{
    panel::{COLUMNS, MOST, ROWS},
    rounded::{ELEMENTS, Rounded},
};

/// The most rows of activations that meet what is expanded.
const TOGETHER: usize = 512;
/// Blocks of activations that are as long as what is expanded.
const CHUNK: usize = MOST / ELEMENTS;

/// What some panels have made so far of a row of activations.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Total([f32; PANELS * ROWS]);

/// Makes the products of panels, which hold these rows of the weight, with rows of activations.
#[inline(always)]
pub(super) fn many<V: Lanes, S: Values>(
    v: V,
    values: S,
    panels: Range<usize>,
    rows: Range<usize>,
    inputs: &Inputs<'_, Rounded>,
    out: &mut Out<'_>,
) {
    let parts = inputs.len().div_ceil(TOGETHER);
    let mut room = [const { MaybeUninit::uninit() }; TOGETHER];
    let mut expanded = Expanded::new();
    const { assert!(S::GROUP == COLUMNS || S::MINIMUM == 0, "no format has both halves and minimums") };
    for part in 0..parts {
        let taken = inputs.len() * part / parts..inputs.len() * (part + 1) / parts;
        let totals = begin(&mut room[..taken.len()], &rows, taken.start, inputs, out);
        for first in (0..inputs.width).step_by(CHUNK) {
            let blocks = first..(first + CHUNK).min(inputs.width);
            for p in panels.clone() {
                values.expand(v, p, blocks.clone(), &mut expanded, p - panels.start);
            }
            let (zero, panels) = (S::ZERO, panels.len());
            let chunk = Chunk { expanded: &expanded, inputs, first: taken.start, blocks, panels, zero };
            match (S::GROUP, S::MINIMUM, S::WIDE) {
                (16, _, false) => chunk.add::<V, Sums<16, 0, false>>(v, totals),
                (16, _, true) => chunk.add::<V, Sums<16, 0, true>>(v, totals),
                (_, 0, false) => chunk.add::<V, Sums<32, 0, false>>(v, totals),
                (_, 0, true) => chunk.add::<V, Sums<32, 0, true>>(v, totals),
                (_, 16, false) => chunk.add::<V, Sums<32, 16, false>>(v, totals),
                (_, 16, true) => chunk.add::<V, Sums<32, 16, true>>(v, totals),
                (_, _, false) => chunk.add::<V, Sums<32, 32, false>>(v, totals),
                (_, _, true) => chunk.add::<V, Sums<32, 32, true>>(v, totals),
            }
        }
        for (i, total) in totals.iter().enumerate() {
            let out = out.of_rows(rows.clone(), inputs.place(taken.start + i));
            out.copy_from_slice(&total.0[..out.len()]);
        }
    }
}

/// What sums begin with, for rows of activations from `first` on.
#[inline(always)]
fn begin<'a>(
    room: &'a mut [MaybeUninit<Total>],
    rows: &Range<usize>,
    first: usize,
    inputs: &Inputs<'_, Rounded>,
    out: &mut Out<'_>,
) -> &'a mut [Total] {
    for (i, room) in room.iter_mut().enumerate() {
        let total = room.write(Total([0.0; PANELS * ROWS]));
        if out.is_begun() {
            let before = out.of_rows(rows.clone(), inputs.place(first + i));
            total.0[..before.len()].copy_from_slice(before);
        }
    }
    // SAFETY: M1: the loop wrote every one.
    unsafe { room.assume_init_mut() }
}

/// Some columns of some panels, and the rows that meet them.
struct Chunk<'a> {
    expanded: &'a Expanded,
    inputs: &'a Inputs<'a, Rounded>,
    /// The row that the first total is of.
    first: usize,
    blocks: Range<usize>,
    panels: usize,
    zero: i32,
}

impl Chunk<'_> {
    /// Adds the products of all rows, in code of its own: formats that mean the same share it.
    #[inline(always)]
    fn add<V: Lanes, M: Meaning>(self, v: V, totals: &mut [Total]) {
        v.run(AddChunk { chunk: self, totals, meaning: PhantomData::<M> });
    }

    /// Adds the products of `C` rows, `R` vectors of weights at a time.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
    fn tile<V: Lanes, M: Meaning, const R: usize, const C: usize>(
        &self,
        v: V,
        totals: &mut [Total; C],
        row: usize,
    ) {
        let mut xs: [&[Rounded]; C] = [&[]; C];
        for c in 0..C {
            xs[c] = self.inputs.row(row + c, self.blocks.clone());
        }
        let passes = (self.panels * ROWS / V::N).div_ceil(R);
        for pass in 0..passes {
            // Rows lie far apart, and what is wanted of the next ones is short: nobody else brings it in time.
            for c in (pass..C).step_by(passes) {
                if row + C + c < self.inputs.len() {
                    for x in self.inputs.row(row + C + c, self.blocks.clone()) {
                        v.fetch(bytemuck::bytes_of(x), 0);
                    }
                }
            }
            let mut sums = [[v.float(0.0); C]; R];
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = v.load(&totals[c].0[(pass * R + r) * V::N..]);
                }
            }
            self.expanded.add::<V, M, R, C>(v, self.zero, pass * R, xs, &mut sums);
            for r in 0..R {
                for c in 0..C {
                    v.store(sums[r][c], &mut totals[c].0[(pass * R + r) * V::N..]);
                }
            }
        }
    }
}

/// Adds the products of all rows.
struct AddChunk<'a, 'b, M> {
    chunk: Chunk<'a>,
    totals: &'b mut [Total],
    meaning: PhantomData<M>,
}

impl<M: Meaning> Job for AddChunk<'_, '_, M> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { chunk, totals, .. } = self;
        let mut row = chunk.first;
        if V::N == ROWS {
            // Few rows that are left share what is loaded of all panels.
            let (sixes, rest) = totals.as_chunks_mut();
            for totals in sixes {
                chunk.tile::<V, M, 2, 6>(v, totals, row);
                row += 6;
            }
            let (twos, ones) = rest.as_chunks_mut();
            for totals in twos {
                chunk.tile::<V, M, 4, 2>(v, totals, row);
                row += 2;
            }
            for totals in ones.as_chunks_mut().0 {
                chunk.tile::<V, M, 4, 1>(v, totals, row);
                row += 1;
            }
        } else {
            let (fours, rest) = totals.as_chunks_mut();
            for totals in fours {
                chunk.tile::<V, M, 1, 4>(v, totals, row);
                row += 4;
            }
            for totals in rest.as_chunks_mut().0 {
                chunk.tile::<V, M, 1, 1>(v, totals, row);
                row += 1;
            }
        }
    }
}
