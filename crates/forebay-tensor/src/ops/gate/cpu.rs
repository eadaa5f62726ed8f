//! `gate` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use super::Curve;
use crate::tiles::{
    PART,
    cpu::{compiled::compiled_for, curves, lanes::Level},
};

const GATE: Param = Param::read::<f32>().per_group(PART as u32);
const UP: Param = Param::read_write::<f32>().per_group(PART as u32);

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
    KernelDef::new(name, Signature::new([GATE, UP, Param::u32()])).cpu(move |group| {
        let (gate, up) = (group.read::<f32>(0), group.write::<f32>(1));
        compiled_for(level, || up.iter_mut().zip(gate).for_each(|(up, gate)| *up *= of(*gate)));
    })
}

pub(super) fn clamped(level: Level) -> KernelDef {
    let signature = Signature::new([GATE, UP, Param::f32(), Param::f32(), Param::u32()]);
    KernelDef::new("gate_clamped", signature).cpu(move |group| {
        let (gate, up, alpha, limit) = (group.read(0), group.write(1), group.f32(2), group.f32(3));
        compiled_for(level, || clamp(gate, up, alpha, limit));
    })
}

#[inline(always)]
fn clamp(gate: &[f32], up: &mut [f32], alpha: f32, limit: f32) {
    for (up, &gate) in up.iter_mut().zip(gate) {
        let gate = if gate > limit { limit } else { gate };
        let held = if *up > limit { limit } else { *up };
        let held = if held < -limit { -limit } else { held };
        *up = curves::silu(alpha * gate) / alpha * (held + 1.0);
    }
}
