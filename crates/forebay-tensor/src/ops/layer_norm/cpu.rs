//! `layer_norm` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{
    dot::{dot, sum},
    rows::beside,
};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(4),
        Param::read::<f32>(),
        Param::read::<f32>(),
        Param::write::<f32>().per_group_of(4),
        Param::u32(),
        Param::f32(),
    ]);
    KernelDef::new("layer_norm", signature).cpu(|group| {
        let (x, out) = (group.read::<f32>(0), group.write::<f32>(3));
        let mean = sum(x) / x.len() as f32;
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x - mean);
        let scale = 1.0 / (dot(out, out) / x.len() as f32 + group.f32(5)).sqrt();
        out.iter_mut().for_each(|x| *x *= scale);
        beside(out, group.read(1), 0, |x, weight| *x *= weight);
        beside(out, group.read(2), 0, |x, bias| *x += bias);
    })
}
