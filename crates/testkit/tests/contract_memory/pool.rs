//! P1 to P3, P5 to P7, P11 to P15: sizes, reuse, retention, contents and counters of a pool that is at rest.
//!
//! What queued work does to a pool is in `reuse`, what limits do to it in `limits`.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use forebay_device::{Arena, Buffer, Device, Pool, PoolOptions, PoolStats, Request, Session, Tag};
use testkit::{Bed, Setup, Test};

use crate::{KIB, MIB, holds, is_filled, overlap, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Every:
        p1_length_is_what_was_asked_and_capacity_is_near,
        p1_nothing_costs_nothing,
        p2_freed_memory_serves_what_fits,
        p3_clones_and_slices_keep_the_range,
        p5_trim_of_an_empty_pool_does_nothing_and_twice_is_once,
        p6_a_batch_makes_one_residency_update,
        p7_weights_take_their_exact_size,
        p11_retention_is_bounded,
        p11_the_least_recently_used_goes_first,
        p11_one_large_return_leaves_the_useful_ones,
        p13_counters_follow_every_step,
        p13_a_snapshot_is_of_one_moment,
        p14_buffers_die_on_other_threads,
        p15_a_steady_loop_asks_for_no_memory;
    Bytes:
        p1_no_two_buffers_share_bytes,
        p3_the_bytes_of_a_slice_outlive_its_buffer,
        p12_zeroed_is_zero_also_in_used_memory,
        p12_uninitialised_memory_shows,
        p14_threads_never_see_the_bytes_of_others;
    Kernels:
        p15_a_steady_loop_computes_the_same_every_step;
};

/// Calls into the driver for memory, as the null device counts them, or as the pool does.
fn driver_calls(bed: &Bed) -> u64 {
    use forebay_device::NullCall::{RegionMap, RegionRelease, RegionReserve, RegionUnmap};
    bed.control.as_ref().map_or_else(
        || bed.device.pool().stats().driver_calls,
        |control| {
            [RegionReserve, RegionMap, RegionUnmap, RegionRelease]
                .map(|call| control.calls(call))
                .iter()
                .sum()
        },
    )
}

/// What the counters say about each other at every moment.
fn sound(stats: &PoolStats) {
    assert_eq!(stats.taken + stats.retiring + stats.free, stats.reserved, "{stats:?}");
    assert_eq!(stats.by_tag.iter().sum::<u64>(), stats.live, "{stats:?}");
    assert!(stats.live <= stats.taken && stats.largest_free <= stats.free, "{stats:?}");
    assert!(stats.peak_live >= stats.live && stats.peak_reserved >= stats.reserved, "{stats:?}");
}

fn p1_length_is_what_was_asked_and_capacity_is_near(on: &Setup) {
    let bed = on.open();
    let mut sizes = vec![1, 2, 255, 256, 257, 511, 512, 513, 4095, 4097, 5000, 65_537, 300_001];
    sizes.extend([MIB - 257, MIB - 1, MIB, MIB + 1, MIB + 257, 3 * MIB + 17, 9 * MIB - 1, 33 * MIB + 1]);
    sizes.extend((1..200u64).map(|i| (i * i * i * 7919) % (2 * MIB) + 1));
    let mut kept = Vec::new();
    for (i, &n) in sizes.iter().enumerate() {
        let buffer = bed.device.alloc(n).unwrap();
        let floor = n.next_multiple_of(256);
        let most = if floor <= MIB { floor + floor / 8 } else { n + 255 };
        assert_eq!(buffer.len(), n);
        assert!(buffer.capacity() >= n && buffer.capacity() <= most, "{n} got {}", buffer.capacity());
        assert!(buffer.address().is_multiple_of(256));
        // What comes next is cut from holes as well as from fresh memory.
        if i % 3 != 0 {
            kept.push(buffer);
        }
    }
    for (i, a) in kept.iter().enumerate() {
        assert!(kept[..i].iter().all(|b| !overlap(a, b)), "{a:?}");
    }
    sound(&bed.device.pool().stats());
}

