//! The device pool beside offset-allocator, cubecl's pool, a best fit over B-trees, and tenferro's host pools: what it
//! costs to say where bytes lie, with no device behind it.
//!
//! Groups: the random mixture that RMM's benchmark plays, and the buffers of a decoding step, all held to its end, each
//! from the first round on (cold) and with memory that stays (steady). Nothing is given back between rounds.
//! Never: memory that is touched. Next rooms: `cubecl` and `best_fit`, the peers that need a device or are our own words.

use std::{hint::black_box, io};

use bench::{
    clock::{Contender, rounds, thread_ns},
    record::Record,
    step,
};
use forebay_device::{Arena, Buffer, Device, DeviceOptions, NullOptions, Pool, PoolOptions};
use offset_allocator::{Allocation, Allocator};
use tenferro_cpu::linalg_interop as first;
use tenferro_cpu_basic::buffer_pool as later;

use crate::{
    best_fit::BestFit,
    cubecl::{self, Cubecl},
};

const OFFSET: &str = "offset-allocator 0.2.0";
const TREES: &str = "best fit over B-trees";
const ADAPTIVE: &str = "cubecl-server 0.11.3 adaptive";
const EXCLUSIVE: &str = "cubecl-server 0.11.3 exclusive";

const ROUNDS: usize = 21;
const COLD_ROUNDS: usize = 9;
const BATCH_NS: u64 = 2_000_000;
/// The unit of allocation.
const GRANULE: u64 = 256;
/// Memory of the simulated device, and of the peers.
const MEMORY: u64 = 64 << 30;

pub fn run(record: &mut Record) -> io::Result<()> {
    let options = DeviceOptions::null();
    let (device, _) = NullOptions::default().memory(MEMORY).backed(false).open(&options).map_err(failed)?;
    for count in [1_000, 10_000, 100_000] {
        mix(record, &device, count)?;
    }
    steady_step(record, &device)?;
    cold_step(record, &device)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// A pool that keeps all it ever took, and fills nothing.
fn pool_of(device: &Device) -> io::Result<Pool> {
    let mut options = PoolOptions::default().retain(u64::MAX);
    options.poison = false;
    Pool::new(device, options).map_err(failed)
}

/// One call of a mixture.
#[derive(Clone, Copy)]
enum Call {
    Alloc(u64),
    /// The held buffer of this number goes, and the last one takes its place.
    Free(usize),
}

/// RMM's mixture: `count` buffers of up to a mebibyte, all sizes alike; 73 calls of 100 take one while there are any
/// left and fewer than 16,000 MiB are held, all others give a random one back; at the end whatever is left goes.
fn mixture(count: usize) -> Vec<Call> {
    const MOST: u64 = 16_000 << 20;
    let mut dice = 0x5EED_u64;
    let mut below = |n: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % n
    };
    let (mut calls, mut held, mut bytes, mut taken) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..2 * count {
        let size = 1 + below(1 << 20);
        let wants = below(100) < 73 && taken < count && bytes + size < MOST;
        if held.is_empty() || wants {
            calls.push(Call::Alloc(size));
            held.push(size);
            (bytes, taken) = (bytes + size, taken + 1);
        } else {
            let at = below(held.len() as u64) as usize;
            calls.push(Call::Free(at));
            bytes -= held.swap_remove(at);
        }
    }
    calls.extend((0..held.len()).rev().map(Call::Free));
    calls
}

/// Plays a mixture. What cannot be served leaves the rest wrong, so it ends the run.
fn play<H>(
    calls: &[Call],
    held: &mut Vec<H>,
    mut alloc: impl FnMut(u64) -> Option<H>,
    mut free: impl FnMut(H),
) {
    for call in calls {
        match *call {
            Call::Alloc(bytes) => match alloc(bytes) {
                Some(buffer) => held.push(buffer),
                None => panic!("{bytes} bytes were not served"),
            },
            Call::Free(at) => free(held.swap_remove(at)),
        }
    }
    black_box(held);
}

