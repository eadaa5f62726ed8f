//! `l2_norm` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::dot::dot;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([Param::read_write::<f32>().per_group_of(1), Param::u32(), Param::f32()]);
    KernelDef::new("l2_norm", signature).cpu(|group| {
        let row = group.write::<f32>(0);
        let scale = 1.0 / (dot(row, row) + group.f32(2)).sqrt();
        row.iter_mut().for_each(|x| *x *= scale);
    })
}
