//! `argmax` on the CPU: a group owns a row. It is read twice: once for the largest element, once for its place.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{compiled::compiled_for, dot::most, lanes::Level};

pub(super) fn kernel(level: Level) -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(2),
        Param::write::<u32>().per_group(1),
        Param::u32(),
    ]);
    KernelDef::new("argmax", signature).cpu(move |group| {
        let row = group.read::<f32>(0);
        let out = group.write::<u32>(1);
        compiled_for(level, || {
            let most = most(row);
            out[0] = row.iter().position(|x| *x == most).unwrap_or(0) as u32;
        });
    })
}