fn mix(record: &mut Record, device: &Device, count: usize) -> io::Result<()> {
    let calls = mixture(count);
    let calls = calls.as_slice();
    let pool = pool_of(device)?;
    let mut offsets = offset_allocator(count);
    let mut trees = BestFit::new(MEMORY / GRANULE);
    let (mut adaptive, mut exclusive) = (Cubecl::adaptive(), Cubecl::exclusive());
    let mut buffers: Vec<Buffer> = Vec::with_capacity(count);
    let mut offset_held: Vec<Allocation> = Vec::with_capacity(count);
    let mut tree_held: Vec<(u64, u64)> = Vec::with_capacity(count);
    let (mut adaptive_held, mut exclusive_held) = (Vec::with_capacity(count), Vec::with_capacity(count));

    let start = thread_ns();
    play(calls, &mut buffers, |bytes| pool.alloc(bytes).ok(), drop);
    let cold = (thread_ns() - start) as f64 / 1e6;

    let mut contenders = vec![
        Contender::new("forebay Pool", || play(calls, &mut buffers, |bytes| pool.alloc(bytes).ok(), drop)),
        Contender::new(OFFSET, || {
            let offsets = std::cell::RefCell::new(&mut offsets);
            play(
                calls,
                &mut offset_held,
                |bytes| offsets.borrow_mut().allocate(granules(bytes) as u32),
                |held| offsets.borrow_mut().free(held),
            );
        }),
        Contender::new(TREES, || {
            let trees = std::cell::RefCell::new(&mut trees);
            play(
                calls,
                &mut tree_held,
                |bytes| trees.borrow_mut().alloc(granules(bytes)).map(|start| (start, granules(bytes))),
                |(start, len)| trees.borrow_mut().free(start, len),
            );
        }),
    ];
    // Its time grows with the square of what is held.
    if count <= 10_000 {
        contenders.push(Contender::new(ADAPTIVE, || {
            play(calls, &mut adaptive_held, |bytes| adaptive.reserve(bytes), drop);
        }));
        contenders.push(Contender::new(EXCLUSIVE, || {
            play(calls, &mut exclusive_held, |bytes| exclusive.reserve(bytes), drop);
        }));
    }
    // Long enough that whoever played before has left nothing in the caches that counts.
    let batch = if count > 10_000 { 1 } else { 10 * BATCH_NS };
    let all = rounds(&mut contenders, ROUNDS, batch);
    let case = format!("{count} x 1 MiB");
    record.samples("mix, cold", &case, "forebay Pool", "ms", &[cold])?;
    for (contender, samples) in contenders.iter().zip(all) {
        let samples: Vec<f64> = samples.iter().map(|ns| ns / 1e6).collect();
        record.samples("mix", &case, contender.name, "ms", &samples)?;
    }
    Ok(())
}

fn granules(bytes: u64) -> u64 {
    bytes.div_ceil(GRANULE)
}

fn offset_allocator(most: usize) -> Allocator {
    Allocator::with_max_allocs((MEMORY / GRANULE) as u32, 4 * most as u32 + 1024)
}

/// What cannot be served would make the rest wrong, so it ends the run.
fn served(step: forebay_device::Result<()>) {
    if let Err(error) = step {
        panic!("a step was not served: {error}");
    }
}

/// Takes all buffers of a step from a pool, then drops them.
fn pool_step(pool: &Pool, sizes: &[u64], held: &mut Vec<Buffer>) -> forebay_device::Result<()> {
    for &bytes in sizes {
        held.push(pool.alloc(bytes)?);
    }
    black_box(&held);
    held.clear();
    Ok(())
}

fn arena_step(arena: &mut Arena, sizes: &[u64], held: &mut Vec<Buffer>) -> forebay_device::Result<()> {
    for &bytes in sizes {
        held.push(arena.alloc(bytes)?);
    }
    black_box(&held);
    held.clear();
    black_box(arena.reset());
    Ok(())
}

fn scope_step(arena: &mut Arena, sizes: &[u64]) -> forebay_device::Result<()> {
    arena.scope(|scope| {
        let mut held = Vec::with_capacity(sizes.len());
        for &bytes in sizes {
            held.push(scope.alloc(bytes)?);
        }
        black_box(&held);
        Ok(())
    })
}

fn offset_step(offsets: &mut Allocator, sizes: &[u64], held: &mut Vec<Allocation>) {
    held.extend(sizes.iter().filter_map(|&bytes| offsets.allocate(granules(bytes) as u32)));
    black_box(&held);
    held.drain(..).for_each(|allocation| offsets.free(allocation));
}

fn tree_step(trees: &mut BestFit, sizes: &[u64], held: &mut Vec<(u64, u64)>) {
    held.extend(sizes.iter().filter_map(|&bytes| Some((trees.alloc(granules(bytes))?, granules(bytes)))));
    black_box(&held);
    held.drain(..).for_each(|(start, len)| trees.free(start, len));
}

fn cubecl_step(pool: &mut Cubecl, sizes: &[u64], held: &mut Vec<cubecl::Held>) {
    held.extend(sizes.iter().filter_map(|&bytes| pool.reserve(bytes)));
    black_box(&held);
    held.clear();
}

fn later_step(pool: &mut later::BufferPool, sizes: &[u64], held: &mut Vec<Vec<f32>>) {
    held.extend(sizes.iter().map(|&bytes| pool.acquire_with_capacity::<f32>(bytes as usize / 4)));
    black_box(&held);
    held.drain(..).for_each(|vector| <f32 as later::PoolScalar>::pool_release(pool, vector));
}

fn first_step(pool: &mut first::BufferPool, sizes: &[u64], held: &mut Vec<Vec<f32>>) {
    for &bytes in sizes {
        // SAFETY: the elements are never read.
        held.push(unsafe { <f32 as first::PoolScalar>::pool_acquire(pool, bytes as usize / 4) });
    }
    black_box(&held);
    held.drain(..).for_each(|vector| <f32 as first::PoolScalar>::pool_release(pool, vector));
}

