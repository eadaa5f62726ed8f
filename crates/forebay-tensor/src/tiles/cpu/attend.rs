//! Goes through keys and values once for several rows of queries, a tile at a time, and keeps the softmax of each row as
//! a running maximum, a running sum and a running sum of values; a new maximum scales what was summed before.
//!
//! Sums run in a fixed order. Queries that meet keys of q8_0 are rounded, and their products are of integers. What a row does not see is never multiplied, not even by zero, since it may be anything.

use std::ops::Range;

use super::{
    cache::Unit,
    curves::{exp, tanh},
    dot::{add_scaled, dot, dot_four},
    lanes::Level,
    scores::{Queries, Scoring},
};

/// Rows of queries that go together.
pub(crate) const ROWS: usize = 16;
/// Positions of a tile.
pub(crate) const TILE: usize = 32;
/// Positions that are widened at a time.
const FEW: usize = 4;
/// The widest row.
const MOST_WIDTH: usize = 576;

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
pub(crate) fn attend<T: Unit>(
    cache: &Cache<'_, T>,
    rows: &mut Rows<'_>,
    part: Range<usize>,
    scores: &Scores,
) {
    let mut scratch = [0.0; FEW * MOST_WIDTH];
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
            }
            None => multiply_tile(cache, rows, &tile, &mut weights, &mut scratch),
        }
        score_tile(rows, scores, &mut weights);
        for (row, weights) in weights[..rows.count].iter_mut().enumerate() {
            weigh(rows, row, seen_of(rows, row, &tile), weights);
        }
        sum_tile(cache, rows, &tile, &weights, &mut scratch);
        start = tile.end;
    }
}

/// The positions of a tile, a few at a time, counted from the tile's start. They begin at the same positions as any
/// other tile's would.
#[inline(always)]
fn fews(tile: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (mut start, end, base) = (tile.start, tile.end, tile.start);
    std::iter::from_fn(move || {
        let few = start..end.min((start + 1).next_multiple_of(FEW));
        start = few.end;
        (!few.is_empty()).then(|| few.start - base..few.end - base)
    })
}

/// What a row sees of a tile, counted from the tile's start.
#[inline(always)]
fn seen_of(rows: &Rows<'_>, row: usize, tile: &Range<usize>) -> Range<usize> {
    let seen = &rows.seen[row];
    let start = seen.start.clamp(tile.start, tile.end) - tile.start;
    start..(seen.end.clamp(tile.start, tile.end) - tile.start).max(start)
}

/// The rows of some positions as f32, one after another in `scratch` unless they are f32 anyway.
#[inline(always)]
fn widened<'a, T: Unit>(
    units: &'a [T],
    first: usize,
    count: usize,
    width: usize,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    let units = &units[first * width / T::ELEMENTS..][..count * width / T::ELEMENTS];
    T::widen(units, &mut scratch[..count * width])
}

/// Products of all rows with the keys of a tile; also of positions that a row does not see, where they mean nothing.
#[inline(always)]
fn multiply_tile<T: Unit>(
    cache: &Cache<'_, T>,
    rows: &Rows<'_>,
    tile: &Range<usize>,
    into: &mut [[f32; TILE]; ROWS],
    scratch: &mut [f32],
) {
    let (slot, width) = (tile.start % cache.capacity, rows.queries[0].len());
    for few in fews(tile) {
        let keys = widened(cache.keys, slot + few.start, few.len(), width, scratch);
        for (q, into) in rows.queries[..rows.count].iter().zip(into.iter_mut()) {
            let into = &mut into[few.clone()];
            match into.as_chunks_mut::<FEW>().0 {
                [four] => *four = dot_four(q, keys),
                _ => into.iter_mut().zip(keys.chunks_exact(width)).for_each(|(x, key)| *x = dot(q, key)),
            }
        }
    }
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

/// Turns the scores that a row sees into weights, and scales what it has summed so far to a new maximum.
#[inline(always)]
fn weigh(rows: &mut Rows<'_>, row: usize, seen: Range<usize>, scores: &mut [f32; TILE]) {
    let before = rows.most[row];
    let scores = &mut scores[seen];
    let most = scores.iter().fold(before, |most, score| if *score > most { *score } else { most });
    // Without a number so far there is nothing to scale, and the difference would be none.
    let fade = if before == most { 1.0 } else { exp(before - most) };
    if fade != 1.0 {
        rows.out[row].iter_mut().for_each(|x| *x *= fade);
    }
    scores.iter_mut().for_each(|x| *x = exp(*x - most));
    rows.sum[row] = scores.iter().fold(rows.sum[row] * fade, |sum, weight| sum + weight);
    rows.most[row] = most;
}

/// Adds the values of a tile to each row by its weights.
#[inline(always)]
fn sum_tile<T: Unit>(
    cache: &Cache<'_, T>,
    rows: &mut Rows<'_>,
    tile: &Range<usize>,
    weights: &[[f32; TILE]; ROWS],
    scratch: &mut [f32],
) {
    let (slot, width) = (tile.start % cache.capacity, rows.out[0].len());
    for few in fews(tile) {
        let values = widened(cache.values, slot + few.start, few.len(), width, scratch);
        for (row, weights) in weights[..rows.count].iter().enumerate() {
            let seen = seen_of(rows, row, tile);
            let seen = seen.start.max(few.start)..seen.end.min(few.end);
            if seen == few && few.len() == FEW {
                add_four(rows.out[row], &weights[few.clone()], values);
            } else {
                for position in seen {
                    let value = &values[(position - few.start) * width..][..width];
                    add_scaled(rows.out[row], weights[position], value);
                }
            }
        }
    }
}

/// Adds four rows, each times its weight, to another.
#[inline(always)]
fn add_four(sum: &mut [f32], weights: &[f32], rows: &[f32]) {
    let width = sum.len();
    let ([a, b, c, d], &[wa, wb, wc, wd]) =
        (std::array::from_fn::<_, FEW, _>(|i| &rows[i * width..][..width]), weights)
    else {
        return;
    };
    for (i, sum) in sum.iter_mut().enumerate() {
        *sum += (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
    }
}
