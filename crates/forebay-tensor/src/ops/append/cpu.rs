#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `append` on the CPU: a group owns one head of the cache, in all positions.

use forebay_device::{KernelDef, Param, Share, Signature};
use half::f16;

use crate::{
    DType,
    tiles::cpu::{arguments, cache::CacheElement},
};

pub(super) fn kernel(dtype: DType) -> KernelDef {
    // Rows of other positions stay, so the cache is changed rather than written.
    let cache = match dtype {
        DType::F16 => Param::read_write::<f16>(),
        _ => Param::read_write::<f32>(),
    };
    let signature = Signature::new([Param::read::<f32>(), Param::read::<u32>(), cache, Param::u32()]);
    let def = KernelDef::new(format!("append_{dtype}"), signature);
    match dtype {
        DType::F16 => def.cpu_shares(append::<f16>),
        _ => def.cpu_shares(append::<f32>),
    }
}

fn append<T: CacheElement>(share: &Share<'_>) {
    // SAFETY: A2: the signature declares both as read.
    let (x, positions): (&[f32], &[u32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
    let heads = arguments::count(share, 3);
    let width = x.len() / positions.len() / heads;
    let capacity = share.bytes(2).1 / size_of::<T>() / (heads * width);
    for head in share.groups() {
        let first = head * capacity * width;
        // SAFETY: A3: a group owns the head of its number.
        let own: &mut [T] = unsafe { arguments::write(share, 2, first..first + capacity * width) };
        for (x, &position) in x.chunks_exact(width).skip(head).step_by(heads).zip(positions) {
            let position = position as usize;
            assert!(position < capacity, "position {position} is not in a cache of {capacity}");
            T::narrow(x, &mut own[position * width..][..width]);
        }
    }
}
