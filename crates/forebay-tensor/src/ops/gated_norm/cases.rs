//! Rows of odd widths, none, zeros, gates of all sizes, infinities.

use super::{GatedNorm, reference};
use crate::{
    Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for shape in [&[1, 1][..], &[3, 17], &[5, 4, 128], &[0, 8], &[4, 0], &[5]] {
        let width = shape[shape.len() - 1];
        let (mut x, weight) = (rig.floats(shape.iter().product()), rig.floats(width));
        let mut gate: Vec<f32> = rig.floats(x.len()).iter().map(|x| 20.0 * x).collect();
        if x.len() > 2 * width && width > 2 {
            x[..width].fill(0.0);
            (x[width], gate[width + 1], gate[2 * width]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        }
        let (a, b) = (rig.tensor(shape, &x)?, rig.tensor(&[width], &weight)?);
        let c = rig.tensor(shape, &gate)?;
        rig.run(&GatedNorm { x: &a, weight: &b, gate: &c, epsilon: 1e-6 })?;
        let wanted = reference::gated_norm(&x, &weight, &gate, 1e-6);
        rig.near(&format!("{shape:?}"), &a, &wanted, 3e-6)?;
    }
    let (x, weight) = (rig.tensor(&[2, 4], &[1.0f32; 8])?, rig.tensor(&[4], &[1.0f32; 4])?);
    let bad = GatedNorm { x: &x, weight: &weight, gate: &weight, epsilon: 1e-5 };
    rig.refuses(&bad, "gated_norm: gate has shape [4], [2, 4] is wanted")?;
    rig.refuses_overlap(&GatedNorm { gate: &x, ..bad })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 32 * 128);
    let (a, b) = (rig.tensor(&[512, 32, 128], &x)?, rig.tensor(&[512, 32, 128], &x)?);
    let weight = rig.tensor(&[128], &x[..128])?;
    let work = Work { bytes: 12 * x.len(), operations: 5 * x.len() };
    rig.time("512 x 32 x 128", work, &GatedNorm { x: &a, weight: &weight, gate: &b, epsilon: 1e-6 })
}
