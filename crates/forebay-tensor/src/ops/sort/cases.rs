//! Ties, zeros of both signs, infinities, rows without numbers, one column, none; rows that a block of a card cannot hold.

use super::{Sort, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    tiles::cuda::order::TILE,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    let small = [(1, 1), (3, 7), (3, 257), (5, 64), (0, 4), (2, 0), (1, 999)];
    let large = [(1, TILE), (3, TILE + 1), (2, 4 * TILE + 5)];
    for (rows, width) in small.into_iter().chain(large) {
        let mut x = rig.floats(rows * width);
        if rows > 2 {
            x[..width].fill(f32::NAN);
            (x[1], x[width]) = (2.0, f32::INFINITY);
            // Few values, so that many are equal.
            x[2 * width..3 * width].iter_mut().for_each(|x| *x = (*x * 2.0).round());
            x[2 * width + 3] = f32::NEG_INFINITY;
        }
        let (a, ids) = (rig.tensor(&[rows, width], &x)?, rig.output(DType::U32, &[rows, width])?);
        rig.run(&Sort { x: &a, ids: &ids })?;
        rig.equal(&format!("{rows} x {width}"), &ids, &reference::sort(&x, width))?;
    }
    let x = rig.tensor(&[2, 3], &[0.0f32; 6])?;
    let ids = rig.output(DType::U32, &[2, 4])?;
    rig.refuses(&Sort { x: &x, ids: &ids }, "sort: ids has shape [2, 4], [2, 3] is wanted")?;
    let ids = crate::Tensor::of(DType::U32, &[2, 3], x.buffer().clone())?;
    rig.refuses_overlap(&Sort { x: &x, ids: &ids })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(32_768);
    let (a, ids) = (rig.tensor(&[1, 32_768], &x)?, rig.output(DType::U32, &[1, 32_768])?);
    rig.time("1 x 32768", Work { bytes: 8 * x.len(), operations: 15 * x.len() }, &Sort { x: &a, ids: &ids })
}
