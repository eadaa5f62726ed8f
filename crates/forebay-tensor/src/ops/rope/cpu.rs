//! `rope` on the CPU: a group owns all heads of one position.

use forebay_device::{KernelDef, Param, Signature};

use super::Pairs;
use crate::tiles::cpu::{compiled::compiled_for, lanes::Level};

pub(super) fn kernel(pairs: Pairs, name: &str, level: Level) -> KernelDef {
    let signature = Signature::new([
        Param::read_write::<f32>().per_group_of(2),
        Param::read::<f32>().per_group_of(3),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new(name, signature).cpu(move |group| {
        let (angles, width) = (group.read::<f32>(1), group.u32(4) as usize);
        let (cosines, sines) = angles.split_at(angles.len() / 2);
        for head in group.write::<f32>(0).chunks_exact_mut(width) {
            match pairs {
                Pairs::Interleaved => interleaved(head, cosines, sines),
                Pairs::HalfSplit => compiled_for(level, || half_split(head, cosines, sines)),
            }
        }
    })
}

fn interleaved(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    for ([x, y], (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines.iter().zip(sines)) {
        (*x, *y) = (*x * cosine - *y * sine, *x * sine + *y * cosine);
    }
}

#[inline(always)]
fn half_split(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    let (first, second) = head.split_at_mut(cosines.len());
    for ((x, y), (cosine, sine)) in first.iter_mut().zip(second).zip(cosines.iter().zip(sines)) {
        (*x, *y) = (*x * cosine - *y * sine, *x * sine + *y * cosine);
    }
}
