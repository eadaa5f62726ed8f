//! `mix` on the CPU: a group owns a row of the output.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{best::at_best_level, dot::add_scaled};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(3),
        Param::read::<f32>().per_group_of(4),
        Param::write::<f32>().per_group_of(5),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("mix", signature).cpu(|group| {
        let (x, weights, out) = (group.read::<f32>(0), group.read::<f32>(1), group.write::<f32>(2));
        out.fill(0.0);
        let width = out.len().max(1);
        at_best_level(|| {
            for (x, weight) in x.chunks_exact(width).zip(weights) {
                add_scaled(out, *weight, x);
            }
        });
    })
}
