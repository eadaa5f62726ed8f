//! Rows of odd widths, none, zeros, and very large numbers.

use super::{RmsNorm, reference};
use crate::{DType, Result, ops::conformance::Rig};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (rows, width) in [(1, 1), (1, 64), (3, 17), (7, 256), (2, 1027), (0, 8), (4, 0)] {
        let (mut x, weight) = (rig.floats(rows * width), rig.floats(width));
        if rows > 2 {
            x[..width].fill(0.0);
            x[width..2 * width].iter_mut().for_each(|x| *x *= 1e15);
        }
        let (a, b) = (rig.tensor(&[rows, width], &x)?, rig.tensor(&[width], &weight)?);
        let out = rig.output(DType::F32, &[rows, width])?;
        rig.run(&RmsNorm { x: &a, weight: &b, epsilon: 1e-5, out: &out })?;
        rig.near(&format!("{rows} x {width}"), &out, &reference::rms_norm(&x, &weight, 1e-5), 1e-5)?;
    }
    let (x, weight) = (rig.tensor(&[2, 4], &[1.0f32; 8])?, rig.tensor(&[3], &[1.0f32; 3])?);
    let out = rig.output(DType::F32, &[2, 4])?;
    let bad = RmsNorm { x: &x, weight: &weight, epsilon: 1e-5, out: &out };
    rig.refuses(&bad, "rms_norm: weight has shape [3], [4] is wanted");
    let weight = rig.tensor(&[4], &[1.0f32; 4])?;
    let bad = RmsNorm { weight: &weight, epsilon: -1.0, ..bad };
    rig.refuses(&bad, "rms_norm: epsilon is -1, it has to be finite and not negative");
    Ok(())
}
