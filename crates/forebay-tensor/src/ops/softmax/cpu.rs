//! `softmax` on the CPU: a group owns a row.

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::{
    compiled::compiled_for,
    curves::exp,
    dot::{most, sum},
    lanes::Level,
};

pub(super) fn kernel(level: Level) -> KernelDef {
    let signature = Signature::new([Param::read_write::<f32>().per_group_of(1), Param::u32(), Param::f32()]);
    KernelDef::new("softmax", signature).cpu(move |group| {
        let (row, scale) = (group.write(0), group.f32(2));
        compiled_for(level, || softmax(row, scale));
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
