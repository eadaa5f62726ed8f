//! `gated_norm` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{curves::silu, dot::dot};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read_write::<f32>().per_group_of(3),
        Param::read::<f32>(),
        Param::read::<f32>().per_group_of(3),
        Param::u32(),
        Param::f32(),
    ]);
    KernelDef::new("gated_norm", signature).cpu(|group| {
        let (row, weight, gate) = (group.write::<f32>(0), group.read::<f32>(1), group.read::<f32>(2));
        let scale = 1.0 / (dot(row, row) / row.len() as f32 + group.f32(4)).sqrt();
        for ((x, weight), gate) in row.iter_mut().zip(weight).zip(gate) {
            *x = *x * scale * weight * silu(*gate);
        }
    })
}
