//! `append` on the CPU: a group owns one head of one cache, in all positions. The sizes at the end of the signature are for
//! cards, which are not told how long buffers are.

use forebay_device::{Group, KernelDef, Param, Signature};

use crate::{
    DType,
    tiles::cpu::cache::{Unit, per_unit},
};

pub(super) fn kernel(dtype: DType) -> KernelDef {
    per_unit!(dtype, U => with::<U>())
}

fn with<T: Unit>() -> KernelDef {
    // Rows of other positions stay, so the cache is changed rather than written.
    let buffers = [Param::read::<f32>(), Param::read::<u32>(), Param::read_write::<T>().per_group_of(3)];
    let all = buffers.into_iter().chain([Param::u32(); 6]).chain([Param::read::<u32>(), Param::u32()]);
    KernelDef::new(format!("append_{}", T::DTYPE), Signature::new(all.collect::<Vec<_>>())).cpu(append::<T>)
}

fn append<T: Unit>(group: &Group<'_>) {
    let (x, positions, cache) = (group.read::<f32>(0), group.read::<u32>(1), group.write::<T>(2));
    let (capacity, ring, heads) = (group.u32(4), group.u32(5) == 1, group.u32(7) as usize);
    let (places, caches) = (group.read::<u32>(9), group.u32(10));
    let (own, head) = ((group.index() / heads) as u32, group.index() % heads);
    let width = x.len() / positions.len() / heads;
    let rows = x.chunks_exact(width).skip(head).step_by(heads);
    for (i, (x, &position)) in rows.zip(positions).enumerate() {
        let place = places.get(i).copied().unwrap_or(0);
        assert!(place < caches, "place {place} is not one of {caches}");
        assert!(
            capacity > 0 && (ring || position < capacity),
            "position {position} is not in a cache of {capacity}"
        );
        if place != own {
            continue;
        }
        let slot = (position % capacity) as usize;
        T::narrow(x, &mut cache[slot * width / T::ELEMENTS..][..width / T::ELEMENTS]);
    }
}
