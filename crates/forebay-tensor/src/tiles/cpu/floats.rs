#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Products of rows of plain floats: some rows of a weight with some rows of activations at a time.
//!
//! An element of the result is sixteen sums side by side, folded at the end as `dot` folds them, so that it depends
//! neither on the level nor on how many rows meet. Next room: `blocks`, which says which rows meet and where results go.

use std::{marker::PhantomData, ops::Range};

use half::{bf16, f16};

use super::{
    blocks::{Inputs, Out},
    dot::{LANES, fold},
    lanes::{Job, Lanes},
};
use crate::DType;

/// Rows of a weight that stay in cache while all rows of activations meet them.
const BLOCK: usize = 32;
/// How far ahead of its use a line is fetched.
const AHEAD: usize = 2048;

/// A type of floats that weights have.
pub(crate) trait Plain {
    /// Bytes of an element.
    const BYTES: usize;
    /// Bytes of sixteen elements.
    type Bytes: AsRef<[u8]>;

    /// The elements of a row, sixteen at a time: their length is known beforehand, so that nothing is checked in the innermost
    /// loop.
    fn sixteens(bytes: &[u8]) -> &[Self::Bytes];
    /// As many elements as a vector has, from one of sixteen on.
    fn load<V: Lanes>(v: V, sixteen: &Self::Bytes, at: usize) -> V::Floats;
    /// The first element.
    fn first(bytes: &[u8]) -> f32;
}

macro_rules! plain {
    ($($name:ident: $bytes:literal, $load:ident, $first:expr;)*) => {$(
        #[doc = concat!("Rows of ", stringify!($name), ".")]
        pub(crate) struct $name;

        impl Plain for $name {
            const BYTES: usize = $bytes;
            type Bytes = [u8; LANES * $bytes];

            #[inline(always)]
            fn sixteens(bytes: &[u8]) -> &[Self::Bytes] {
                bytes.as_chunks().0
            }

            #[inline(always)]
            fn load<V: Lanes>(v: V, sixteen: &Self::Bytes, at: usize) -> V::Floats {
                v.$load(&sixteen[at * $bytes..])
            }

            #[inline(always)]
            fn first(bytes: &[u8]) -> f32 {
                bytes.as_chunks().0.first().map_or(0.0, $first)
            }
        }
    )*};
}

plain! {
    F32: 4, f32s, |bytes| f32::from_le_bytes(*bytes);
    F16: 2, f16s, |bytes| f16::from_le_bytes(*bytes).to_f32();
    BF16: 2, bf16s, |bytes| bf16::from_le_bytes(*bytes).to_f32();
}

/// Something to do with any of these types.
pub(crate) trait PlainJob {
    /// Does it.
    fn run<F: Plain>(self);
}

/// Does a job with a type. Says whether it is one of floats.
pub(crate) fn with_plain<J: PlainJob>(dtype: DType, job: J) -> bool {
    match dtype {
        DType::F32 => job.run::<F32>(),
        DType::F16 => job.run::<F16>(),
        DType::BF16 => job.run::<BF16>(),
        _ => return false,
    }
    true
}

/// Multiplies rows of a weight by rows of activations.
pub(crate) struct MultiplyFloats<'a, 'b, F> {
    pub(crate) f: PhantomData<F>,
    /// The rows of the weight, one after another.
    pub(crate) weight: &'a [u8],
    pub(crate) inputs: Inputs<'a, f32>,
    pub(crate) out: &'a mut Out<'b>,
}

impl<F: Plain> Job for MultiplyFloats<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { weight, inputs, out, .. } = self;
        let own = out.own();
        for first in own.clone().step_by(BLOCK) {
            let rows = first..(first + BLOCK).min(own.end);
            let (mut i, count) = (0, inputs.len());
            out.begin(rows.clone(), &inputs);
            while i < count {
                let left = count - i;
                // As many sums as a level has registers for.
                i += if V::N == LANES && left >= 6 {
                    strip::<V, F, 4, 6>(v, weight, rows.clone(), &inputs, i, out)
                } else if V::N < LANES && left >= 3 {
                    strip::<V, F, 2, 3>(v, weight, rows.clone(), &inputs, i, out)
                } else {
                    strip::<V, F, 4, 1>(v, weight, rows.clone(), &inputs, i, out)
                };
            }
            out.end(rows, &inputs);
        }
    }
}

