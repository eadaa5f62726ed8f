#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Products of queries with keys of 8 bits, in integers: queries are rounded as rows of activations are.
//!
//! The keys of 16 positions are turned into what a panel is when it is expanded, and meet all queries; an element is a sum
//! over blocks of 32 in their order, so that it depends neither on the level nor on who else is scored. Next room:
//! `attend`, which makes weights of the products.

use bytemuck::Zeroable;

use super::{
    cache::Q8Block,
    lanes::{Job, Lanes, turn},
};
use crate::quant::{
    panel::ROWS,
    rounded::{ELEMENTS, Rounded},
};

/// Blocks of the widest query.
const MOST_BLOCKS: usize = 18;
/// The most queries.
const QUERIES: usize = super::attend::ROWS;
/// Quads of a block.
const QUADS: usize = ELEMENTS / 4;
/// What codes are raised by, so that they have no sign.
const ZERO: i32 = 128;

/// Rounded queries.
pub(crate) struct Queries {
    blocks: [[Rounded; MOST_BLOCKS]; QUERIES],
    count: usize,
    width: usize,
}

impl Queries {
    /// Rounds queries whose width is whole blocks.
    #[inline(always)]
    pub(crate) fn of(queries: &[&[f32]]) -> Self {
        let mut blocks = [[Rounded::zeroed(); MOST_BLOCKS]; QUERIES];
        for (blocks, query) in blocks.iter_mut().zip(queries) {
            for (block, x) in blocks.iter_mut().zip(query.as_chunks::<ELEMENTS>().0) {
                *block = Rounded::of(x);
            }
        }
        let width = queries.first().map_or(0, |query| query.len() / ELEMENTS);
        Self { blocks, count: queries.len(), width }
    }
}

/// The products of all queries with the keys of some positions, which are at most as many as a row of `into` has room for.
pub(crate) struct Scoring<'a, const ROOM: usize> {
    pub(crate) queries: &'a Queries,
    pub(crate) keys: &'a [Q8Block],
    pub(crate) into: &'a mut [[f32; ROOM]; QUERIES],
}

impl<const ROOM: usize> Job for Scoring<'_, ROOM> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { queries, keys, into } = self;
        let per_sixteen = ROWS * queries.width;
        for (sixteen, keys) in keys.chunks(per_sixteen).enumerate() {
            let totals = products(v, queries, keys);
            let here = keys.len() / queries.width;
            for row in 0..queries.count {
                into[row][sixteen * ROWS..][..here].copy_from_slice(&totals[row][..here]);
            }
        }
    }
}

/// The products with the keys of up to 16 positions.
#[inline(always)]
fn products<V: Lanes>(v: V, queries: &Queries, keys: &[Q8Block]) -> [[f32; ROWS]; QUERIES] {
    let nothing = Q8Block::zeroed();
    let mut totals = [[0.0; ROWS]; QUERIES];
    let mut lines = [[0; 64]; QUADS];
    for b in 0..queries.width {
        let mut rows = [bytemuck::bytes_of(&nothing); ROWS];
        let mut scales = [0; 2 * ROWS];
        for (r, key) in keys.chunks_exact(queries.width).enumerate().take(ROWS) {
            rows[r] = bytemuck::bytes_of(&key[b]);
            scales[2 * r..][..2].copy_from_slice(&rows[r][..2]);
        }
        let (first, last) = lines.split_at_mut(QUADS / 2);
        turn(&rows, 2, first);
        turn(&rows, 18, last);
        let scales = v.widen(&scales);
        for part in 0..ROWS / V::N {
            let at = part * V::N;
            let mut codes = [v.integer(0); QUADS];
            for q in 0..QUADS {
                codes[q] = v.flip(v.words(&lines[q][4 * at..]), ZERO as u8);
            }
            let scales = v.load(&scales[at..]);
            for row in 0..queries.count {
                let x = &queries.blocks[row][b];
                let mut sums = [v.integer(-ZERO * x.sum), v.integer(0)];
                for q in 0..QUADS {
                    let quad = [x.codes[4 * q], x.codes[4 * q + 1], x.codes[4 * q + 2], x.codes[4 * q + 3]];
                    sums[q % 2] = v.dot_wide(sums[q % 2], codes[q], v.quad(quad));
                }
                let products = v.floats(v.add_integers(sums[0], sums[1]));
                let total = v.load(&totals[row][at..]);
                let total = v.add(total, v.mul(products, v.mul(scales, v.float(x.d))));
                v.store(total, &mut totals[row][at..]);
            }
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Level, tiles::cpu::cache::Unit};

    fn floats(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed) as f32 * 0.37).sin() * 3.0).collect()
    }

    #[test]
    fn products_are_those_of_the_rounded_queries_on_every_level() {
        for (count, positions, width) in [(1, 1, 32), (3, 16, 64), (16, 32, 128), (5, 21, 576)] {
            let x: Vec<Vec<f32>> = (0..count).map(|row| floats(width, row)).collect();
            let queries = Queries::of(&x.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut keys = vec![Q8Block::zeroed(); positions * width / ELEMENTS];
            Q8Block::narrow(&floats(positions * width, 99), &mut keys);
            let mut scratch = vec![0.0; positions * width];
            let values = Q8Block::widen(&keys, &mut scratch);
            let mut first: Option<[[f32; 32]; QUERIES]> = None;
            for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                let mut into = [[7.0; 32]; QUERIES];
                level.run(Scoring { queries: &queries, keys: &keys, into: &mut into });
                assert_eq!(&into, first.get_or_insert(into), "{level}");
            }
            let got = first.unwrap();
            for row in 0..count {
                for (position, key) in values.chunks(width).enumerate() {
                    let code = |i: usize| {
                        let block = &queries.blocks[row][i / ELEMENTS];
                        f64::from(block.d) * f64::from(block.codes[i % ELEMENTS])
                    };
                    let wanted: f64 = (0..width).map(|i| code(i) * f64::from(key[i])).sum();
                    let near = (f64::from(got[row][position]) - wanted).abs() < 1e-5 * width as f64;
                    assert!(near, "{row}, {position}: {} is not {wanted}", got[row][position]);
                }
                assert!(got[row][positions..].iter().all(|x| *x == 7.0), "past the last position");
            }
        }
    }
}
