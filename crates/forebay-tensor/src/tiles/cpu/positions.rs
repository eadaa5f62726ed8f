#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! What attention does with a few positions of a cache: their products with queries, and sums of them by their weights.
//!
//! An element is the same few operations whatever the level and whoever is computed beside it: a product is sixteen sums side
//! by side, folded as `dot` folds them, and of the rows that are added two are joined at a time. Next room: `attend`.

use super::{dot::LANES, lanes::Lanes};

/// Positions that are taken together.
pub(super) const FEW: usize = 4;
/// The most vectors that sixteen numbers are.
const PARTS: usize = 4;

/// The products of queries with the keys of a few positions, which lie one after another.
#[inline(always)]
pub(super) fn products<V: Lanes, const C: usize>(
    v: V,
    queries: &[&[f32]; C],
    keys: &[f32],
) -> [[f32; FEW]; C] {
    let (width, count) = (queries[0].len(), queries[0].len() / LANES);
    // All of one length, which the compiler sees.
    let mut xs: [&[[f32; LANES]]; C] = [&[]; C];
    for c in 0..C {
        xs[c] = &queries[c].as_chunks().0[..count];
    }
    let mut rows: [&[[f32; LANES]]; FEW] = [&[]; FEW];
    for k in 0..FEW {
        rows[k] = &keys[k * width..][..width].as_chunks().0[..count];
    }
    let mut totals = [[[v.float(0.0); PARTS]; FEW]; C];
    for i in 0..count {
        for part in 0..LANES / V::N {
            let at = part * V::N;
            let mut key = [v.float(0.0); FEW];
            for k in 0..FEW {
                key[k] = v.load(&rows[k][i][at..]);
            }
            for c in 0..C {
                let x = v.load(&xs[c][i][at..]);
                for k in 0..FEW {
                    totals[c][k][part] = v.add(totals[c][k][part], v.mul(x, key[k]));
                }
            }
        }
    }
    // Loops that leave numbers in registers first: what is folded has to lie in memory.
    let mut lanes = [[[0.0; LANES]; FEW]; C];
    for c in 0..C {
        for k in 0..FEW {
            for part in 0..LANES / V::N {
                v.store(totals[c][k][part], &mut lanes[c][k][part * V::N..]);
            }
        }
    }
    let mut products = [[0.0; FEW]; C];
    for c in 0..C {
        products[c] = fold_few(&lanes[c]);
        for at in count * LANES..width {
            for k in 0..FEW {
                products[c][k] += queries[c][at] * keys[k * width + at];
            }
        }
    }
    products
}

/// What a few times sixteen sums come to, each in the order of `dot::fold`.
#[inline(always)]
fn fold_few(lanes: &[[f32; LANES]; FEW]) -> [f32; FEW] {
    let mut fours = [[0.0; LANES / 4]; FEW];
    for k in 0..FEW {
        let mut eight = [0.0; LANES / 2];
        for i in 0..LANES / 2 {
            eight[i] = lanes[k][i] + lanes[k][i + LANES / 2];
        }
        for i in 0..LANES / 4 {
            fours[k][i] = eight[i] + eight[i + LANES / 4];
        }
    }
    let mut sums = [0.0; FEW];
    for k in 0..FEW {
        let [a, b, c, d] = fours[k];
        sums[k] = (a + c) + (b + d);
    }
    sums
}

/// Adds the values of a few positions to some rows, each times its weight for that row.
#[inline(always)]
pub(super) fn add_values<V: Lanes, const C: usize>(
    v: V,
    sums: &mut [&mut [f32]; C],
    weights: &[[f32; FEW]; C],
    values: &[f32],
) {
    let width = sums[0].len();
    let count = width / V::N * V::N;
    let mut rows: [&[f32]; FEW] = [&[]; FEW];
    for k in 0..FEW {
        rows[k] = &values[k * width..][..width];
    }
    let mut by = [[v.float(0.0); FEW]; C];
    for c in 0..C {
        for k in 0..FEW {
            by[c][k] = v.float(weights[c][k]);
        }
    }
    for at in (0..count).step_by(V::N) {
        let mut value = [v.float(0.0); FEW];
        for k in 0..FEW {
            value[k] = v.load(&rows[k][at..]);
        }
        for c in 0..C {
            let sum = &mut sums[c][at..];
            let first = v.add(v.mul(by[c][0], value[0]), v.mul(by[c][1], value[1]));
            let last = v.add(v.mul(by[c][2], value[2]), v.mul(by[c][3], value[3]));
            v.store(v.add(v.load(sum), v.add(first, last)), sum);
        }
    }
    for c in 0..C {
        let [a, b, x, y] = weights[c];
        for at in count..width {
            sums[c][at] += (a * rows[0][at] + b * rows[1][at]) + (x * rows[2][at] + y * rows[3][at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Level,
        tiles::cpu::{dot::dot, lanes::Job},
    };

    struct Both<'a> {
        queries: [&'a [f32]; 3],
        rows: &'a [f32],
    }

    impl Job for Both<'_> {
        type Output = ([[f32; FEW]; 3], [Vec<f32>; 3]);

        #[inline(always)]
        fn run<V: Lanes>(self, v: V) -> Self::Output {
            let products = products(v, &self.queries, self.rows);
            let mut sums = self.queries.map(<[f32]>::to_vec);
            let [a, b, c] = &mut sums;
            add_values(v, &mut [a, b, c], &products, self.rows);
            (products, sums)
        }
    }

    #[test]
    fn every_level_multiplies_and_adds_one_by_one() {
        for width in [1, 15, 16, 40, 72, 128, 139] {
            let floats = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * 7 + seed) as f32 * 0.37).sin()).collect()
            };
            let (x, rows) = (floats(3 * width, 5), floats(FEW * width, 11));
            let queries = std::array::from_fn(|c| &x[c * width..][..width]);
            let row = |k: usize| &rows[k * width..][..width];
            for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                let (products, sums) = level.run(Both { queries, rows: &rows });
                for c in 0..3 {
                    for k in 0..FEW {
                        let wanted = dot(queries[c], row(k));
                        assert_eq!(products[c][k].to_bits(), wanted.to_bits(), "{level}, {width}");
                    }
                    let [wa, wb, wc, wd] = products[c];
                    for at in 0..width {
                        let [a, b, x, y] = [0, 1, 2, 3].map(|k| row(k)[at]);
                        let wanted = queries[c][at] + ((wa * a + wb * b) + (wc * x + wd * y));
                        assert_eq!(sums[c][at].to_bits(), wanted.to_bits(), "{level}, {width}");
                    }
                }
            }
        }
    }
}