fn p1_nothing_costs_nothing(on: &Setup) {
    let bed = on.open();
    let mut arena = Arena::new(bed.device.pool());
    let mut all = vec![
        bed.device.alloc(0).unwrap(),
        bed.device.alloc(Request::new(0).zeroed().dedicated().label("none")).unwrap(),
        bed.device.alloc(Request::new(0).tag(Tag::Weights).exact()).unwrap(),
        bed.device.upload::<u64>(&[]).unwrap(),
        bed.session().alloc(0).unwrap(),
        arena.alloc(0).unwrap(),
    ];
    all.extend(bed.device.pool().alloc_batch(&[Request::new(0), Request::new(0)]).unwrap());
    let mut session = bed.session();
    let mut stage = session.stage("nothing");
    for buffer in &all {
        assert_eq!((buffer.len(), buffer.is_empty(), buffer.slice(..).unwrap().len()), (0, true, 0));
        assert!(buffer.slice(0..1).is_err());
        assert_eq!((buffer.read::<u64>().unwrap().len(), buffer.write::<f32>().unwrap().len()), (0, 0));
        buffer.copy_from::<u32>(&[]).unwrap();
        stage.fill(buffer, 1).unwrap();
        stage.copy(buffer, &all[0]).unwrap();
        bed.kernels().copy(&mut stage, buffer, &all[0]).unwrap();
    }
    stage.fence().unwrap().wait().unwrap();
    let stats = bed.device.pool().stats();
    assert_eq!((stats.reserved, stats.taken, stats.live, stats.driver_calls), (0, 0, 0, 0));
    assert_eq!(stats.in_use, all.len() as u64);
    drop((all, arena));
    assert_eq!((bed.device.pool().stats().in_use, driver_calls(&bed)), (0, 0));
}

fn p1_no_two_buffers_share_bytes(on: &Setup) {
    let bed = on.open();
    let len = |i: u64| (i * 7919) % 9000 + 1;
    let mut all: Vec<(u64, Buffer)> = (0..150).map(|i| (i, bed.device.alloc(len(i)).unwrap())).collect();
    // Half of them leave holes, which other sizes are cut from.
    all.retain(|(i, _)| i % 2 == 0);
    all.extend((200..350).map(|i| (i, bed.device.alloc(len(i)).unwrap())));
    for (i, buffer) in &all {
        buffer.copy_from(&pattern(*i, len(*i))).unwrap();
    }
    for (i, buffer) in &all {
        holds(buffer, &pattern(*i, len(*i)));
    }
}

fn p2_freed_memory_serves_what_fits(on: &Setup) {
    let bed = on.open();
    let first: Vec<_> = [1024, 2048, 1024].map(|n| bed.device.alloc(n).unwrap()).into();
    let ranges: Vec<_> = first.iter().map(|b| b.address()..b.address() + b.len()).collect();
    drop(first);
    let (before, calls) = (bed.device.pool().stats(), driver_calls(&bed));
    assert_eq!(before.in_use, 0);
    let again = [1024, 2048].map(|n| bed.device.alloc(n).unwrap());
    let after = bed.device.pool().stats();
    assert_eq!((after.in_use, after.live), (2, 3072));
    assert_eq!((after.driver_calls, driver_calls(&bed)), (before.driver_calls, calls));
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (2, 0));
    let covered =
        |b: &Buffer| ranges.iter().any(|r| r.start <= b.address() && b.address() + b.len() <= r.end);
    assert!(again.iter().all(covered), "{again:?} is other memory than {ranges:?}");
}

fn p3_clones_and_slices_keep_the_range(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.alloc(10_000).unwrap();
    let (start, tail) = (buffer.address(), buffer.slice(9_999..).unwrap().slice(0..0).unwrap());
    let clone = buffer.clone();
    let middle = clone.slice(100..200).unwrap();
    drop(buffer);
    for holder in [vec![middle, clone], vec![tail]] {
        let others: Vec<_> = (0..20).map(|_| bed.device.alloc(10_000).unwrap()).collect();
        assert!(others.iter().all(|other| other.address() != start), "somebody still holds {holder:?}");
        assert_eq!(bed.device.pool().stats().in_use, 21);
        drop((others, holder));
    }
    assert_eq!((bed.device.pool().stats().in_use, bed.device.pool().stats().live), (0, 0));
    let next: Vec<_> = (0..21).map(|_| bed.device.alloc(10_000).unwrap()).collect();
    assert!(next.iter().any(|next| next.address() == start), "nobody holds it any more");
}

