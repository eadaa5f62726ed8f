//! Lengths around the part of a group, rows that repeat, and arguments that do not suit each other.

use super::{Add, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for length in [0, 1, 3, PART - 1, PART, 3 * PART + 17] {
        sum(rig, &[length], &[length])?;
    }
    for (rows, width) in [(3, 5), (1, 1), (7, PART - 1), (2, PART + 3), (0, 4)] {
        sum(rig, &[rows, width], &[width])?;
        sum(rig, &[2, rows, width], &[rows, width])?;
    }
    for _ in 0..20 {
        let (rows, width) = (rig.chance().length(9), rig.chance().length(700));
        sum(rig, &[rows, width], &[width])?;
    }
    let (a, b) = (rig.tensor(&[2, 3], &[0.0f32; 6])?, rig.tensor(&[3, 2], &[0.0f32; 6])?);
    rig.refuses(&Add { x: &a, y: &b }, "add: y has shape [3, 2], [2, 3] is wanted")?;
    let columns = rig.tensor(&[2, 4], &[0.0f32; 8])?.narrow(1, 0..3)?;
    rig.refuses(&Add { x: &columns, y: &a }, "add: x has strides [4, 1]; its elements have to lie in a row")?;
    let halves = rig.output(DType::F16, &[2, 3])?;
    rig.refuses(&Add { x: &a, y: &halves }, "add: y is of type f16, f32 is wanted")?;
    rig.refuses_overlap(&Add { x: &a, y: &a })
}

fn sum(rig: &mut Rig, all: &[usize], some: &[usize]) -> Result<()> {
    let (mut x, y) = (rig.floats(all.iter().product()), rig.floats(some.iter().product()));
    if let [first, second, ..] = x.as_mut_slice() {
        (*first, *second) = (f32::NAN, f32::INFINITY);
    }
    let (a, b) = (rig.tensor(all, &x)?, rig.tensor(some, &y)?);
    rig.run(&Add { x: &a, y: &b })?;
    rig.same(&format!("{all:?} and {some:?}"), &a, &reference::add(&x, &y))
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for rows in [1, 512] {
        let (x, y) = (rig.floats(rows * 4096), rig.floats(rows * 4096));
        let (a, b) = (rig.tensor(&[rows, 4096], &x)?, rig.tensor(&[rows, 4096], &y)?);
        let work = Work { bytes: 12 * x.len(), operations: x.len() };
        rig.time(format!("{rows} x 4096"), work, &Add { x: &a, y: &b })?;
    }
    Ok(())
}
