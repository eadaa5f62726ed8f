//! `activate` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use super::Curve;
use crate::tiles::{
    PART,
    cpu::{best::at_best_level, curves},
};

pub(super) fn kernel(curve: Curve) -> KernelDef {
    match curve {
        Curve::Silu => with(curve, curves::silu),
        Curve::GeluTanh => with(curve, curves::gelu_tanh),
        Curve::GeluErf => with(curve, curves::gelu_erf),
        Curve::Sigmoid => with(curve, curves::sigmoid),
        Curve::Softplus => with(curve, curves::softplus),
    }
}

fn with(curve: Curve, of: impl Fn(f32) -> f32 + Send + Sync + 'static) -> KernelDef {
    let signature = Signature::new([Param::read_write::<f32>().per_group(PART as u32)]);
    KernelDef::new(format!("activate_{}", curve.name()), signature).cpu(move |group| {
        let x = group.write::<f32>(0);
        at_best_level(|| x.iter_mut().for_each(|x| *x = of(*x)));
    })
}