fn p3_the_bytes_of_a_slice_outlive_its_buffer(on: &Setup) {
    let bed = on.open();
    let whole = pattern(1, 5001);
    let slice = bed.device.upload(&whole).unwrap().slice(1000..4000).unwrap().slice(1..2999).unwrap();
    for round in 0..30u8 {
        bed.device.alloc(5001).unwrap().write::<u8>().unwrap().fill(round);
    }
    holds(&slice, &whole[1001..3999]);
}

fn p5_trim_of_an_empty_pool_does_nothing_and_twice_is_once(on: &Setup) {
    let bed = on.open();
    let pool = bed.device.pool();
    for keep in [0, 1, u64::MAX] {
        assert_eq!(pool.trim(keep).unwrap(), 0);
    }
    assert_eq!((pool.stats(), driver_calls(&bed)), (PoolStats::default(), 0));
    drop([3 * MIB, 5 * MIB, 700, 70_000].map(|n| pool.alloc(n).unwrap()));
    let reserved = pool.stats().reserved;
    assert_eq!(pool.trim(u64::MAX).unwrap(), 0);
    assert_eq!(pool.trim(0).unwrap(), reserved);
    let (stats, calls) = (pool.stats(), driver_calls(&bed));
    assert_eq!((stats.reserved, stats.free, stats.largest_free), (0, 0, 0));
    assert_eq!(pool.trim(0).unwrap(), 0);
    assert_eq!((pool.stats(), driver_calls(&bed)), (stats, calls));
}

fn p6_a_batch_makes_one_residency_update(on: &Setup) {
    let bed = on.open();
    let (pool, residency, mut session) = (bed.device.pool(), bed.device.residency(), bed.session());
    let sizes = [10, 4 * MIB, 300 * KIB, 4 * MIB, 1, 0, 9 * MIB];
    let requests: Vec<_> =
        sizes.iter().enumerate().map(|(i, &n)| Request::new(n).tag(Tag::ALL[i % 5])).collect();
    let mut last = u64::MAX;
    for round in 0..6 {
        let before = (residency.driver_calls(), driver_calls(&bed));
        let batch = pool.alloc_batch(&requests).unwrap();
        assert!(batch.iter().map(Buffer::len).eq(sizes));
        assert!(batch.iter().map(Buffer::tag).eq(requests.iter().enumerate().map(|(i, _)| Tag::ALL[i % 5])));
        for (i, a) in batch.iter().enumerate().filter(|(_, a)| !a.is_empty()) {
            assert!(batch[..i].iter().all(|b| b.is_empty() || !overlap(a, b)));
        }
        assert_eq!((pool.stats().in_use, residency.count()), (7, 6));
        assert_eq!(residency.driver_calls(), before.0, "nothing reaches the driver before a submission");
        session.stage("tell").submit().unwrap();
        let grown = driver_calls(&bed) > before.1;
        last = residency.driver_calls() - before.0;
        assert_eq!(last, u64::from(grown), "round {round}");
        drop(batch);
    }
    assert_eq!(last, 0, "in the end all of it comes from free ranges");
}

/// Sizes of the tensors of a model, which add up to `total`.
fn weights(total: u64) -> Vec<u64> {
    let shapes = [58_720_257, 16_777_216, 4_194_304, 4_194_303, 16_777_215, 58_720_256, 58_720_255, 16_385];
    let mut sizes = Vec::new();
    let mut left = total;
    while left > 0 {
        let size = shapes[sizes.len() % shapes.len()].min(left);
        sizes.push(size);
        left -= size;
    }
    sizes
}

