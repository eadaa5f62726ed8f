//! Ties, infinities, rows without numbers, one column, no rows.

use super::{Argmax, reference};
use crate::{DType, Result, ops::conformance::Rig};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (rows, width) in [(1, 1), (5, 3), (3, 1031), (2, 32), (0, 4)] {
        let mut x = rig.floats(rows * width);
        if rows > 2 {
            x[..width].fill(f32::NAN);
            x[2 * width - 1] = f32::INFINITY;
            x[2 * width..3 * width].fill(f32::NEG_INFINITY);
            x[2 * width] = f32::NAN;
        }
        let (a, out) = (rig.tensor(&[rows, width], &x)?, rig.output(DType::U32, &[rows])?);
        rig.run(&Argmax { x: &a, out: &out })?;
        assert_eq!(out.to_vec::<u32>()?, reference::argmax(&x, width), "{rows} x {width}");
    }
    let tie = rig.tensor(&[1, 6], &[0.0f32, 3.0, 1.0, 3.0, 3.0, 0.0])?;
    let out = rig.output(DType::U32, &[1])?;
    rig.run(&Argmax { x: &tie, out: &out })?;
    assert_eq!(out.to_vec::<u32>()?, [1]);
    let none = rig.tensor::<f32>(&[1, 0], &[])?;
    rig.refuses(&Argmax { x: &none, out: &out }, "argmax: x has shape [1, 0], [1, 1] is wanted");
    Ok(())
}
