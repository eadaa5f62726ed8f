//! `softmax` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{
    curves::exp,
    dot::{most, sum},
};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([Param::read_write::<f32>().per_group_of(1), Param::u32(), Param::f32()]);
    KernelDef::new("softmax", signature).cpu(|group| softmax(group.write(0), group.f32(2)))
}

/// One row.
fn softmax(row: &mut [f32], scale: f32) {
    row.iter_mut().for_each(|x| *x *= scale);
    let most = most(row);
    row.iter_mut().for_each(|x| *x = exp(*x - most));
    let sum = sum(row);
    row.iter_mut().for_each(|x| *x /= sum);
}