fn steady_step(record: &mut Record, device: &Device) -> io::Result<()> {
    let sizes = step::bytes();
    let sizes = sizes.as_slice();
    let pool = pool_of(device)?;
    let [mut bumped, mut planned, mut scoped, mut scoped_planned] =
        [false, true, false, true].map(|planning| Arena::new(&pool).planning(planning));
    let mut offsets = offset_allocator(sizes.len());
    let mut trees = BestFit::new(MEMORY / GRANULE);
    let (mut adaptive, mut exclusive) = (Cubecl::adaptive(), Cubecl::exclusive());
    let (mut first_pool, mut later_pool) = (first::BufferPool::unbounded(), later::BufferPool::unbounded());
    let [mut a, mut b, mut c] = std::array::from_fn(|_| Vec::with_capacity(sizes.len()));
    let (mut d, mut e) = (Vec::new(), Vec::new());
    let (mut f, mut g, mut h, mut i) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut contenders = vec![
        Contender::new("forebay Pool::alloc", || served(pool_step(&pool, sizes, &mut a))),
        Contender::new("forebay Arena::alloc, bumping", || served(arena_step(&mut bumped, sizes, &mut b))),
        Contender::new("forebay Arena::alloc, planned", || served(arena_step(&mut planned, sizes, &mut c))),
        Contender::new("forebay Scope::alloc, bumping", || served(scope_step(&mut scoped, sizes))),
        Contender::new("forebay Scope::alloc, planned", || served(scope_step(&mut scoped_planned, sizes))),
        Contender::new(OFFSET, || offset_step(&mut offsets, sizes, &mut d)),
        Contender::new(TREES, || tree_step(&mut trees, sizes, &mut e)),
        Contender::new("tenferro-cpu 0.1.0 (host)", || first_step(&mut first_pool, sizes, &mut f)),
        Contender::new("tenferro-cpu-basic 0.9.0 (host)", || later_step(&mut later_pool, sizes, &mut g)),
        Contender::new(ADAPTIVE, || cubecl_step(&mut adaptive, sizes, &mut h)),
        Contender::new(EXCLUSIVE, || cubecl_step(&mut exclusive, sizes, &mut i)),
    ];
    let all = rounds(&mut contenders, ROUNDS, BATCH_NS);
    report(record, "step, a buffer", &contenders, &all, sizes.len())
}

/// The first step of a pool or arena that has nothing yet.
fn cold_step(record: &mut Record, device: &Device) -> io::Result<()> {
    let sizes = step::bytes();
    let sizes = sizes.as_slice();
    let fresh = || pool_of(device).ok();
    let mut contenders = vec![
        Contender::new("forebay Pool::alloc", || {
            fresh()
                .iter()
                .for_each(|pool| served(pool_step(pool, sizes, &mut Vec::with_capacity(sizes.len()))));
        }),
        Contender::new("forebay Arena::alloc, bumping", || {
            let arena = fresh().map(|pool| Arena::new(&pool).planning(false));
            arena.into_iter().for_each(|mut arena| {
                served(arena_step(&mut arena, sizes, &mut Vec::with_capacity(sizes.len())))
            });
        }),
        Contender::new("forebay Scope::alloc, bumping", || {
            let arena = fresh().map(|pool| Arena::new(&pool).planning(false));
            arena.into_iter().for_each(|mut arena| served(scope_step(&mut arena, sizes)));
        }),
        Contender::new(OFFSET, || {
            offset_step(&mut offset_allocator(sizes.len()), sizes, &mut Vec::with_capacity(sizes.len()));
        }),
        Contender::new(TREES, || {
            tree_step(&mut BestFit::new(MEMORY / GRANULE), sizes, &mut Vec::with_capacity(sizes.len()));
        }),
        Contender::new("tenferro-cpu-basic 0.9.0 (host)", || {
            later_step(&mut later::BufferPool::unbounded(), sizes, &mut Vec::with_capacity(sizes.len()));
        }),
        Contender::new(ADAPTIVE, || {
            cubecl_step(&mut Cubecl::adaptive(), sizes, &mut Vec::with_capacity(sizes.len()));
        }),
        Contender::new(EXCLUSIVE, || {
            cubecl_step(&mut Cubecl::exclusive(), sizes, &mut Vec::with_capacity(sizes.len()));
        }),
    ];
    let all = rounds(&mut contenders, COLD_ROUNDS, 1);
    report(record, "first step, a buffer", &contenders, &all, sizes.len())
}

fn report(
    record: &mut Record,
    group: &str,
    contenders: &[Contender<'_>],
    all: &[Vec<f64>],
    buffers: usize,
) -> io::Result<()> {
    for (contender, samples) in contenders.iter().zip(all) {
        let samples: Vec<f64> = samples.iter().map(|ns| ns / buffers as f64).collect();
        record.samples(group, &buffers.to_string(), contender.name, "ns", &samples)?;
    }
    Ok(())
}
