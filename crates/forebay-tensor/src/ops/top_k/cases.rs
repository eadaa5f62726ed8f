//! From none to all of a row, ties, infinities, rows without numbers.

use super::{TopK, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    tiles::cuda::order::TILE,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (rows, width, k) in
        [(1, 1, 1), (3, 7, 7), (2, 100, 1), (3, 257, 40), (5, 64, 33), (0, 4, 2), (2, 5, 0), (1, 0, 0)]
    {
        let mut x = rig.floats(rows * width);
        if rows > 2 {
            x[..width].fill(f32::NAN);
            (x[1], x[width]) = (2.0, f32::INFINITY);
            // Few values, so that many are equal.
            x[2 * width..3 * width].iter_mut().for_each(|x| *x = (*x * 2.0).round());
            x[2 * width + 3] = f32::NEG_INFINITY;
        }
        let a = rig.tensor(&[rows, width], &x)?;
        let (values, ids) = (rig.output(DType::F32, &[rows, k])?, rig.output(DType::U32, &[rows, k])?);
        rig.run(&TopK { x: &a, values: &values, ids: &ids })?;
        let wanted = reference::top_k(&x, width, k);
        rig.equal(&format!("{k} of {rows} x {width}"), &ids, &wanted)?;
        let row = |i: usize| i / k * width;
        let wanted: Vec<f32> = wanted.iter().enumerate().map(|(i, &id)| x[row(i) + id as usize]).collect();
        rig.same(&format!("{k} of {rows} x {width}"), &values, &wanted)?;
    }
    long_rows(rig)?;
    let x = rig.tensor(&[2, 3], &[0.0f32; 6])?;
    let (values, ids) = (rig.output(DType::F32, &[2, 4])?, rig.output(DType::U32, &[2, 4])?);
    let bad = TopK { x: &x, values: &values, ids: &ids };
    rig.refuses(&bad, "top_k: width of values is 4, it has to be at most the width of x")?;
    let ids = rig.output(DType::U32, &[2, 3])?;
    rig.refuses_overlap(&TopK { x: &x, values: &x, ids: &ids })
}

/// Rows that a block of a card cannot hold, and as many of the largest; some where these lie so that its threads find most
/// of them in a few columns of each, some where nearly all are equal.
fn long_rows(rig: &mut Rig) -> Result<()> {
    for (width, k) in [(TILE + 1, 3), (TILE + 9, TILE / 3), (TILE + 3, TILE + 2), (TILE + 5, TILE + 5)] {
        long(rig, width, k, |_, x| x)?;
    }
    let (width, k) = (66 * TILE + 7, 40);
    long(rig, width, k, |i, x| if i % 1024 < 20 { x + 20.0 } else { x })?;
    long(rig, width, k, |i, x| if i % 9999 == 1 { x } else { f32::NEG_INFINITY })?;
    long(rig, width, k, |_, _| -0.0)
}

fn long(rig: &mut Rig, width: usize, k: usize, element: impl Fn(usize, f32) -> f32) -> Result<()> {
    let x: Vec<f32> = rig.floats(width).into_iter().enumerate().map(|(i, x)| element(i, x)).collect();
    let a = rig.tensor(&[1, width], &x)?;
    let (values, ids) = (rig.output(DType::F32, &[1, k])?, rig.output(DType::U32, &[1, k])?);
    rig.run(&TopK { x: &a, values: &values, ids: &ids })?;
    let mut wanted: Vec<u32> = (0..width as u32).collect();
    wanted.sort_by(|&a, &b| x[b as usize].total_cmp(&x[a as usize]));
    wanted.truncate(k);
    rig.equal(&format!("{k} of {width}"), &ids, &wanted)?;
    let wanted: Vec<f32> = wanted.iter().map(|&id| x[id as usize]).collect();
    rig.same(&format!("{k} of {width}"), &values, &wanted)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(151_936);
    let a = rig.tensor(&[1, 151_936], &x)?;
    let (values, ids) = (rig.output(DType::F32, &[1, 40])?, rig.output(DType::U32, &[1, 40])?);
    let work = Work { bytes: 4 * x.len(), operations: x.len() };
    rig.time("40 of 1 x 151936", work, &TopK { x: &a, values: &values, ids: &ids })
}
