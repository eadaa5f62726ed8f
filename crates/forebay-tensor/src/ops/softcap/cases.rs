//! Small, large and infinite numbers, lengths around the part of a group, and caps that are none.

use super::{Softcap, reference};
use crate::{
    Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for length in [0, 1, 3, PART - 1, PART, 2 * PART + 17] {
        for (cap, size) in [(30.0, 50.0), (5.0, 1.0), (1.0, 1e-4), (50.0, 1e6)] {
            let mut x: Vec<f32> = rig.floats(length).iter().map(|x| x * size).collect();
            if let [a, b, c, ..] = x.as_mut_slice() {
                (*a, *b, *c) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
            }
            let a = rig.tensor(&[length], &x)?;
            rig.run(&Softcap { x: &a, cap })?;
            let wanted = reference::softcap(&x, cap);
            rig.near(&format!("{length}, cap {cap}, size {size}"), &a, &wanted, 4e-7)?;
        }
    }
    let x = rig.tensor(&[3], &[0.0f32; 3])?;
    for (cap, name) in [(0.0, "0"), (-1.0, "-1"), (f32::INFINITY, "inf")] {
        let message = format!("softcap: cap is {name}, it has to be finite and above 0");
        rig.refuses(&Softcap { x: &x, cap }, &message)?;
    }
    rig.has_one_tensor();
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(262_144);
    let a = rig.tensor(&[1, 262_144], &x)?;
    let work = Work { bytes: 8 * x.len(), operations: x.len() };
    rig.time("1 x 262144", work, &Softcap { x: &a, cap: 30.0 })
}