fn p7_weights_take_their_exact_size(on: &Setup) {
    let bed = on.open();
    // Where bytes are only counted, a large model; elsewhere one that fits beside other tests.
    let total = if on.bytes { 301_000_001 } else { 17_260_000_000 };
    let mut options = PoolOptions::default();
    options.poison = false;
    let pool = Pool::new(&bed.device, options).unwrap();
    let loaded: Vec<_> =
        weights(total).into_iter().map(|n| pool.alloc(Request::new(n).tag(Tag::Weights)).unwrap()).collect();
    let stats = pool.stats();
    assert_eq!(stats.live, total);
    assert!(loaded.iter().all(|w| w.capacity() == w.len().next_multiple_of(256)));
    let rounding = 255 * loaded.len() as u64;
    assert!(stats.reserved <= total + rounding + bed.device.caps().page, "{stats:?}");
    sound(&stats);
}

fn p11_retention_is_bounded(on: &Setup) {
    let bed = on.open();
    // The driver gives and takes in pages, or in slabs that hold many buffers.
    let unit = if bed.device.caps().page == 0 { 8 * MIB } else { bed.device.caps().page };
    for retain in [0, MIB, 5 * MIB, 20 * MIB] {
        for size in [100 * KIB, MIB, 3 * MIB, 11 * MIB] {
            // Few enough to be kept for their class, and too many for that.
            for count in [6, 66 * MIB / size] {
                let pool = Pool::new(&bed.device, PoolOptions::default().retain(retain)).unwrap();
                let all: Vec<_> = (0..count).map(|_| pool.alloc(size).unwrap()).collect();
                drop(all);
                let stats = pool.stats();
                let most = retain.next_multiple_of(unit);
                assert!(stats.free <= most, "{} of {retain} kept ({count} of {size})", stats.free);
                sound(&stats);
            }
        }
    }
}

fn p11_the_least_recently_used_goes_first(on: &Setup) {
    let bed = on.open();
    let pool = Pool::new(&bed.device, PoolOptions::default().retain(36 * MIB)).unwrap();
    // A live buffer between each two keeps them from becoming one piece.
    let mut all: Vec<_> =
        (0..12).map(|i| pool.alloc(if i % 2 == 0 { 10 * MIB } else { 4 * MIB }).unwrap()).collect();
    let fences: Vec<_> = (0..6).rev().map(|i| all.remove(2 * i + 1)).collect();
    // Neither by address nor by age of the allocation.
    let mut order = Vec::new();
    for i in [2, 4, 0, 3, 1] {
        order.push((all[i].address(), std::mem::replace(&mut all[i], fences[0].clone())));
    }
    let addresses: Vec<_> = order
        .into_iter()
        .map(|(address, buffer)| {
            drop(buffer);
            address
        })
        .collect();
    // 36 of the 50 MiB may stay, and 4.5 less once the bound was crossed.
    let kept: Vec<_> = (0..3).map(|_| pool.alloc(10 * MIB).unwrap()).collect();
    for buffer in &kept {
        assert!(addresses[2..].contains(&buffer.address()), "{:x} of {addresses:x?}", buffer.address());
    }
}

fn p11_one_large_return_leaves_the_useful_ones(on: &Setup) {
    let bed = on.open();
    let pool = Pool::new(&bed.device, PoolOptions::default().retain(48 * MIB)).unwrap();
    let useful = || (0..10).map(|_| pool.alloc(3 * MIB).unwrap()).collect::<Vec<_>>();
    let (small, large) = (useful(), pool.alloc(100 * MIB).unwrap());
    drop(small);
    drop(large);
    let calls = pool.stats().driver_calls;
    assert!(pool.stats().free <= 48 * MIB);
    let again = useful();
    assert_eq!(pool.stats().driver_calls, calls, "{again:?} was there already");
}

fn p12_zeroed_is_zero_also_in_used_memory(on: &Setup) {
    let bed = on.open();
    let sizes = [1, 255, 256, 4097, 100_003, MIB, 2 * MIB + 1, 5 * MIB + 3];
    for round in 0..3 {
        for n in sizes {
            let request = Request::new(n).zeroed();
            let buffer = bed.device.alloc(if round == 2 { request.dedicated() } else { request }).unwrap();
            is_filled(&buffer, 0);
            buffer.write::<u8>().unwrap().fill(0xFF);
        }
        // Trimmed pages come back as fresh ones.
        if round == 1 {
            bed.device.pool().trim(0).unwrap();
        }
        let held: Vec<_> = sizes.map(|n| bed.device.alloc(Request::new(n).zeroed()).unwrap()).into();
        held.iter().for_each(|buffer| is_filled(buffer, 0));
        held.iter().for_each(|buffer| buffer.write::<u8>().unwrap().fill(0xEE));
    }
    let mut arena = Arena::new(bed.device.pool());
    for _ in 0..5 {
        for n in sizes {
            let buffer = arena.alloc(Request::new(n).zeroed()).unwrap();
            is_filled(&buffer, 0);
            buffer.write::<u8>().unwrap().fill(0xDD);
        }
        let _ = arena.reset();
    }
}

