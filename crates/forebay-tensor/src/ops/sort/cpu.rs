//! `sort` on the CPU: a group owns a row and sorts its columns in place.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::order::larger_first;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(2),
        Param::write::<u32>().per_group_of(2),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("sort", signature).cpu(|group| {
        let (row, ids) = (group.read::<f32>(0), group.write::<u32>(1));
        ids.iter_mut().zip(0..).for_each(|(id, i)| *id = i);
        // No two columns are equal, so a sort that needs no memory gives the one result there is.
        ids.sort_unstable_by(|&a, &b| larger_first(row[a as usize], row[b as usize]).then(a.cmp(&b)));
    })
}
