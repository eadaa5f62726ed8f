#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Goes through keys and values once for several rows of queries, a tile at a time, and keeps the softmax of each row as
//! a running maximum, a running sum and a running sum of values; a new maximum scales what was summed before.
//!
//! Sums run in a fixed order. Queries that meet keys of q8_0 are rounded, and their products are of integers. What a row does
//! not see is never multiplied, not even by zero, since it may be anything. Next room: `positions`, for floats.

use std::ops::Range;

use super::{
    cache::Unit,
    curves::{exp, tanh},
    dot::{LANES, add_scaled, dot},
    lanes::{Lanes, Level},
    positions::{FEW, add_values, products},
    scores::{Queries, Scoring},
};

/// Rows of queries that go together.
pub(crate) const ROWS: usize = 16;
/// Positions of a tile.
pub(crate) const TILE: usize = 32;
/// Rows that meet a few positions together, where a level has registers for them.
const TOGETHER: usize = 4;
/// The widest row.
const MOST_WIDTH: usize = 576;

/// Floats whose vectors lie within lines of the cache.
#[repr(align(64))]
pub(crate) struct InLines<const N: usize>(pub(crate) [f32; N]);

/// Keys and values of one head; position `p` is at slot `p % capacity`.
pub(crate) struct Cache<'a, T> {
    pub(crate) keys: &'a [T],
    pub(crate) values: &'a [T],
    pub(crate) capacity: usize,
}

/// How scores come from products.
pub(crate) struct Scores {
    pub(crate) scale: f32,
    /// What scores are bent to stay below; 0 is no cap.
    pub(crate) softcap: f32,
    /// The level on which keys of integers are multiplied.
    pub(crate) level: Level,
}

/// Rows of queries, each with the positions it sees and with room for its sum of values.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    count: usize,
    queries: [&'a [f32]; ROWS],
    seen: [Range<usize>; ROWS],
    out: [&'a mut [f32]; ROWS],
    most: [f32; ROWS],
    sum: [f32; ROWS],
}

impl<'a> Rows<'a> {
    /// Adds a row; there are at most [`ROWS`].
    pub(crate) fn push(&mut self, query: &'a [f32], seen: Range<usize>, out: &'a mut [f32]) {
        let row = self.count;
        (self.queries[row], self.seen[row], self.out[row]) = (query, seen, out);
        self.count += 1;
    }

    /// Adds what each row has summed to its total.
    pub(crate) fn join(&self, totals: &mut [Total<'_>]) {
        for (row, total) in totals.iter_mut().enumerate() {
            total.join(self.most[row], self.sum[row], self.out[row]);
        }
    }

    /// Looks at each row: its number, its maximum, and its sum of weights.
    pub(crate) fn each(&self, mut look: impl FnMut(usize, f32, f32)) {
        (0..self.count).for_each(|row| look(row, self.most[row], self.sum[row]));
    }

    /// From the first position that any row sees to the last.
    pub(crate) fn span(&self) -> Range<usize> {
        let seen = || self.seen[..self.count].iter().filter(|seen| !seen.is_empty());
        seen().map(|seen| seen.start).min().unwrap_or(0)..seen().map(|seen| seen.end).max().unwrap_or(0)
    }
}

/// What the parts of what a row sees add up to. Parts are joined in their order, each by the same steps.
#[derive(Default)]
pub(crate) struct Total<'a> {
    most: f32,
    sum: f32,
    values: &'a mut [f32],
}

impl<'a> Total<'a> {
    /// Nothing yet.
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { most: f32::NEG_INFINITY, sum: 0.0, values }
    }

    /// Adds a part: its maximum, its sum of weights, its sum of values. A part in which nothing is seen is none.
    #[inline(always)]
    pub(crate) fn join(&mut self, most: f32, sum: f32, values: &[f32]) {
        if sum == 0.0 {
            return;
        }
        if self.sum == 0.0 {
            self.values.copy_from_slice(values);
            (self.most, self.sum) = (most, sum);
            return;
        }
        let all = if most > self.most { most } else { self.most };
        let (ours, theirs) = (exp(self.most - all), exp(most - all));
        self.values.iter_mut().zip(values).for_each(|(x, y)| *x = *x * ours + y * theirs);
        (self.most, self.sum) = (all, self.sum * ours + sum * theirs);
    }

    /// Divides the sum of values by the sum of weights, in which a sink takes part.
    #[inline(always)]
    pub(crate) fn finish(&mut self, sink: Option<f32>) {
        let (mut fade, mut sum) = (1.0, self.sum);
        if let Some(sink) = sink {
            let all = if sink > self.most { sink } else { self.most };
            fade = exp(self.most - all);
            sum = sum * fade + exp(sink - all);
        }
        self.values.iter_mut().for_each(|x| *x = *x * fade / sum);
    }
}

