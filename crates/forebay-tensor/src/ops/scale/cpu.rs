//! `scale` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::PART;

pub(super) fn kernel() -> KernelDef {
    let x = Param::read_write::<f32>().per_group(PART as u32);
    let signature = Signature::new([x, Param::f32(), Param::u32()]);
    KernelDef::new("scale", signature).cpu(|group| {
        let factor = group.f32(1);
        group.write::<f32>(0).iter_mut().for_each(|x| *x *= factor);
    })
}
