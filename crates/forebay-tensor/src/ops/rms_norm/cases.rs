//! Rows of odd widths, none, heads, zeros, very large numbers; with and without weight, apart and in place.

use super::{RmsNorm, reference};
use crate::{
    Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for shape in
        [&[1, 1][..], &[1, 64], &[3, 17], &[2, 3, 128], &[7, 256], &[2, 1027], &[0, 8], &[4, 0], &[5]]
    {
        norm(rig, shape)?;
    }
    for _ in 0..10 {
        let shape = [rig.chance().length(5), rig.chance().length(4), rig.chance().length(300)];
        norm(rig, &shape)?;
    }
    let (x, weight) = (rig.tensor(&[2, 4], &[1.0f32; 8])?, rig.tensor(&[3], &[1.0f32; 3])?);
    let bad = RmsNorm { x: &x, weight: Some(&weight), epsilon: 1e-5, out: None };
    rig.refuses(&bad, "rms_norm: weight has shape [3], [4] is wanted")?;
    let bad = RmsNorm { weight: None, epsilon: -1.0, ..bad };
    rig.refuses(&bad, "rms_norm: epsilon is -1, it has to be finite and not negative")?;
    rig.refuses_overlap(&RmsNorm { epsilon: 1.0, out: Some(&x), ..bad })
}

fn norm(rig: &mut Rig, shape: &[usize]) -> Result<()> {
    let width = shape[shape.len() - 1];
    let (mut x, weight) = (rig.floats(shape.iter().product()), rig.floats(width));
    if x.len() > 2 * width {
        x[..width].fill(0.0);
        x[width..2 * width].iter_mut().for_each(|x| *x *= 1e15);
        x[2 * width..].iter_mut().take(1).for_each(|x| *x = f32::NAN);
    }
    let b = rig.tensor(&[width], &weight)?;
    for (weight, tensor) in [(Some(&weight[..]), Some(&b)), (None, None)] {
        let wanted = reference::rms_norm(&x, width, weight, 1e-5);
        let a = rig.tensor(shape, &x)?;
        let out = rig.output(crate::DType::F32, shape)?;
        let op = RmsNorm { x: &a, weight: tensor, epsilon: 1e-5, out: Some(&out) };
        rig.run(&op)?;
        rig.near(&format!("{shape:?}, weight {}", weight.is_some()), &out, &wanted, 1e-5)?;
        rig.run(&RmsNorm { out: None, ..op })?;
        rig.near(&format!("{shape:?}, in place"), &a, &wanted, 1e-5)?;
    }
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for rows in [1, 512] {
        let x = rig.floats(rows * 4096);
        let (a, weight) = (rig.tensor(&[rows, 4096], &x)?, rig.tensor(&[4096], &x[..4096])?);
        let out = rig.output(crate::DType::F32, &[rows, 4096])?;
        let work = Work { bytes: 8 * x.len(), operations: 4 * x.len() };
        let op = RmsNorm { x: &a, weight: Some(&weight), epsilon: 1e-6, out: Some(&out) };
        rig.time(format!("{rows} x 4096"), work, &op)?;
    }
    Ok(())
}