fn p12_uninitialised_memory_shows(on: &Setup) {
    let bed = on.open();
    let mut options = PoolOptions::default();
    options.poison = true;
    let pool = Pool::new(&bed.device, options).unwrap();
    for n in [1, 300, 70_001, 2 * MIB] {
        for _ in 0..2 {
            let buffer = pool.alloc(n).unwrap();
            is_filled(&buffer, 0xCB);
            buffer.write::<u8>().unwrap().fill(0);
        }
    }
    let large = pool.alloc(7 * MIB + 5).unwrap();
    is_filled(&large.slice(..MIB).unwrap(), 0xCB);
    is_filled(&large.slice(6 * MIB + 5..).unwrap(), 0xCB);
}

fn p13_counters_follow_every_step(on: &Setup) {
    let bed = on.open();
    let pool = bed.device.pool();
    let a = pool.alloc(Request::new(1000).tag(Tag::Kv)).unwrap();
    let b = pool.alloc(Request::new(5 * MIB).tag(Tag::Weights)).unwrap();
    let c = pool.alloc(Request::new(700_001).dedicated().tag(Tag::Staging)).unwrap();
    let stats = pool.stats();
    sound(&stats);
    assert_eq!((stats.in_use, stats.live, stats.members), (3, 1000 + 5 * MIB + 700_001, 3));
    assert_eq!(stats.by_tag, [5 * MIB, 1000, 0, 700_001, 0]);
    assert_eq!((stats.hits + stats.misses, stats.peak_live), (3, stats.live));
    drop((b, c));
    let d = pool.alloc(Request::new(4 * MIB + 1).tag(Tag::Kv)).unwrap();
    let later = pool.stats();
    sound(&later);
    assert_eq!((later.in_use, later.live, later.members), (2, 1000 + 4 * MIB + 1, 2));
    assert_eq!((later.peak_live, later.hits - stats.hits, later.misses), (stats.live, 1, stats.misses));
    assert_eq!(later.worst_waste, 255, "4 MiB and a byte take a granule more");
    assert_eq!(later.splits - stats.splits, 1, "cut from the five");
    drop((a, d));
    let trims = pool.stats().trims;
    assert!(pool.trim(0).unwrap() > 0);
    let end = pool.stats();
    assert_eq!((end.in_use, end.live, end.taken, end.reserved, end.members), (0, 0, 0, 0, 0));
    assert_eq!((end.peak_reserved, end.trims - trims), (later.peak_reserved, 1));
    assert!(end.mean_waste() > 0.0 && end.mean_waste() < 256.0);
}

fn p13_a_snapshot_is_of_one_moment(on: &Setup) {
    let bed = on.open();
    let (pool, done) = (bed.device.pool(), AtomicBool::new(false));
    thread::scope(|threads| {
        for seed in 0..2u64 {
            let done = &done;
            threads.spawn(move || {
                let mut held = Vec::new();
                for i in 0..3000u64 {
                    let n = (i * 7919 + seed * 104_729) % 200_000;
                    held.push(pool.alloc(Request::new(n).tag(Tag::ALL[i as usize % 5])).unwrap());
                    if held.len() > 20 {
                        held.swap_remove((i % 20) as usize);
                    }
                }
                done.store(true, Ordering::Release);
            });
        }
        while !done.load(Ordering::Acquire) {
            sound(&pool.stats());
        }
    });
    let end = pool.stats();
    sound(&end);
    assert_eq!((end.in_use, end.live, end.taken, end.members), (0, 0, 0, 0));
}

