//! The clauses H of the host pool, seen from outside: one test or more a clause, named by it.
//!
//! Tests of reuse look at addresses and data, not at counters alone. Nothing here reaches into the pool's rooms.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "H1's only unsafe step is the caller's assume_init")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use forebay_device::{Error, HostElement, HostPool, HostPoolOptions, HostVec, Result, UninitHostVec};
use half::{bf16, f16};
use num_complex::{Complex, Complex32, Complex64};

const MIB: usize = 1 << 20;

fn unbounded() -> HostPool {
    HostPool::new(HostPoolOptions::unbounded())
}

fn capped(bytes: usize) -> HostPool {
    HostPool::new(HostPoolOptions::with_max_retained_bytes(bytes))
}

fn at<T: HostElement>(vector: &HostVec<T>) -> usize {
    vector.as_ptr().addr()
}

/// Returns buffers of these sizes to the pool, in this order.
fn keep(pool: &HostPool, sizes: &[usize]) -> Result<()> {
    let held: Result<Vec<_>> = sizes.iter().map(|&size| pool.acquire_uninit::<u8>(size)).collect();
    held?.into_iter().for_each(drop);
    Ok(())
}

/// The capacities the pool keeps, found by taking everything out, newest first where equal.
fn kept(pool: &HostPool, candidates: &[usize]) -> Result<Vec<usize>> {
    let (mut found, mut held) = (Vec::new(), Vec::new());
    for &size in candidates {
        let before = pool.len();
        let taken = pool.acquire_uninit::<u8>(size)?;
        if pool.len() < before && taken.capacity() == size {
            found.push(size);
        }
        held.push(taken);
    }
    Ok(found)
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn h1_uninit_elements_get_their_values_from_the_caller() -> Result<()> {
    let pool = unbounded();
    let mut raw: UninitHostVec<u32> = pool.acquire_uninit(37)?;
    assert_eq!(raw.len(), 37);
    for (i, element) in raw.iter_mut().enumerate() {
        element.write(i as u32 * 3);
    }
    // SAFETY: the loop wrote every element.
    let vector = unsafe { raw.assume_init() };
    assert!(vector.iter().enumerate().all(|(i, &value)| value == i as u32 * 3));
    assert_eq!(*pool.acquire_uninit::<i8>(3)?.copy_from(&[1, -2, 3])?, [1, -2, 3]);
    assert!(matches!(
        pool.acquire_uninit::<i16>(3)?.copy_from(&[1, 2]),
        Err(Error::OutOfBounds { start: 0, end: 4, len: 6 })
    ));
    assert_eq!(*pool.acquire_uninit::<f64>(2)?.fill(2.5), [2.5, 2.5]);
    Ok(())
}

#[test]
fn h1_zeroed_is_zero_even_from_reused_memory() -> Result<()> {
    let pool = unbounded();
    for bytes in [8, 4096, 100_008, 3 * MIB, 5 * MIB + 8] {
        let fresh = pool.acquire_zeroed::<u64>(bytes / 8)?;
        assert!(fresh.iter().all(|&value| value == 0), "{bytes}");
        drop(fresh);
        let dirty = pool.acquire_uninit::<u8>(bytes)?.fill(0xff);
        let place = at(&dirty);
        drop(dirty);
        let reused = pool.acquire_zeroed::<u64>(bytes / 8)?;
        assert_eq!(at(&reused), place, "{bytes}");
        assert!(reused.iter().all(|&value| value == 0), "{bytes}");
    }
    Ok(())
}

#[test]
fn h1_with_capacity_has_length_zero_and_room() -> Result<()> {
    let pool = unbounded();
    drop(pool.acquire_uninit::<u8>(400)?.fill(9));
    let mut vector = pool.with_capacity::<f32>(90)?;
    assert_eq!((vector.len(), vector.capacity()), (0, 100));
    let place = at(&vector);
    for i in 0..100 {
        vector.push(i as f32)?;
    }
    assert!(matches!(vector.push(0.0), Err(Error::OutOfBounds { start: 400, end: 404, len: 400 })));
    assert!(vector.extend_from_slice(&[]).is_ok() && at(&vector) == place);
    assert!(vector.iter().enumerate().all(|(i, &value)| value == i as f32));
    vector.truncate(2);
    vector.truncate(50);
    assert!(vector.extend_from_slice(&[0.0; 99]).is_err());
    vector.extend_from_slice(&[7.0, 8.0])?;
    assert_eq!(*vector, [0.0, 1.0, 7.0, 8.0]);
    vector.clear();
    assert!(vector.is_empty() && vector.capacity() == 100);
    Ok(())
}

#[test]
fn h1_no_elements_take_nothing() -> Result<()> {
    let pool = unbounded();
    keep(&pool, &[1, 64 * MIB])?;
    let before = pool.stats();
    let (a, mut b, c) =
        (pool.acquire_uninit::<f64>(0)?, pool.with_capacity::<f32>(0)?, pool.acquire_zeroed::<u8>(0)?);
    assert!(a.is_empty() && b.is_empty() && c.is_empty());
    assert_eq!((a.capacity(), b.capacity(), c.capacity()), (0, 0, 0));
    assert!(b.push(1.0).is_err());
    assert_eq!((a.as_ptr().addr() % 64, at(&b) % 64, at(&c) % 64), (0, 0, 0));
    assert_eq!(pool.stats(), before);
    drop((a, b, c));
    assert_eq!(pool.stats(), before);
    Ok(())
}

fn round_trip<T: HostElement + PartialEq + std::fmt::Debug>(pool: &HostPool, values: [T; 3]) -> Result<()> {
    let zero = pool.acquire_zeroed::<T>(3)?;
    assert!(zero.iter().all(|value| *value == T::zeroed()));
    assert_eq!(*pool.acquire_uninit::<T>(3)?.copy_from(&values)?, values);
    let mut grown = pool.with_capacity::<T>(3)?;
    grown.extend_from_slice(&values)?;
    assert_eq!(*grown, values);
    assert_eq!(at(&grown) % 64, 0);
    Ok(())
}

#[test]
fn h2_every_element_type_works_and_all_share_the_bytes() -> Result<()> {
    let pool = unbounded();
    round_trip(&pool, [1.5f64, -2.0, f64::MAX])?;
    round_trip(&pool, [1.5f32, -2.0, f32::INFINITY])?;
    round_trip(&pool, [1.5, -2.0, 65504.0].map(f16::from_f32))?;
    round_trip(&pool, [1.5, -2.0, 1e30].map(bf16::from_f32))?;
    round_trip(&pool, [1i64, -2, i64::MIN])?;
    round_trip(&pool, [1i32, -2, i32::MIN])?;
    round_trip(&pool, [1i16, -2, i16::MIN])?;
    round_trip(&pool, [1i8, -2, i8::MIN])?;
    round_trip(&pool, [1u64, 2, u64::MAX])?;
    round_trip(&pool, [1u32, 2, u32::MAX])?;
    round_trip(&pool, [1u16, 2, u16::MAX])?;
    round_trip(&pool, [1u8, 2, u8::MAX])?;
    round_trip(&pool, [true, false, true])?;
    round_trip::<Complex32>(&pool, [Complex::new(1.0, 2.0); 3])?;
    round_trip::<Complex64>(&pool, [Complex::new(-1.0, 2.0); 3])?;
    let place = at(&pool.acquire_zeroed::<f64>(1000)?);
    assert_eq!(at(&pool.acquire_zeroed::<i8>(8000)?), place);
    assert_eq!(at(&pool.acquire_zeroed::<Complex64>(500)?), place);
    Ok(())
}

#[test]
fn h3_asking_150_of_100_200_300_gives_200() -> Result<()> {
    fn ask<T: HostElement>() -> Result<()> {
        let pool = unbounded();
        let held = [100, 200, 300].map(|n| pool.acquire_uninit::<T>(n));
        let places = held.map(|held| held.map(|held| held.as_ptr().addr()));
        let got = pool.acquire_uninit::<T>(150)?;
        assert_eq!((got.capacity(), got.as_ptr().addr()), (200, places[1].clone()?));
        assert_eq!(pool.acquire_uninit::<T>(149)?.capacity(), 149);
        Ok(())
    }
    ask::<u8>()?;
    ask::<f16>()?;
    ask::<f64>()?;
    ask::<Complex64>()
}

#[test]
fn h3_one_element_never_takes_a_large_buffer() -> Result<()> {
    let pool = unbounded();
    keep(&pool, &[1 << 30, MIB, 64, 2])?;
    let one = pool.acquire_uninit::<u8>(1)?;
    assert_eq!((one.capacity(), pool.len()), (1, 4));
    Ok(())
}

/// Whatever way buffers took through magazine and depot, one thread gets what the rule says.
#[test]
fn h3_the_rule_holds_over_random_histories() -> Result<()> {
    for (seed, most, steps) in [(1, 64, 4000), (2, 5000, 6000), (3, 3 * MIB, 1500)] {
        let (pool, mut draw) = (unbounded(), Draw(0x9E37_79B9_7F4A_7C15 + seed));
        let (mut free, mut held) = (Vec::<usize>::new(), Vec::new());
        for step in 0..steps {
            if held.is_empty() || draw.below(100) < 52 {
                let asked = 1 + draw.below(most);
                let fits = free.iter().copied().filter(|&c| asked <= c && 4 * (c - asked) <= c);
                let rule = fits.min();
                let got = pool.acquire_uninit::<u8>(asked)?;
                // From 4 KiB on, what is taken from the system is whole lines of the cache.
                let fresh = if asked < 4096 { asked } else { asked.next_multiple_of(64) };
                assert_eq!(got.capacity(), rule.unwrap_or(fresh), "seed {seed} step {step} asked {asked}");
                if let Some(taken) = rule {
                    let i = free.iter().position(|&c| c == taken);
                    i.map(|i| free.swap_remove(i));
                }
                held.push(got);
            } else {
                let gone = held.swap_remove(draw.below(held.len()));
                free.push(gone.capacity());
            }
            let sum: usize = free.iter().sum();
            assert_eq!((pool.len(), pool.retained_bytes()), (free.len(), sum), "seed {seed} step {step}");
        }
    }
    Ok(())
}

#[test]
fn h3_large_buffers_are_found_in_other_threads_magazines() -> Result<()> {
    let pool = unbounded();
    let (kept, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|s| {
        let other = s.spawn(|| {
            let vector = pool.acquire_zeroed::<u8>(4 * MIB);
            let place = vector.map(|vector| at(&vector));
            kept.wait();
            done.wait();
            place
        });
        kept.wait();
        let mine =
            pool.acquire_uninit::<u8>(4 * MIB - 5).map(|vector| (vector.as_ptr().addr(), vector.capacity()));
        done.wait();
        let place = other.join().map_err(|_| Error::Cancelled)??;
        assert_eq!(mine?, (place, 4 * MIB));
        Ok(())
    })
}

#[test]
fn h4_the_default_cap_is_100_mib_and_others_are_kept_as_given() -> Result<()> {
    assert_eq!(HostPool::default().max_retained_bytes(), 100 * MIB);
    let none = capped(0);
    keep(&none, &[1, 100, 3 * MIB])?;
    assert_eq!((none.len(), none.retained_bytes(), none.stats().in_use), (0, 0, 0));
    let all = unbounded();
    keep(&all, &[200 * MIB, 100])?;
    assert_eq!(all.retained_bytes(), 200 * MIB + 100);
    let exact = capped(1000);
    keep(&exact, &[400, 600])?;
    assert_eq!((exact.len(), exact.retained_bytes()), (2, 1000));
    Ok(())
}

#[test]
fn h4_the_variable_sets_the_cap_and_nonsense_leaves_the_default() {
    let cap = |value: &'static str| {
        let lookup = |name: &str| (name == "FOREBAY_HOST_POOL_MAX_BYTES").then(|| value.to_string());
        HostPool::new(HostPoolOptions::from_vars(lookup)).max_retained_bytes()
    };
    assert_eq!((cap("12345"), cap("0"), cap(" 7 \n")), (12345, 0, 7));
    for nonsense in ["", "a", "-1", "1.5", "1k", "99999999999999999999999"] {
        assert_eq!(cap(nonsense), 100 * MIB, "{nonsense:?}");
    }
    assert_eq!(HostPoolOptions::from_vars(|_| None), HostPoolOptions::default());
}

