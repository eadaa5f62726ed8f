//! `follow` on the CPU: a group owns a part of the rows.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::PART;

pub(super) fn kernel() -> KernelDef {
    const EACH: u32 = PART as u32;
    let signature = Signature::new([
        Param::read::<u32>(),
        Param::write::<u32>().per_group(EACH),
        Param::read_write::<u32>().per_group(EACH),
        Param::write::<u32>().per_group(EACH),
        Param::u32(),
    ]);
    KernelDef::new("follow", signature).cpu(|group| {
        let ids = group.write::<u32>(1);
        let start = group.index() * PART;
        let found = &group.read::<u32>(0)[start..start + ids.len()];
        ids.copy_from_slice(found);
        group.write::<u32>(2).iter_mut().for_each(|position| *position = position.wrapping_add(1));
        group.write::<u32>(3).copy_from_slice(found);
    })
}
