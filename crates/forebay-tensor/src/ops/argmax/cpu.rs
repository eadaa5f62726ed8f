#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `argmax` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::arguments;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([Param::read::<f32>(), Param::write::<u32>()]);
    KernelDef::new("argmax", signature).cpu_shares(|share| {
        // SAFETY: A2: the signature declares it as read.
        let x: &[f32] = unsafe { arguments::read(share, 0) };
        let groups = share.groups();
        let width = x.len() / (share.bytes(1).1 / size_of::<u32>());
        let x = &x[groups.start * width..groups.end * width];
        // SAFETY: A3: a group owns the element of its number.
        let out: &mut [u32] = unsafe { arguments::write(share, 1, groups) };
        for (row, out) in x.chunks_exact(width).zip(out) {
            let (mut place, mut most) = (0, f32::NAN);
            for (i, &x) in row.iter().enumerate() {
                if x > most || most.is_nan() && !x.is_nan() {
                    (place, most) = (i as u32, x);
                }
            }
            *out = place;
        }
    })
}
