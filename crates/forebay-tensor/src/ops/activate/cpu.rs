//! `activate` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use super::Curve;
use crate::tiles::{
    PART,
    cpu::{compiled::compiled_for, curves, lanes::Level},
};

pub(super) fn kernel(curve: Curve, name: &str, level: Level) -> KernelDef {
    match curve {
        Curve::Silu => with(name, level, curves::silu),
        Curve::GeluTanh => with(name, level, curves::gelu_tanh),
        Curve::GeluErf => with(name, level, curves::gelu_erf),
        Curve::Sigmoid => with(name, level, curves::sigmoid),
        Curve::Softplus => with(name, level, curves::softplus),
    }
}

fn with(name: &str, level: Level, of: impl Fn(f32) -> f32 + Send + Sync + 'static) -> KernelDef {
    let x = Param::read_write::<f32>().per_group(PART as u32);
    KernelDef::new(name, Signature::new([x, Param::u32()])).cpu(move |group| {
        let x = group.write::<f32>(0);
        compiled_for(level, || x.iter_mut().for_each(|x| *x = of(*x)));
    })
}