fn p14_buffers_die_on_other_threads(on: &Setup) {
    fn shared<T: Send + Sync>() {}
    shared::<Device>();
    shared::<Pool>();
    shared::<Buffer>();
    fn sent<T: Send>() {}
    sent::<Session>();
    sent::<Arena>();

    let bed = on.open();
    let pool = bed.device.pool();
    let made: Vec<_> = (1..=64).map(|i| pool.alloc(i * 1000).unwrap()).collect();
    let copies = made.clone();
    thread::scope(|threads| {
        threads.spawn(move || drop(made));
        threads.spawn(move || drop(copies));
    });
    assert_eq!((pool.stats().in_use, pool.stats().live), (0, 0));
    let from_afar = thread::scope(|threads| threads.spawn(|| pool.alloc(64_000).unwrap()).join().unwrap());
    assert_eq!((pool.stats().in_use, from_afar.len()), (1, 64_000));
}

fn p14_threads_never_see_the_bytes_of_others(on: &Setup) {
    let bed = on.open();
    let (pool, start) = (bed.device.pool(), Barrier::new(4));
    thread::scope(|threads| {
        for seed in 1..=4u64 {
            let start = &start;
            threads.spawn(move || {
                start.wait();
                let mut held: Vec<(u8, Buffer)> = Vec::new();
                for i in 0..600u64 {
                    let buffer = pool.alloc((i * 31 * seed) % 5000 + 1).unwrap();
                    let byte = (i * 4 + seed) as u8;
                    buffer.write::<u8>().unwrap().fill(byte);
                    held.push((byte, buffer));
                    if held.len() > 8 {
                        let (byte, buffer) = held.swap_remove((i % 8) as usize);
                        is_filled(&buffer, byte);
                    }
                }
                held.iter().for_each(|(byte, buffer)| is_filled(buffer, *byte));
            });
        }
    });
    assert_eq!(pool.stats().in_use, 0);
}

/// One step: layers that need scratch, and a result that outlives the step.
fn step(session: &mut Session, arena: &mut Arena, layers: usize) -> Buffer {
    let result = session.alloc(4096).unwrap();
    for layer in 0..layers {
        let scratch = [16_384, 4096, 300 * KIB, 2 * MIB].map(|n| session.alloc(n).unwrap());
        let cut = [5000, 70_000].map(|n| arena.alloc(n).unwrap());
        let mut stage = session.stage("layer");
        for buffer in scratch.iter().chain(&cut) {
            stage.fill(buffer, layer as u8).unwrap();
        }
        stage.copy(&scratch[1], &result).unwrap();
        stage.submit().unwrap();
    }
    let _ = arena.reset();
    result
}

fn p15_a_steady_loop_asks_for_no_memory(on: &Setup) {
    let bed = on.open();
    let (mut session, mut arena) = (bed.session(), Arena::new(bed.device.pool()));
    let mut last = step(&mut session, &mut arena, 6);
    // The second step still learns what the first left: a plan for the arena, and what the first holds at the end.
    for _ in 0..3 {
        last = step(&mut session, &mut arena, 6);
        session.stage("end").fence().unwrap().wait().unwrap();
    }
    let calls = driver_calls(&bed);
    for _ in 0..40 {
        last = step(&mut session, &mut arena, 6);
        session.stage("end").fence().unwrap().wait().unwrap();
    }
    assert_eq!(driver_calls(&bed), calls, "{last:?}");
}

fn p15_a_steady_loop_computes_the_same_every_step(on: &Setup) {
    let bed = on.open();
    let kernels = bed.kernels();
    let ones = bed.device.upload(&[1u32; 1000]).unwrap();
    let mut session = bed.session();
    let mut calls = None;
    for step in 0..30 {
        let mut value = ones.clone();
        for _ in 0..7 {
            let sum = session.alloc(4000).unwrap();
            let mut stage = session.stage("double");
            kernels.add(&mut stage, &value, &ones, &sum).unwrap();
            stage.submit().unwrap();
            value = sum;
        }
        // The host looks only now and then, so that steps overlap.
        if step % 3 == 0 {
            assert_eq!(value.to_vec::<u32>().unwrap(), [8; 1000]);
        }
        let now = driver_calls(&bed);
        assert_eq!(*calls.get_or_insert(now), now, "step {step}");
    }
}