/// The products of some rows of a weight with `C` rows of activations, and how many these are.
#[inline(always)]
fn strip<V: Lanes, F: Plain, const R: usize, const C: usize>(
    v: V,
    weight: &[u8],
    rows: Range<usize>,
    inputs: &Inputs<'_, f32>,
    i: usize,
    out: &mut Out<'_>,
) -> usize {
    let mut xs: [&[f32]; C] = [&[]; C];
    for c in 0..C {
        xs[c] = inputs.row(i + c, 0..inputs.width);
    }
    let mut row = rows.start;
    while row < rows.end {
        row += if rows.end - row >= R {
            tile::<V, F, R, C>(v, weight, row, xs, inputs, i, out)
        } else {
            tile::<V, F, 1, C>(v, weight, row, xs, inputs, i, out)
        };
    }
    C
}

/// The products of `R` rows of a weight from `row` on, and how many these are.
#[inline(always)]
fn tile<V: Lanes, F: Plain, const R: usize, const C: usize>(
    v: V,
    weight: &[u8],
    row: usize,
    xs: [&[f32]; C],
    inputs: &Inputs<'_, f32>,
    i: usize,
    out: &mut Out<'_>,
) -> usize {
    let width = xs[0].len();
    let mut weights: [&[u8]; R] = [&[]; R];
    for r in 0..R {
        weights[r] = &weight[(row + r) * width * F::BYTES..][..width * F::BYTES];
    }
    let sums = sums::<V, F, R, C>(v, weights, xs);
    let begun = out.is_begun();
    for c in 0..C {
        let out = out.of_rows(row..row + R, inputs.place(i + c));
        for r in 0..R {
            out[r] = if begun { out[r] + sums[r][c] } else { sums[r][c] };
        }
    }
    R
}

#[inline(always)]
fn sums<V: Lanes, F: Plain, const R: usize, const C: usize>(
    v: V,
    weights: [&[u8]; R],
    xs: [&[f32]; C],
) -> [[f32; C]; R] {
    /// The most vectors that sixteen numbers are.
    const PARTS: usize = 4;
    let (width, count) = (xs[0].len(), xs[0].len() / LANES);
    // All of one length, which the compiler sees.
    let mut bytes: [&[F::Bytes]; R] = [&[]; R];
    for r in 0..R {
        bytes[r] = &F::sixteens(weights[r])[..count];
    }
    let mut floats: [&[[f32; LANES]]; C] = [&[]; C];
    for c in 0..C {
        floats[c] = &xs[c].as_chunks().0[..count];
    }
    let mut totals = [[[v.float(0.0); PARTS]; C]; R];
    for i in 0..count {
        for part in 0..LANES / V::N {
            let at = part * V::N;
            let mut w = [v.float(0.0); R];
            for r in 0..R {
                w[r] = F::load(v, &bytes[r][i], at);
            }
            for c in 0..C {
                let x = v.load(&floats[c][i][at..]);
                for r in 0..R {
                    totals[r][c][part] = v.add(totals[r][c][part], v.mul(w[r], x));
                }
            }
        }
        for r in 0..R {
            v.fetch(bytes[r][i].as_ref(), AHEAD);
        }
    }
    let mut sums = [[0.0; C]; R];
    for r in 0..R {
        for c in 0..C {
            let mut lanes = [0.0; LANES];
            for part in 0..LANES / V::N {
                v.store(totals[r][c][part], &mut lanes[part * V::N..]);
            }
            sums[r][c] = fold(lanes);
            for at in count * LANES..width {
                sums[r][c] += xs[c][at] * F::first(&weights[r][at * F::BYTES..]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Level, quant, tiles::cpu::dot::dot};

    struct Sums<'a>(&'a [u8], &'a [f32]);

    impl Job for Sums<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<V: Lanes>(self, v: V) -> f32 {
            sums::<V, F16, 1, 1>(v, [self.0], [self.1])[0][0]
        }
    }

    #[test]
    fn every_level_sums_as_the_product_of_two_rows_does() {
        for width in [0, 1, 15, 16, 17, 32, 77, 515] {
            let x: Vec<f32> = (0..width).map(|i| (i as f32 * 0.7).sin()).collect();
            let mut bytes = vec![0; 2 * width];
            quant::quantise_row(DType::F16, &x, &mut bytes).unwrap();
            let mut w = vec![0.0; width];
            quant::decode(DType::F16, &bytes, &mut w).unwrap();
            for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                assert_eq!(level.run(Sums(&bytes, &x)).to_bits(), dot(&x, &w).to_bits(), "{width}, {level}");
            }
        }
    }
}
