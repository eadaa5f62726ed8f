//! Rows of odd widths, none, zeros, very large numbers and what is no number.

use super::{L2Norm, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for shape in [&[1, 1][..], &[3, 17], &[2, 3, 128], &[0, 8], &[4, 0], &[5], &[4, 1027]] {
        let width = shape[shape.len() - 1];
        let mut x = rig.floats(shape.iter().product());
        if x.len() > 2 * width {
            x[..width].fill(0.0);
            x[width..2 * width].iter_mut().for_each(|x| *x *= 1e15);
            x[2 * width..].iter_mut().take(1).for_each(|x| *x = f32::NAN);
        }
        let a = rig.tensor(shape, &x)?;
        rig.run(&L2Norm { x: &a, epsilon: 1e-6 })?;
        rig.near(&format!("{shape:?}"), &a, &reference::l2_norm(&x, width, 1e-6), 1e-6)?;
    }
    let x = rig.tensor(&[2], &[1.0f32; 2])?;
    let message = "l2_norm: epsilon is NaN, it has to be finite and not negative";
    rig.refuses(&L2Norm { x: &x, epsilon: f32::NAN }, message)?;
    let halves = rig.output(DType::F16, &[3])?;
    rig.refuses(&L2Norm { x: &halves, epsilon: 1.0 }, "l2_norm: x is of type f16, f32 is wanted")?;
    rig.has_one_tensor();
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 16 * 128);
    let a = rig.tensor(&[512, 16, 128], &x)?;
    let work = Work { bytes: 8 * x.len(), operations: 3 * x.len() };
    rig.time("512 x 16 x 128", work, &L2Norm { x: &a, epsilon: 1e-6 })
}
