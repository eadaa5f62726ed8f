#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `rms_norm` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{arguments, dot::dot};

pub(super) fn kernel() -> KernelDef {
    let signature =
        Signature::new([Param::read::<f32>(), Param::read::<f32>(), Param::write::<f32>(), Param::f32()]);
    KernelDef::new("rms_norm", signature).cpu_shares(|share| {
        // SAFETY: A2: the signature declares both as read.
        let (x, weight): (&[f32], &[f32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
        let (epsilon, width) = (arguments::float(share, 3), weight.len());
        let own = share.groups().start * width..share.groups().end * width;
        let x = &x[own.clone()];
        // SAFETY: A3: a group owns the row of its number.
        let out: &mut [f32] = unsafe { arguments::write(share, 2, own) };
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let scale = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * scale * weight;
            }
        }
    })
}
