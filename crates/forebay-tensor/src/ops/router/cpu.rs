//! `router` on the CPU: a group owns a row.

use std::cmp::Ordering;

use forebay_device::{Group, KernelDef, Param, Signature};

use super::{MOST_EXPERTS, Score};
use crate::tiles::cpu::{
    curves::{exp, sigmoid},
    dot::{most, sum},
    order::larger_first,
};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(4),
        Param::read::<f32>(),
        Param::write::<u32>().per_group_of(5),
        Param::write::<f32>().per_group_of(5),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::f32(),
    ]);
    KernelDef::new("router", signature).cpu(route)
}

fn route(group: &Group<'_>) {
    let (logits, bias) = (group.read::<f32>(0), group.read::<f32>(1));
    let (ids, weights) = (group.write::<u32>(2), group.write::<f32>(3));
    let (score, renormalise, scale) = (group.u32(6), group.u32(7) == 1, group.f32(8));
    let (mut scores, mut choices) = ([0.0; MOST_EXPERTS], [0.0; MOST_EXPERTS]);
    let (scores, choices) = (&mut scores[..logits.len()], &mut choices[..logits.len()]);
    scores.copy_from_slice(logits);
    if score == Score::Softmax as u32 {
        softmax(scores);
    } else if score == Score::Sigmoid as u32 {
        scores.iter_mut().for_each(|x| *x = sigmoid(*x));
    }
    choices.copy_from_slice(scores);
    choices.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);

    let mut taken = [false; MOST_EXPERTS];
    for (id, weight) in ids.iter_mut().zip(weights.iter_mut()) {
        let left = (0..choices.len()).filter(|i| !taken[*i]);
        let best =
            left.reduce(|a, b| if larger_first(choices[b], choices[a]) == Ordering::Less { b } else { a });
        let best = best.unwrap_or(0);
        taken[best] = true;
        (*id, *weight) = (best as u32, scores[best]);
    }
    if score == Score::SoftmaxOfChosen as u32 {
        softmax(weights);
    }
    let all = if renormalise { sum(weights) } else { 1.0 };
    weights.iter_mut().for_each(|x| *x = *x / all * scale);
}

fn softmax(row: &mut [f32]) {
    let most = most(row);
    row.iter_mut().for_each(|x| *x = exp(*x - most));
    let sum = sum(row);
    row.iter_mut().for_each(|x| *x /= sum);
}
