//! From none to all of a row, ties, infinities, rows without numbers.

use super::{TopK, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
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
    let x = rig.tensor(&[2, 3], &[0.0f32; 6])?;
    let (values, ids) = (rig.output(DType::F32, &[2, 4])?, rig.output(DType::U32, &[2, 4])?);
    let bad = TopK { x: &x, values: &values, ids: &ids };
    rig.refuses(&bad, "top_k: width of values is 4, it has to be at most the width of x")?;
    let ids = rig.output(DType::U32, &[2, 3])?;
    rig.refuses_overlap(&TopK { x: &x, values: &x, ids: &ids })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(151_936);
    let a = rig.tensor(&[1, 151_936], &x)?;
    let (values, ids) = (rig.output(DType::F32, &[1, 40])?, rig.output(DType::U32, &[1, 40])?);
    let work = Work { bytes: 4 * x.len(), operations: x.len() };
    rig.time("40 of 1 x 151936", work, &TopK { x: &a, values: &values, ids: &ids })
}
