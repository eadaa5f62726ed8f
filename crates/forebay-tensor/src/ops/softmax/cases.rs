//! Rows of odd widths, none, huge numbers, infinities of both signs, and what is no number.

use super::{Softmax, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for shape in [&[1, 1][..], &[3, 17], &[2, 3, 128], &[0, 8], &[4, 0], &[5], &[6, 1027]] {
        for scale in [1.0, 0.125, -3.0] {
            let width = shape[shape.len() - 1];
            let mut x = rig.floats(shape.iter().product());
            if x.len() > 4 * width && width > 2 {
                x[..width].fill(f32::NEG_INFINITY);
                x[width + 1] = f32::NEG_INFINITY;
                x[2 * width..3 * width].iter_mut().for_each(|x| *x *= 1e30);
                x[3 * width] = f32::INFINITY;
                x[4 * width + 2] = f32::NAN;
            }
            let a = rig.tensor(shape, &x)?;
            rig.run(&Softmax { x: &a, scale })?;
            rig.near(&format!("{shape:?}, {scale}"), &a, &reference::softmax(&x, width, scale), 2e-6)?;
        }
    }
    let x = rig.tensor(&[2], &[1.0f32; 2])?;
    rig.refuses(&Softmax { x: &x, scale: f32::INFINITY }, "softmax: scale is inf, it has to be finite")?;
    let halves = rig.output(DType::F16, &[3])?;
    rig.refuses(&Softmax { x: &halves, scale: 1.0 }, "softmax: x is of type f16, f32 is wanted")?;
    rig.has_one_tensor();
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(151_936);
    let a = rig.tensor(&[1, 151_936], &x)?;
    let work = Work { bytes: 8 * x.len(), operations: 4 * x.len() };
    rig.time("1 x 151936", work, &Softmax { x: &a, scale: 1.0 })
}
