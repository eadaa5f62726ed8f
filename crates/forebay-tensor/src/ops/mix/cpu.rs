//! `mix` on the CPU: a group owns a row of the output.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{compiled::compiled_for, dot::add_scaled, lanes::Level};

pub(super) fn kernel(level: Level) -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(3),
        Param::read::<f32>().per_group_of(4),
        Param::write::<f32>().per_group_of(5),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("mix", signature).cpu(move |group| {
        let (x, weights, out) = (group.read::<f32>(0), group.read::<f32>(1), group.write::<f32>(2));
        out.fill(0.0);
        let width = out.len().max(1);
        compiled_for(level, || {
            for (x, weight) in x.chunks_exact(width).zip(weights) {
                add_scaled(out, *weight, x);
            }
        });
    })
}
