//! Lengths around the part of a group, and values at both ends of the curve.

use super::{PART, SiluGate, reference};
use crate::{Result, ops::conformance::Rig};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for length in [0, 1, 5, PART - 1, PART + 1, 3 * PART] {
        let (mut gate, up) = (rig.floats(length), rig.floats(length));
        let extremes = [0.0, -0.0, 90.0, -90.0, 1e30, -1e30, f32::INFINITY, f32::NAN];
        for (gate, extreme) in gate.iter_mut().zip(extremes).skip(1) {
            *gate = extreme;
        }
        let (a, b) = (rig.tensor(&[length], &gate)?, rig.tensor(&[length], &up)?);
        rig.run(&SiluGate { gate: &a, up: &b })?;
        rig.near(&format!("length {length}"), &b, &reference::silu_gate(&gate, &up), 1e-6)?;
    }
    let (a, b) = (rig.tensor(&[2, 3], &[0.0f32; 6])?, rig.tensor(&[6], &[0.0f32; 6])?);
    rig.refuses(&SiluGate { gate: &a, up: &b }, "silu_gate: up has shape [6], [2, 3] is wanted");
    Ok(())
}