/// Puts into each row its sum of values over those positions of a part that it sees.
#[inline(always)]
pub(crate) fn attend<V: Lanes, T: Unit>(
    v: V,
    cache: &Cache<'_, T>,
    rows: &mut Rows<'_>,
    part: Range<usize>,
    scores: &Scores,
) {
    let InLines(scratch) = &mut InLines([0.0; FEW * MOST_WIDTH]);
    let mut weights = [[0.0; TILE]; ROWS];
    let rounded = match T::blocks(cache.keys) {
        Some(keys) => Some((Queries::of(&rows.queries[..rows.count]), keys)),
        None => None,
    };
    for row in 0..rows.count {
        rows.out[row].fill(0.0);
        (rows.most[row], rows.sum[row]) = (f32::NEG_INFINITY, 0.0);
    }
    let span = rows.span();
    let (mut start, end) = (span.start.max(part.start), span.end.min(part.end));
    while start < end {
        // Tiles begin at the same positions whatever is seen, so that a row is summed the same beside any others.
        let slot = start % cache.capacity;
        let tile = start..end.min((start + 1).next_multiple_of(TILE)).min(start + cache.capacity - slot);
        match &rounded {
            Some((queries, keys)) => {
                let blocks = rows.queries[0].len() / T::ELEMENTS;
                let keys = &keys[slot * blocks..][..tile.len() * blocks];
                scores.level.run(Scoring { queries, keys, into: &mut weights });
                let shift = tile.start % TILE;
                if shift > 0 {
                    weights[..rows.count].iter_mut().for_each(|row| row.copy_within(..tile.len(), shift));
                }
            }
            None => multiply_tile(v, cache, rows, &tile, &mut weights, scratch),
        }
        score_tile(rows, scores, &mut weights);
        for (row, weights) in weights[..rows.count].iter_mut().enumerate() {
            weigh(rows, row, seen_of(rows, row, &tile), weights);
        }
        sum_tile(v, cache, rows, &tile, &weights, scratch);
        start = tile.end;
    }
}

/// The positions of a tile, a few at a time, and where they are among those of the cache.
#[inline(always)]
fn fews(tile: &Range<usize>, capacity: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let (mut start, end, slot, shift) = (tile.start, tile.end, tile.start % capacity, tile.start % TILE);
    let first = tile.start;
    std::iter::from_fn(move || {
        let few = start..end.min((start + 1).next_multiple_of(FEW));
        start = few.end;
        let at = few.start - first;
        (!few.is_empty()).then(|| (shift + at..shift + few.end - first, slot + at))
    })
}

/// What a row sees of a tile. Positions are counted from a multiple of [`TILE`], so that they have the same numbers whatever
/// is seen.
#[inline(always)]
fn seen_of(rows: &Rows<'_>, row: usize, tile: &Range<usize>) -> Range<usize> {
    let (seen, base) = (&rows.seen[row], tile.start - tile.start % TILE);
    let start = seen.start.clamp(tile.start, tile.end) - base;
    start..(seen.end.clamp(tile.start, tile.end) - base).max(start)
}

/// The rows of some positions as f32, one after another in `scratch` unless they are f32 anyway.
#[inline(always)]
fn widened<'a, V: Lanes, T: Unit>(
    v: V,
    units: &'a [T],
    (first, count): (usize, usize),
    width: usize,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    let units = &units[first * width / T::ELEMENTS..][..count * width / T::ELEMENTS];
    T::widen_on(v, units, &mut scratch[..count * width])
}

/// Products of all rows with the keys of a tile; also of positions that a row does not see, where they mean nothing.
#[inline(always)]
fn multiply_tile<V: Lanes, T: Unit>(
    v: V,
    cache: &Cache<'_, T>,
    rows: &Rows<'_>,
    tile: &Range<usize>,
    into: &mut [[f32; TILE]; ROWS],
    scratch: &mut [f32],
) {
    let width = rows.queries[0].len();
    for (few, slot) in fews(tile, cache.capacity) {
        let keys = widened(v, cache.keys, (slot, few.len()), width, scratch);
        let mut row = 0;
        while row < rows.count {
            if few.len() < FEW {
                for (position, key) in few.clone().zip(keys.chunks_exact(width)) {
                    into[row][position] = dot(rows.queries[row], key);
                }
                row += 1;
            } else if V::N == LANES && rows.count - row >= TOGETHER {
                row += multiply_few::<V, TOGETHER>(v, rows, row, few.start, keys, into);
            } else {
                row += multiply_few::<V, 1>(v, rows, row, few.start, keys, into);
            }
        }
    }
}

/// Products of `C` rows with the keys of [`FEW`] positions, and how many rows these are.
#[inline(always)]
fn multiply_few<V: Lanes, const C: usize>(
    v: V,
    rows: &Rows<'_>,
    row: usize,
    position: usize,
    keys: &[f32],
    into: &mut [[f32; TILE]; ROWS],
) -> usize {
    for queries in &rows.queries[row..row + C].as_chunks::<C>().0[..1] {
        for (into, products) in into[row..].iter_mut().zip(products(v, queries, keys)) {
            into[position..position + FEW].copy_from_slice(&products);
        }
    }
    C
}

