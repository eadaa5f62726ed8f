//! Rows of odd widths, none, far from zero, without variance; with and without weight and bias.

use super::{LayerNorm, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for shape in [&[1, 1][..], &[3, 17], &[2, 3, 128], &[0, 8], &[4, 0], &[5], &[4, 1027]] {
        let width = shape[shape.len() - 1];
        let mut x = rig.floats(shape.iter().product());
        if x.len() > 2 * width {
            x[..width].fill(3.0);
            x[width..2 * width].iter_mut().for_each(|x| *x += 1e3);
            x[2 * width..].iter_mut().take(1).for_each(|x| *x = f32::INFINITY);
        }
        let (weight, bias) = (rig.floats(width), rig.floats(width));
        let (w, b) = (rig.tensor(&[width], &weight)?, rig.tensor(&[width], &bias)?);
        for (has_weight, has_bias) in [(true, true), (true, false), (false, true), (false, false)] {
            let a = rig.tensor(shape, &x)?;
            let out = rig.output(DType::F32, shape)?;
            let (weight, bias) = (has_weight.then_some(&weight[..]), has_bias.then_some(&bias[..]));
            let (w, b) = (has_weight.then_some(&w), has_bias.then_some(&b));
            rig.run(&LayerNorm { x: &a, weight: w, bias: b, epsilon: 1e-5, out: &out })?;
            let wanted = reference::layer_norm(&x, width, weight, bias, 1e-5);
            // A mean of a thousand leaves a rounding of a ten-thousandth in what is left of it.
            rig.near(&format!("{shape:?}, {has_weight}, {has_bias}"), &out, &wanted, 1e-3)?;
        }
    }
    let (x, out) = (rig.tensor(&[2, 4], &[1.0f32; 8])?, rig.output(DType::F32, &[2, 4])?);
    let bias = rig.tensor(&[8], &[1.0f32; 8])?;
    let bad = LayerNorm { x: &x, weight: None, bias: Some(&bias), epsilon: 1e-5, out: &out };
    rig.refuses(&bad, "layer_norm: bias has shape [8], [4] is wanted")?;
    rig.refuses_overlap(&LayerNorm { bias: None, out: &x, ..bad })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 4096);
    let (a, out) = (rig.tensor(&[512, 4096], &x)?, rig.output(DType::F32, &[512, 4096])?);
    let work = Work { bytes: 8 * x.len(), operations: 6 * x.len() };
    rig.time("512 x 4096", work, &LayerNorm { x: &a, weight: None, bias: None, epsilon: 1e-5, out: &out })
}
