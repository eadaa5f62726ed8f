//! `gate` on the CPU: a group owns a part of the elements. `matmul` passes its products through gates as well.

use forebay_device::{KernelDef, Param, Signature};

use super::{Curve, Gating};
use crate::tiles::{
    PART,
    cpu::{
        curves,
        lanes::{Job, Lanes, Level},
    },
};

const GATE: Param = Param::read::<f32>().per_group(PART as u32);
const UP: Param = Param::read_write::<f32>().per_group(PART as u32);

pub(super) fn kernel(curve: Curve, name: &str, level: Level) -> KernelDef {
    KernelDef::new(name, Signature::new([GATE, UP, Param::u32()])).cpu(move |group| {
        level.run(Pass { gating: Gating::Curve(curve), gate: group.read(0), up: group.write(1) });
    })
}

pub(super) fn clamped(level: Level) -> KernelDef {
    let signature = Signature::new([GATE, UP, Param::f32(), Param::f32(), Param::u32()]);
    KernelDef::new("gate_clamped", signature).cpu(move |group| {
        let gating = Gating::Clamped { alpha: group.f32(2), limit: group.f32(3) };
        level.run(Pass { gating, gate: group.read(0), up: group.write(1) });
    })
}

/// `up = gating(gate, up)`.
pub(crate) struct Pass<'a> {
    pub(crate) gating: Gating,
    pub(crate) gate: &'a [f32],
    pub(crate) up: &'a mut [f32],
}

impl Job for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _: V) {
        let Self { gating, gate, up } = self;
        match gating {
            Gating::Curve(Curve::Silu) => through(curves::silu, gate, up),
            Gating::Curve(Curve::GeluTanh) => through(curves::gelu_tanh, gate, up),
            Gating::Curve(Curve::GeluErf) => through(curves::gelu_erf, gate, up),
            Gating::Curve(Curve::Sigmoid) => through(curves::sigmoid, gate, up),
            Gating::Curve(Curve::Softplus) => through(curves::softplus, gate, up),
            Gating::Clamped { alpha, limit } => clamp(gate, up, alpha, limit),
        }
    }
}

#[inline(always)]
fn through(curve: impl Fn(f32) -> f32, gate: &[f32], up: &mut [f32]) {
    up.iter_mut().zip(gate).for_each(|(up, gate)| *up *= curve(*gate));
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
