//! Lengths around the part of a group, factors of all signs, and a factor that is no number.

use super::{Scale, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for length in [0, 1, 3, PART - 1, PART, 3 * PART + 17] {
        for factor in [0.0, 1.0, -0.125, 3e7] {
            let mut x = rig.floats(length);
            if let [first, second, third, ..] = x.as_mut_slice() {
                (*first, *second, *third) = (f32::NAN, f32::NEG_INFINITY, 1e38);
            }
            let a = rig.tensor(&[length], &x)?;
            rig.run(&Scale { x: &a, factor })?;
            rig.same(&format!("{length} by {factor}"), &a, &reference::scale(&x, factor))?;
        }
    }
    let x = rig.tensor(&[3], &[0.0f32; 3])?;
    rig.refuses(&Scale { x: &x, factor: f32::NAN }, "scale: factor is NaN, it has to be finite")?;
    let halves = rig.output(DType::F16, &[3])?;
    rig.refuses(&Scale { x: &halves, factor: 1.0 }, "scale: x is of type f16, f32 is wanted")?;
    rig.has_one_tensor();
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 4096);
    let a = rig.tensor(&[512, 4096], &x)?;
    let work = Work { bytes: 8 * x.len(), operations: x.len() };
    rig.time("512 x 4096", work, &Scale { x: &a, factor: 1.5 })
}
