//! Lengths around the part of a group, rows that repeat, numbers for whole rows, and what does not fit.

use super::{Mul, reference};
use crate::{
    Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for length in [0, 1, 3, PART - 1, PART, 3 * PART + 17] {
        product(rig, &[length], &[length])?;
    }
    for _ in 0..20 {
        let (rows, width) = (rig.chance().length(9), rig.chance().length(700));
        product(rig, &[rows, width], &[width])?;
        product(rig, &[rows, width], &[rows, width])?;
        product(rig, &[3, rows, width], &[3, rows, 1])?;
    }
    let (a, b) = (rig.tensor(&[2, 3], &[0.0f32; 6])?, rig.tensor(&[3, 1], &[0.0f32; 3])?);
    rig.refuses(&Mul { x: &a, y: &b }, "mul: y has shape [3, 1], [2, 3] is wanted")?;
    let ids = rig.tensor(&[2, 3], &[0u32; 6])?;
    rig.refuses(&Mul { x: &a, y: &ids }, "mul: y is of type u32, f32 is wanted")?;
    let part = a.narrow(0, 1..2)?.reshape(&[3])?;
    rig.refuses_overlap(&Mul { x: &a, y: &part })
}

fn product(rig: &mut Rig, all: &[usize], some: &[usize]) -> Result<()> {
    let (mut x, y) = (rig.floats(all.iter().product()), rig.floats(some.iter().product()));
    if let [first, second, ..] = x.as_mut_slice() {
        (*first, *second) = (f32::NAN, f32::INFINITY);
    }
    let (a, b) = (rig.tensor(all, &x)?, rig.tensor(some, &y)?);
    let op = Mul { x: &a, y: &b };
    rig.run(&op)?;
    let width = all[all.len() - 1];
    let by_rows = some[some.len() - 1] == 1 && all.len() == some.len();
    let wanted = if by_rows { reference::mul_rows(&x, &y, width) } else { reference::mul(&x, &y) };
    assert_eq!(rig.serves(&op)?, if by_rows { "mul_rows" } else { "mul" });
    rig.same(&format!("{all:?} and {some:?}"), &a, &wanted)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 4096);
    let (a, b) = (rig.tensor(&[512, 4096], &x)?, rig.tensor(&[512, 1], &x[..512])?);
    let work = Work { bytes: 8 * x.len(), operations: x.len() };
    rig.time("512 x 4096 by rows", work, &Mul { x: &a, y: &b })
}
