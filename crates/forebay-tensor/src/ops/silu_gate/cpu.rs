#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `silu_gate` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use super::PART;
use crate::tiles::cpu::arguments;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([Param::read::<f32>(), Param::read_write::<f32>()]);
    KernelDef::new("silu_gate", signature).cpu_shares(|share| {
        // SAFETY: A2: the signature declares it as read.
        let gate: &[f32] = unsafe { arguments::read(share, 0) };
        let groups = share.groups();
        let own = groups.start * PART..(groups.end * PART).min(gate.len());
        let gate = &gate[own.clone()];
        // SAFETY: A3: a group owns `PART` elements, counted by its number.
        let up: &mut [f32] = unsafe { arguments::write(share, 1, own) };
        for (up, gate) in up.iter_mut().zip(gate) {
            *up *= gate / (1.0 + (-gate).exp());
        }
    })
}
