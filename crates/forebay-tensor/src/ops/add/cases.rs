//! Lengths around the part of a group, and arguments that do not suit each other.

use super::{Add, PART, reference};
use crate::{DType, Result, ops::conformance::Rig};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for length in [0, 1, 3, PART - 1, PART, 3 * PART + 17] {
        let (x, y) = (rig.floats(length), rig.floats(length));
        let (a, b) = (rig.tensor(&[length], &x)?, rig.tensor(&[length], &y)?);
        rig.run(&Add { x: &a, y: &b })?;
        rig.same(&format!("length {length}"), &a, &reference::add(&x, &y))?;
    }
    let (a, b) = (rig.tensor(&[2, 3], &[0.0f32; 6])?, rig.tensor(&[3, 2], &[0.0f32; 6])?);
    rig.refuses(&Add { x: &a, y: &b }, "add: y has shape [3, 2], [2, 3] is wanted");
    let columns = rig.tensor(&[2, 4], &[0.0f32; 8])?.narrow(1, 0..3)?;
    rig.refuses(&Add { x: &columns, y: &a }, "add: x has strides [4, 1]; its elements have to lie in a row");
    let halves = rig.output(DType::F16, &[2, 3])?;
    rig.refuses(&Add { x: &a, y: &halves }, "add: y is of type f16, f32 is wanted");
    // One tensor on both sides would be written while it is read.
    assert!(rig.run(&Add { x: &a, y: &a }).is_err());
    Ok(())
}
