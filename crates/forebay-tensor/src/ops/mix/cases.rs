//! From no expert to many, odd widths, nothing at all, infinities.

use super::{Mix, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (count, k, width) in [(1, 1, 1), (3, 2, 17), (5, 8, 64), (0, 2, 4), (2, 0, 4), (2, 3, 0), (7, 33, 5)]
    {
        let (mut x, weights) = (rig.floats(count * k * width), rig.floats(count * k));
        x.iter_mut().take(1).for_each(|x| *x = f32::INFINITY);
        let (a, b) = (rig.tensor(&[count, k, width], &x)?, rig.tensor(&[count, k], &weights)?);
        let out = rig.output(DType::F32, &[count, width])?;
        rig.run(&Mix { x: &a, weights: &b, out: &out })?;
        let wanted = reference::mix(&x, &weights, [count, k, width]);
        rig.near(&format!("{count} x {k} x {width}"), &out, &wanted, 3e-5)?;
    }
    let (x, weights) = (rig.tensor(&[1, 2, 3], &[1.0f32; 6])?, rig.tensor(&[1, 3], &[1.0f32; 3])?);
    let bad = Mix { x: &x, weights: &weights, out: &weights };
    rig.refuses(&bad, "mix: weights has shape [1, 3], [1, 2] is wanted")?;
    let part = weights.narrow(1, 0..2)?;
    rig.refuses_overlap(&Mix { weights: &part, ..bad })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let (x, weights) = (rig.floats(64 * 8 * 2048), rig.floats(64 * 8));
    let (a, b) = (rig.tensor(&[64, 8, 2048], &x)?, rig.tensor(&[64, 8], &weights)?);
    let out = rig.output(DType::F32, &[64, 2048])?;
    let work = Work { bytes: 4 * x.len() + x.len() / 2, operations: 2 * x.len() };
    rig.time("64 x 8 x 2048", work, &Mix { x: &a, weights: &b, out: &out })
}
