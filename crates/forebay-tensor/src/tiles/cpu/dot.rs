//! Sums and the like over rows in a fixed order, so that a result never depends on who computes it.
//!
//! Sixteen run side by side and are folded at the end, so that the compiler works on as many numbers at once as
//! the machine can.

/// Sums that run side by side.
pub(crate) const LANES: usize = 16;

/// The sum of products of two rows of equal length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    a_lanes.iter().zip(b_lanes).for_each(|(a, b)| add_products(&mut sums, a, b));
    a_rest.iter().zip(b_rest).fold(fold(sums), |sum, (a, b)| sum + a * b)
}

#[inline(always)]
fn add_products(sums: &mut [f32; LANES], a: &[f32; LANES], b: &[f32; LANES]) {
    for lane in 0..LANES {
        sums[lane] += a[lane] * b[lane];
    }
}

/// The sum of a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    let (lanes, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for x in lanes {
        for lane in 0..LANES {
            sums[lane] += x[lane];
        }
    }
    rest.iter().fold(fold(sums), |sum, x| sum + x)
}

/// The largest element of a row; minus infinity if it has no numbers. What is not a number is passed over.
#[inline(always)]
pub(crate) fn most(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (lanes, rest) = row.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for x in lanes {
        for lane in 0..LANES {
            most[lane] = larger(most[lane], x[lane]);
        }
    }
    rest.iter().fold(fold_by(most, larger), |most, x| larger(most, *x))
}

/// What sums side by side come to.
#[inline(always)]
pub(crate) fn fold(lanes: [f32; LANES]) -> f32 {
    fold_by(lanes, |a, b| a + b)
}

#[inline(always)]
fn fold_by(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Adds `factor` times a row to another of equal length.
#[inline(always)]
pub(crate) fn add_scaled(sum: &mut [f32], factor: f32, row: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(row) {
        *sum += factor * x;
    }
}
