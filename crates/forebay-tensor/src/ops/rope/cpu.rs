#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `rope` on the CPU: a group owns all heads of one position, so that an angle is computed once for all of them.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::arguments;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read_write::<f32>(),
        Param::read::<u32>(),
        Param::read::<f32>(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("rope", signature).cpu_shares(|share| {
        // SAFETY: A2: the signature declares both as read.
        let (positions, frequencies): (&[u32], &[f32]) =
            unsafe { (arguments::read(share, 1), arguments::read(share, 2)) };
        let (heads, half_split) = (arguments::count(share, 3), arguments::count(share, 4) == 1);
        let all = share.bytes(0).1 / size_of::<f32>() / positions.len();
        let (groups, width) = (share.groups(), all / heads);
        // SAFETY: A3: a group owns the heads of the position of its number.
        let x: &mut [f32] = unsafe { arguments::write(share, 0, groups.start * all..groups.end * all) };
        for (x, &position) in x.chunks_exact_mut(all).zip(&positions[groups]) {
            for (i, &frequency) in frequencies.iter().enumerate() {
                let angle = f64::from(position) * f64::from(frequency) % std::f64::consts::TAU;
                let (sin, cos) = (angle as f32).sin_cos();
                let (a, b) = if half_split { (i, i + frequencies.len()) } else { (2 * i, 2 * i + 1) };
                for head in x.chunks_exact_mut(width) {
                    let (x, y) = (head[a], head[b]);
                    head[a] = x * cos - y * sin;
                    head[b] = x * sin + y * cos;
                }
            }
        }
    })
}
