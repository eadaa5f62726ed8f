//! `rms_norm` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{compiled::compiled_for, dot::dot, lanes::Level, rows::beside};

pub(super) fn kernel(level: Level) -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(3),
        Param::read::<f32>(),
        Param::write::<f32>().per_group_of(3),
        Param::u32(),
        Param::f32(),
    ]);
    KernelDef::new("rms_norm", signature).cpu(move |group| {
        let (x, out) = (group.read::<f32>(0), group.write::<f32>(2));
        out.copy_from_slice(x);
        compiled_for(level, || scale(out, group.read(1), group.f32(4)));
    })
}

pub(super) fn in_place(level: Level) -> KernelDef {
    let signature = Signature::new([
        Param::read_write::<f32>().per_group_of(2),
        Param::read::<f32>(),
        Param::u32(),
        Param::f32(),
    ]);
    KernelDef::new("rms_norm_in_place", signature)
        .cpu(move |group| compiled_for(level, || scale(group.write(0), group.read(1), group.f32(3))))
}

/// Scales a row; an empty weight is none.
#[inline(always)]
fn scale(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let scale = 1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt();
    row.iter_mut().for_each(|x| *x *= scale);
    beside(row, weight, 0, |x, weight| *x *= weight);
}
