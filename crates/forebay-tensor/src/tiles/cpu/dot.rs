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

/// The products of a row with four others that lie one after another.
#[inline(always)]
pub(crate) fn dot_four(a: &[f32], rows: &[f32]) -> [f32; 4] {
    let width = a.len();
    let rows: [&[f32]; 4] = std::array::from_fn(|i| &rows[i * width..][..width]);
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let [b, c, d, e] = rows.map(|row| row.as_chunks::<LANES>().0);
    // Four variables and no loop over them: as one array they would stay in memory, number by number.
    let [mut to_b, mut to_c, mut to_d, mut to_e] = [[0.0; LANES]; 4];
    for ((((a, b), c), d), e) in a_lanes.iter().zip(b).zip(c).zip(d).zip(e) {
        add_products(&mut to_b, a, b);
        add_products(&mut to_c, a, c);
        add_products(&mut to_d, a, d);
        add_products(&mut to_e, a, e);
    }
    let sums = [to_b, to_c, to_d, to_e];
    let rest = width - a_rest.len();
    std::array::from_fn(|i| {
        let b_rest = &rows[i][rest..];
        a_rest.iter().zip(b_rest).fold(fold(sums[i]), |sum, (a, b)| sum + a * b)
    })
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