#[test]
fn h4_lowering_the_cap_evicts_the_oldest_here_and_in_other_threads() -> Result<()> {
    let pool = unbounded();
    let (kept, lowered) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|s| {
        let other = s.spawn(|| {
            let result = keep(&pool, &[1000, 2000]);
            kept.wait();
            lowered.wait();
            result.map(|()| pool.acquire_uninit::<u8>(2000).map(|vector| vector.len()))
        });
        kept.wait();
        let result = keep(&pool, &[500, 3000, 700]);
        let before = pool.retained_bytes();
        pool.set_max_retained_bytes(3800);
        let some = pool.stats();
        pool.set_max_retained_bytes(0);
        let none = pool.stats();
        lowered.wait();
        assert_eq!(before, 7200);
        assert_eq!((some.retained_bytes, some.retained, some.evicted), (3700, 2, 3));
        assert_eq!((none.retained_bytes, none.retained, none.evicted), (0, 0, 5));
        assert_eq!(other.join().map_err(|_| Error::Cancelled)???, 2000);
        result
    })?;
    assert_eq!((pool.len(), pool.stats().in_use, pool.max_retained_bytes()), (0, 0, 0));
    Ok(())
}

#[test]
fn h4_the_cap_bounds_all_threads_together_at_every_moment() -> Result<()> {
    const CAP: usize = MIB;
    let (pool, stop) = (capped(CAP), AtomicBool::new(false));
    thread::scope(|s| {
        let workers: Vec<_> = (0..4u64)
            .map(|id| {
                let pool = &pool;
                s.spawn(move || -> Result<()> {
                    let (mut draw, mut held) = (Draw(id + 77), Vec::new());
                    for _ in 0..20_000 {
                        if held.len() < 20 && draw.below(2) == 0 {
                            held.push(pool.acquire_uninit::<u8>(1 + draw.below(CAP / 6))?);
                        } else if !held.is_empty() {
                            held.swap_remove(draw.below(held.len()));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let watch = s.spawn(|| {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                most = most.max(pool.retained_bytes());
            }
            most
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(watch.join().is_ok_and(|most| most <= CAP && most > CAP / 4));
        results.into_iter().try_for_each(|result| result.map_err(|_| Error::Cancelled)?)
    })?;
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.in_use_bytes), (0, 0));
    assert!(stats.retained_bytes <= CAP && stats.hits > 0 && stats.evicted > 0, "{stats:?}");
    Ok(())
}

#[test]
fn h4_idle_room_of_one_thread_serves_another() -> Result<()> {
    let pool = capped(1000);
    let (taken, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|s| {
        let other = s.spawn(|| {
            let result = keep(&pool, &[700]);
            let held = pool.acquire_uninit::<u8>(700);
            taken.wait();
            done.wait();
            result.and(held.map(drop))
        });
        taken.wait();
        let result = keep(&pool, &[400, 450]);
        let stats = pool.stats();
        done.wait();
        assert_eq!((stats.retained, stats.retained_bytes, stats.evicted), (2, 850, 0));
        other.join().map_err(|_| Error::Cancelled)??;
        result
    })?;
    assert_eq!((pool.len(), pool.retained_bytes()), (1, 700));
    Ok(())
}

#[test]
fn h5_an_over_large_return_is_freed_and_flushes_nothing() -> Result<()> {
    let pool = capped(100 * MIB);
    let small: Vec<usize> = (1..=1000).collect();
    keep(&pool, &small)?;
    let before = pool.stats();
    keep(&pool, &[101 * MIB])?;
    let after = pool.stats();
    assert_eq!((after.retained, after.retained_bytes), (before.retained, before.retained_bytes));
    assert_eq!((after.evicted, after.refused), (0, 1));
    assert_eq!(kept(&pool, &small)?, small);
    Ok(())
}

#[test]
fn h5_eviction_is_by_age() -> Result<()> {
    let sizes: Vec<usize> = (0..400).map(|i| 1000 + (i * 7919) % 4001).collect();
    for cap in [5000, 50_000, 300_000] {
        let pool = capped(cap);
        let mut rule = std::collections::VecDeque::new();
        for &size in &sizes {
            let before = pool.len();
            let taken = pool.acquire_uninit::<u8>(size)?;
            if pool.len() < before {
                let newest = rule.iter().rposition(|&other| other == taken.capacity());
                assert!(newest.and_then(|i| rule.remove(i)).is_some());
            }
            rule.push_back(taken.capacity());
            drop(taken);
            while rule.iter().sum::<usize>() > cap {
                rule.pop_front();
            }
            assert_eq!((pool.len(), pool.retained_bytes()), (rule.len(), rule.iter().sum()), "cap {cap}");
        }
        let rule: Vec<usize> = rule.into();
        assert_eq!(kept(&pool, &rule)?, rule, "cap {cap}");
    }
    Ok(())
}

#[test]
fn h6_the_counts_are_exact() -> Result<()> {
    let pool = capped(10_000);
    assert!(pool.is_empty() && pool.max_retained_bytes() == 10_000);
    let (a, b) = (pool.acquire_zeroed::<f32>(100)?, pool.acquire_uninit::<u16>(31)?);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.in_use_bytes, stats.misses, stats.hits), (2, 462, 2, 0));
    drop(a);
    drop(b);
    let stats = pool.stats();
    assert_eq!((stats.retained, stats.retained_bytes, stats.in_use_bytes), (2, 462, 0));
    for _ in 0..5 {
        drop(pool.acquire_uninit::<f32>(100)?);
        drop(pool.acquire_uninit::<u8>(390)?);
    }
    assert_eq!((pool.stats().hits, pool.stats().misses), (10, 2));
    pool.set_max_retained_bytes(500);
    assert_eq!((pool.max_retained_bytes(), pool.len()), (500, 2));
    pool.clear();
    pool.clear();
    assert_eq!((pool.len(), pool.retained_bytes(), pool.is_empty()), (0, 0, true));
    drop(pool.acquire_uninit::<f32>(100)?);
    assert_eq!((pool.stats().misses, pool.retained_bytes()), (3, 400));
    Ok(())
}

#[test]
fn h6_clear_reaches_other_threads_magazines() -> Result<()> {
    let pool = unbounded();
    let (kept, cleared) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|s| {
        let other = s.spawn(|| {
            let result = keep(&pool, &[10, 20, 3 * MIB]);
            kept.wait();
            cleared.wait();
            result.and_then(|()| keep(&pool, &[10]))
        });
        kept.wait();
        let before = pool.retained_bytes();
        pool.clear();
        let after = pool.stats();
        cleared.wait();
        assert_eq!((before, after.retained, after.retained_bytes), (30 + 3 * MIB, 0, 0));
        other.join().map_err(|_| Error::Cancelled)?
    })?;
    assert_eq!(pool.retained_bytes(), 10);
    Ok(())
}

#[test]
fn h7_a_buffer_comes_back_from_a_panic() -> Result<()> {
    let pool = unbounded();
    let place = at(&pool.acquire_zeroed::<f32>(25)?);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _held = pool.acquire_zeroed::<f32>(20);
        let _filled = pool.acquire_uninit::<u8>(7).map(|raw| raw.fill_with(|i| [1, 2, 3][i]));
    }));
    assert!(caught.is_err());
    assert_eq!((pool.len(), pool.stats().in_use), (2, 0));
    assert_eq!(at(&pool.acquire_zeroed::<f32>(25)?), place);
    Ok(())
}