/// Makes scores of products.
#[inline(always)]
fn score_tile(rows: &Rows<'_>, scores: &Scores, into: &mut [[f32; TILE]; ROWS]) {
    for into in &mut into[..rows.count] {
        into.iter_mut().for_each(|x| *x *= scores.scale);
        if scores.softcap > 0.0 {
            into.iter_mut().for_each(|x| *x = scores.softcap * tanh(*x / scores.softcap));
        }
    }
}

/// Turns the scores that a row sees into weights, and scales what it has summed so far to a new maximum. What it does not see
/// weighs nothing.
#[inline(always)]
fn weigh(rows: &mut Rows<'_>, row: usize, seen: Range<usize>, scores: &mut [f32; TILE]) {
    if seen.is_empty() {
        scores.fill(0.0);
        return;
    }
    // Numbers of 32 bits, as many as a vector has of scores.
    let (start, end) = (seen.start as u32, seen.end as u32);
    let mut largest = [f32::NEG_INFINITY; TILE];
    for i in 0..TILE {
        let score = if start <= i as u32 && (i as u32) < end { scores[i] } else { f32::NEG_INFINITY };
        scores[i] = score;
        // What is no number is passed over.
        largest[i] = if score > f32::NEG_INFINITY { score } else { f32::NEG_INFINITY };
    }
    let mut half = TILE / 2;
    while half > 0 {
        for i in 0..half {
            largest[i] = if largest[i + half] > largest[i] { largest[i + half] } else { largest[i] };
        }
        half /= 2;
    }
    let before = rows.most[row];
    let most = if largest[0] > before { largest[0] } else { before };
    // Without a number so far there is nothing to scale, and the difference would be none.
    let fade = if before == most { 1.0 } else { exp(before - most) };
    if fade != 1.0 {
        rows.out[row].iter_mut().for_each(|x| *x *= fade);
    }
    for i in 0..TILE {
        let weight = exp(scores[i] - most);
        scores[i] = if start <= i as u32 && (i as u32) < end { weight } else { 0.0 };
    }
    let mut sums = *scores;
    let mut half = TILE / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    rows.sum[row] = rows.sum[row] * fade + sums[0];
    rows.most[row] = most;
}

/// Adds the values of a tile to each row by its weights.
#[inline(always)]
fn sum_tile<V: Lanes, T: Unit>(
    v: V,
    cache: &Cache<'_, T>,
    rows: &mut Rows<'_>,
    tile: &Range<usize>,
    weights: &[[f32; TILE]; ROWS],
    scratch: &mut [f32],
) {
    let width = rows.out[0].len();
    for (few, slot) in fews(tile, cache.capacity) {
        let values = widened(v, cache.values, (slot, few.len()), width, scratch);
        let mut row = 0;
        while row < rows.count {
            if V::N == LANES && sees_all::<TOGETHER>(rows, row, tile, &few) {
                row += sum_few::<V, TOGETHER>(v, rows, row, few.start, weights, values);
            } else if sees_all::<1>(rows, row, tile, &few) {
                row += sum_few::<V, 1>(v, rows, row, few.start, weights, values);
            } else {
                let seen = seen_of(rows, row, tile);
                for position in seen.start.max(few.start)..seen.end.min(few.end) {
                    let value = &values[(position - few.start) * width..][..width];
                    add_scaled(rows.out[row], weights[row][position], value);
                }
                row += 1;
            }
        }
    }
}

/// Whether `C` rows see all of [`FEW`] positions.
#[inline(always)]
fn sees_all<const C: usize>(rows: &Rows<'_>, row: usize, tile: &Range<usize>, few: &Range<usize>) -> bool {
    let mut all = few.len() == FEW && rows.count - row >= C;
    for row in row..rows.count.min(row + C) {
        let seen = seen_of(rows, row, tile);
        all &= seen.start <= few.start && few.end <= seen.end;
    }
    all
}

/// Adds the values of [`FEW`] positions to `C` rows, and says how many rows these are.
#[inline(always)]
fn sum_few<V: Lanes, const C: usize>(
    v: V,
    rows: &mut Rows<'_>,
    row: usize,
    position: usize,
    weights: &[[f32; TILE]; ROWS],
    values: &[f32],
) -> usize {
    let mut own = [[0.0; FEW]; C];
    for (own, weights) in own.iter_mut().zip(&weights[row..]) {
        own.copy_from_slice(&weights[position..position + FEW]);
    }
    for sums in &mut rows.out[row..row + C].as_chunks_mut::<C>().0[..1] {
        add_values(v, sums, &own, values);
    }
    C
}
