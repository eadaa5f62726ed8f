//! Every curve, the clamped gate around its limits, infinities on both sides, and shapes that differ.

use super::{Curve, Gate, Gating, reference};
use crate::{
    Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    let clamped = [(1.702, 7.0), (1.0, 0.5)].map(|(alpha, limit)| Gating::Clamped { alpha, limit });
    for gating in Curve::ALL.map(Gating::Curve).into_iter().chain(clamped) {
        for (length, size) in [(0, 1.0), (1, 1.0), (7, 1e4), (PART + 1, 20.0)] {
            let mut gate: Vec<f32> = rig.floats(length).iter().map(|x| x * size).collect();
            let mut up = rig.floats(length);
            if let [a, b, c, d, ..] = gate.as_mut_slice() {
                (*a, *b, *c, *d) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0);
                (up[1], up[3]) = (2.0, f32::NAN);
            }
            let (a, b) = (rig.tensor(&[length], &gate)?, rig.tensor(&[length], &up)?);
            rig.run(&Gate { gate: &a, up: &b, gating })?;
            let wanted: Vec<f32> =
                gate.iter().zip(&up).map(|(g, u)| reference::gate(*g, *u, gating)).collect();
            rig.near(&format!("{gating:?} of {length}, size {size}"), &b, &wanted, 2e-6)?;
        }
    }
    let (a, b) = (rig.tensor(&[3], &[0.0f32; 3])?, rig.tensor(&[1, 3], &[0.0f32; 3])?);
    let gating = Gating::Curve(Curve::Silu);
    rig.refuses(&Gate { gate: &a, up: &b, gating }, "gate: gate has shape [3], [1, 3] is wanted")?;
    let gating = Gating::Clamped { alpha: 1.0, limit: -1.0 };
    let message = "gate: limit is -1, it has to be finite and above 0";
    rig.refuses(&Gate { gate: &a, up: &a, gating }, message)?;
    rig.refuses_overlap(&Gate { gate: &a, up: &a, gating: Gating::Curve(Curve::Silu) })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for rows in [1, 512] {
        let x = rig.floats(rows * 12_288);
        let (a, b) = (rig.tensor(&[rows, 12_288], &x)?, rig.tensor(&[rows, 12_288], &x)?);
        let work = Work { bytes: 12 * x.len(), operations: x.len() };
        let gating = Gating::Curve(Curve::Silu);
        rig.time(format!("{rows} x 12288 silu"), work, &Gate { gate: &a, up: &b, gating })?;
    }
    Ok(())
}
