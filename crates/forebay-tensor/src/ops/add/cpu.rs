#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `add` on the CPU: a group owns a part of the elements.

use forebay_device::{KernelDef, Param, Signature};

use super::PART;
use crate::tiles::cpu::arguments;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([Param::read_write::<f32>(), Param::read::<f32>()]);
    KernelDef::new("add", signature).cpu_shares(|share| {
        // SAFETY: A2: the signature declares it as read.
        let y: &[f32] = unsafe { arguments::read(share, 1) };
        let groups = share.groups();
        let own = groups.start * PART..(groups.end * PART).min(y.len());
        let y = &y[own.clone()];
        // SAFETY: A3: a group owns `PART` elements, counted by its number.
        let x: &mut [f32] = unsafe { arguments::write(share, 0, own) };
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    })
}