#[test]
fn h7_threads_never_share_bytes_and_every_buffer_comes_back() -> Result<()> {
    let pool = capped(8 * MIB);
    let (give, take) = mpsc::channel::<(u64, HostVec<u64>)>();
    thread::scope(|s| {
        let makers: Vec<_> = (1..=3u64)
            .map(|id| {
                let (pool, give) = (pool.clone(), give.clone());
                s.spawn(move || -> Result<()> {
                    let mut draw = Draw(id * 31);
                    for round in 0..3000 {
                        let mark = id << 32 | round;
                        let mut mine = pool.acquire_uninit::<u64>(1 + draw.below(3000))?.fill(mark);
                        let zero = pool.acquire_zeroed::<u64>(1 + draw.below(300))?;
                        mine[0] = mark;
                        assert!(
                            zero.iter().all(|&value| value == 0) && mine.iter().all(|&value| value == mark)
                        );
                        if draw.below(3) == 0 {
                            give.send((mark, mine)).map_err(|_| Error::Cancelled)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        drop(give);
        let taker =
            s.spawn(move || take.iter().all(|(mark, vector)| vector.iter().all(|&value| value == mark)));
        let results: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
        assert!(taker.join().is_ok_and(|whole| whole));
        results.into_iter().try_for_each(|result| result.map_err(|_| Error::Cancelled)?)
    })?;
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.in_use_bytes), (0, 0));
    assert!(stats.retained > 0 && stats.retained_bytes <= 8 * MIB);
    Ok(())
}

#[test]
fn h7_a_dead_threads_buffers_serve_the_living() -> Result<()> {
    let pool = unbounded();
    let theirs = thread::scope(|s| {
        s.spawn(|| pool.acquire_zeroed::<f32>(1000).map(|vector| at(&vector)))
            .join()
            .map_err(|_| Error::Cancelled)?
    })?;
    assert_eq!(at(&pool.acquire_zeroed::<f32>(1000)?), theirs);
    Ok(())
}

#[test]
fn h7_vectors_outlive_their_pool_and_pools_see_only_their_own() -> Result<()> {
    let (one, other) = (unbounded(), unbounded());
    drop(one.acquire_uninit::<u8>(5000)?.fill(1));
    drop(other.acquire_zeroed::<u8>(5000)?);
    assert_eq!((one.len(), other.len(), other.stats().hits), (1, 1, 0));
    let mut vector = one.acquire_uninit::<u8>(5000)?.fill(7);
    let clone = one.clone();
    drop(one);
    drop(clone.acquire_zeroed::<u8>(64)?);
    assert_eq!(clone.len(), 1);
    drop(clone);
    vector[4999] = 8;
    assert!(vector[..4999].iter().all(|&value| value == 7) && vector[4999] == 8);
    thread::scope(|s| s.spawn(move || drop(vector)).join()).map_err(|_| Error::Cancelled)?;
    assert_eq!(other.len(), 1);
    Ok(())
}

#[test]
fn h7_elements_are_aligned_to_64_bytes() -> Result<()> {
    let pool = unbounded();
    for n in [1, 3, 63, 65, 1000, 4097, 100_001, MIB + 1, 3 * MIB + 5] {
        let (a, b) = (pool.acquire_zeroed::<u8>(n)?, pool.acquire_zeroed::<Complex64>(n)?);
        assert_eq!((at(&a) % 64, at(&b) % 64), (0, 0), "{n}");
    }
    Ok(())
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn h7_large_buffers_ask_for_huge_pages() -> Result<()> {
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return Ok(()) };
    if !maps.contains("VmFlags:") {
        eprintln!("left out: this kernel does not list flags of mappings");
        return Ok(());
    }
    let vector = unbounded().acquire_zeroed::<u8>(7 * MIB)?;
    assert_eq!(at(&vector) % (2 * MIB), 0);
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let start = format!("{:x}-", at(&vector));
    let flags = maps.split(&start).nth(1).and_then(|rest| rest.split("VmFlags:").nth(1)?.lines().next());
    assert!(flags.is_some_and(|flags| flags.contains(" hg")), "{flags:?}");
    Ok(())
}

#[test]
fn h7_absurd_sizes_are_an_error_and_leave_the_pool_usable() -> Result<()> {
    let pool = unbounded();
    for n in [usize::MAX, usize::MAX / 8, usize::MAX / 8 + 1, isize::MAX as usize] {
        assert!(matches!(pool.acquire_uninit::<f64>(n), Err(Error::TooLarge { .. })), "{n}");
        assert!(matches!(pool.acquire_zeroed::<Complex64>(n), Err(Error::TooLarge { .. })), "{n}");
    }
    assert!(matches!(pool.with_capacity::<u8>(isize::MAX as usize / 2), Err(Error::Exhausted(_))));
    assert_eq!((pool.len(), pool.stats().in_use), (0, 0));
    assert_eq!(pool.acquire_zeroed::<f64>(3)?.len(), 3);
    Ok(())
}

#[test]
fn h7_the_types_are_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    check::<HostPool>();
    check::<HostVec<f32>>();
    check::<UninitHostVec<bool>>();
    check::<HostVec<Complex64>>();
}
