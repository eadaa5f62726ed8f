//! `mul` on the CPU: a group owns a part of the elements, or a row where each row has a number of its own.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::{PART, cpu::rows::beside};

pub(super) fn elements() -> KernelDef {
    let x = Param::read_write::<f32>().per_group(PART as u32);
    let signature = Signature::new([x, Param::read::<f32>(), Param::u32(), Param::u32()]);
    KernelDef::new("mul", signature).cpu(|group| {
        let start = group.index() * PART;
        beside(group.write(0), group.read(1), start, |x, y| *x *= y);
    })
}

pub(super) fn rows() -> KernelDef {
    let signature = Signature::new([
        Param::read_write::<f32>().per_group_of(2),
        Param::read::<f32>().per_group(1),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("mul_rows", signature).cpu(|group| {
        let factor = group.read::<f32>(1)[0];
        group.write::<f32>(0).iter_mut().for_each(|x| *x *= factor);
    })
}
