//! `softmax` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{
    best::at_best_level,
    curves::exp,
    dot::{most, sum},
};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([Param::read_write::<f32>().per_group_of(1), Param::u32(), Param::f32()]);
    KernelDef::new("softmax", signature).cpu(|group| {
        let (row, scale) = (group.write(0), group.f32(2));
        at_best_level(|| softmax(row, scale));
    })
}

/// One row.
#[inline(always)]
fn softmax(row: &mut [f32], scale: f32) {
    row.iter_mut().for_each(|x| *x *= scale);
    let most = most(row);
    row.iter_mut().for_each(|x| *x = exp(*x - most));
    let sum = sum(row);
    row.iter_mut().for_each(|x| *x /= sum);
}
