//! No rows, one, and numbers of rows around the part of a group; positions up to the last one, which begin anew.

use super::{Follow, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    tiles::PART,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for rows in [0, 1, 3, 4, 1023, PART - 1, PART, PART + 5] {
        let mut numbers = || (0..rows).map(|_| rig.chance().bits() as u32).collect::<Vec<_>>();
        let (found, mut before) = (numbers(), numbers());
        if let [first, ..] = before.as_mut_slice() {
            *first = u32::MAX;
        }
        let (from, positions) = (rig.tensor(&[rows], &found)?, rig.tensor(&[rows], &before)?);
        let [ids, told] = [(); 2].map(|()| rig.output(DType::U32, &[rows]));
        let (ids, told) = (ids?, told?);
        rig.run(&Follow { found: &from, ids: &ids, positions: &positions, told: &told })?;
        let [next, further] = reference::follow(&found, &before);
        for (what, list, wanted) in [
            ("found", &from, &found),
            ("ids", &ids, &next),
            ("told", &told, &next),
            ("positions", &positions, &further),
        ] {
            rig.equal(&format!("{what} of {rows}"), list, wanted)?;
        }
    }
    let [a, b, c] = [2, 2, 3].map(|rows| rig.tensor(&[rows], &vec![5u32; rows]));
    let (a, b, c) = (a?, b?, c?);
    let other = rig.output(DType::U32, &[2])?;
    let wanted = "follow: told has shape [3], [2] is wanted";
    rig.refuses(&Follow { found: &a, ids: &b, positions: &other, told: &c }, wanted)?;
    let floats = rig.output(DType::F32, &[2])?;
    let wanted = "follow: positions is of type f32, u32 is wanted";
    rig.refuses(&Follow { found: &a, ids: &b, positions: &floats, told: &other }, wanted)?;
    rig.has_no_floats();
    rig.refuses_overlap(&Follow { found: &a, ids: &a, positions: &b, told: &other })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let [found, ids, positions, told] = [(); 4].map(|()| rig.tensor(&[1], &[1u32]));
    let (found, ids, positions, told) = (found?, ids?, positions?, told?);
    let op = Follow { found: &found, ids: &ids, positions: &positions, told: &told };
    rig.time("1", Work { bytes: 20, operations: 1 }, &op)
}
