//! Ties, infinities, rows without numbers, one column, no rows.

use super::{Argmax, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (rows, width) in [(1, 1), (5, 3), (3, 1031), (2, 32), (0, 4), (4, 33)] {
        let mut x = rig.floats(rows * width);
        if rows > 2 {
            x[..width].fill(f32::NAN);
            x[2 * width - 1] = f32::INFINITY;
            x[2 * width..3 * width].fill(f32::NEG_INFINITY);
            x[2 * width] = f32::NAN;
        }
        let (a, out) = (rig.tensor(&[rows, width], &x)?, rig.output(DType::U32, &[rows])?);
        rig.run(&Argmax { x: &a, out: &out })?;
        rig.equal(&format!("{rows} x {width}"), &out, &reference::argmax(&x, width))?;
    }
    let tie = rig.tensor(&[1, 6], &[0.0f32, 3.0, 1.0, 3.0, 3.0, 0.0])?;
    let out = rig.output(DType::U32, &[1])?;
    rig.run(&Argmax { x: &tie, out: &out })?;
    rig.equal("ties", &out, &[1])?;
    let none = rig.tensor::<f32>(&[1, 0], &[])?;
    rig.refuses(&Argmax { x: &none, out: &out }, "argmax: width of x is 0, it has to be at least 1")?;
    // A number of one type and one of another in the same bytes.
    let ids = crate::Tensor::of(DType::U32, &[6], tie.buffer().clone())?.narrow(0, 2..3)?;
    rig.refuses_overlap(&Argmax { x: &tie, out: &ids })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(151_936);
    let (a, out) = (rig.tensor(&[1, 151_936], &x)?, rig.output(DType::U32, &[1])?);
    rig.time("1 x 151936", Work { bytes: 4 * x.len(), operations: x.len() }, &Argmax { x: &a, out: &out })
}
