//! `softcap` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::{
    PART,
    cpu::{compiled::compiled_for, curves::tanh, lanes::Level},
};

pub(super) fn kernel(level: Level) -> KernelDef {
    let x = Param::read_write::<f32>().per_group(PART as u32);
    let signature = Signature::new([x, Param::f32(), Param::u32()]);
    KernelDef::new("softcap", signature).cpu(move |group| {
        let (x, cap) = (group.write::<f32>(0), group.f32(1));
        compiled_for(level, || x.iter_mut().for_each(|x| *x = cap * tanh(*x / cap)));
    })
}
