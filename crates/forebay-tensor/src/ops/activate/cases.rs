//! Every curve over small, large and infinite numbers and lengths around the part of a group.

use super::{Activate, Curve, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for curve in Curve::ALL {
        for (length, size) in [(0, 1.0), (1, 1.0), (3, 1e9), (PART - 1, 1e-3), (2 * PART + 17, 8.0)] {
            let mut x: Vec<f32> = rig.floats(length).iter().map(|x| x * size).collect();
            if let [a, b, c, ..] = x.as_mut_slice() {
                (*a, *b, *c) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
            }
            let a = rig.tensor(&[length], &x)?;
            let op = Activate { x: &a, curve };
            assert_eq!(rig.serves(&op)?, format!("activate_{}", curve.name()));
            rig.run(&op)?;
            let wanted: Vec<f32> = x.iter().map(|&x| reference::curve(curve, x.into()) as f32).collect();
            rig.near(&format!("{} of {length}, size {size}", curve.name()), &a, &wanted, 1e-6)?;
        }
    }
    let halves = rig.output(DType::F16, &[3])?;
    let bad = Activate { x: &halves, curve: Curve::Silu };
    rig.refuses(&bad, "activate: x is of type f16, f32 is wanted")?;
    rig.has_one_tensor();
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 4096);
    let a = rig.tensor(&[512, 4096], &x)?;
    let work = Work { bytes: 8 * x.len(), operations: x.len() };
    Curve::ALL.iter().try_for_each(|&curve| {
        rig.time(format!("512 x 4096 {}", curve.name()), work, &Activate { x: &a, curve })
    })
}
