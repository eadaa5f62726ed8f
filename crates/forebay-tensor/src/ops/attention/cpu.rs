#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `attention` on the CPU: a group owns one query head at one position, and reads the cache once, a tile at a time.
//!
//! The softmax is kept as a running maximum, a running sum and a running mean of values; a new maximum scales what was
//! summed before.

use forebay_device::{KernelDef, Param, Share, Signature};
use half::f16;

use super::MOST_WIDTH;
use crate::{
    DType,
    tiles::cpu::{
        arguments,
        cache::CacheElement,
        dot::{add_scaled, dot},
    },
};

/// Positions of a tile.
const TILE: usize = 32;

pub(super) fn kernel(dtype: DType) -> KernelDef {
    let cache = match dtype {
        DType::F16 => Param::read::<f16>(),
        _ => Param::read::<f32>(),
    };
    let signature = Signature::new([
        Param::read::<f32>(),
        cache,
        cache,
        Param::read::<u32>(),
        Param::write::<f32>(),
        Param::u32(),
        Param::u32(),
        Param::f32(),
    ]);
    let def = KernelDef::new(format!("attention_{dtype}"), signature);
    match dtype {
        DType::F16 => def.cpu_shares(attention::<f16>),
        _ => def.cpu_shares(attention::<f32>),
    }
}

fn attention<T: CacheElement>(share: &Share<'_>) {
    // SAFETY: A2: the signature declares all of them as read.
    let (q, positions): (&[f32], &[u32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 3)) };
    // SAFETY: as above.
    let (keys, values): (&[T], &[T]) = unsafe { (arguments::read(share, 1), arguments::read(share, 2)) };
    let (heads, kv_heads) = (arguments::count(share, 5), arguments::count(share, 6));
    let scale = arguments::float(share, 7);
    let rows = positions.len() * heads;
    let (width, value_width) = (q.len() / rows, share.bytes(4).1 / size_of::<f32>() / rows);
    let capacity = keys.len() / (kv_heads * width);
    for row in share.groups() {
        let (i, head) = (row / heads, row % heads);
        let position = positions[i] as usize;
        assert!(position < capacity, "position {position} is not in a cache of {capacity}");
        let first = head / (heads / kv_heads) * capacity;
        // SAFETY: A3: a group owns the row of its number.
        let out: &mut [f32] =
            unsafe { arguments::write(share, 4, row * value_width..(row + 1) * value_width) };
        attend(
            &q[row * width..][..width],
            &keys[first * width..][..(position + 1) * width],
            &values[first * value_width..][..(position + 1) * value_width],
            scale,
            out,
        );
    }
}

/// One head at one position, over the keys and values that it sees.
fn attend<T: CacheElement>(q: &[f32], keys: &[T], values: &[T], scale: f32, out: &mut [f32]) {
    let (mut scratch, mut weights) = ([0.0; MOST_WIDTH], [0.0; TILE]);
    let (mut most, mut sum) = (f32::NEG_INFINITY, 0.0);
    out.fill(0.0);
    for (keys, values) in keys.chunks(TILE * q.len()).zip(values.chunks(TILE * out.len())) {
        let weights = &mut weights[..keys.len() / q.len()];
        let before = most;
        for (score, key) in weights.iter_mut().zip(keys.chunks_exact(q.len())) {
            *score = dot(q, T::widen(key, &mut scratch[..q.len()])) * scale;
            most = most.max(*score);
        }
        let fade = (before - most).exp();
        sum *= fade;
        out.iter_mut().for_each(|x| *x *= fade);
        for (weight, value) in weights.iter_mut().zip(values.chunks_exact(out.len())) {
            *weight = (*weight - most).exp();
            sum += *weight;
            add_scaled(out, *weight, T::widen(value, &mut scratch[..out.len()]));
        }
    }
    out.iter_mut().for_each(|x| *x /= sum);
}
