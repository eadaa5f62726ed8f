//! `add` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::{PART, cpu::rows::beside};

pub(super) fn kernel() -> KernelDef {
    let x = Param::read_write::<f32>().per_group(PART as u32);
    let signature = Signature::new([x, Param::read::<f32>(), Param::u32(), Param::u32()]);
    KernelDef::new("add", signature).cpu(|group| {
        let start = group.index() * PART;
        beside(group.write(0), group.read(1), start, |x, y| *x += y);
    })
}
