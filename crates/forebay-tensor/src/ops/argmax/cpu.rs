//! `argmax` on the CPU: a group owns a row. It is read twice: once for the largest element, once for its place.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::dot::most;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(2),
        Param::write::<u32>().per_group(1),
        Param::u32(),
    ]);
    KernelDef::new("argmax", signature).cpu(|group| {
        let row = group.read::<f32>(0);
        let most = most(row);
        group.write::<u32>(1)[0] = row.iter().position(|x| *x == most).unwrap_or(0) as u32;
    })
}
