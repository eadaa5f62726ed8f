//! The host pool beside tenferro's pools of two versions, the system's allocator and mimalloc.
//!
//! Groups: one pair of acquire and release, memory untouched and touched; two threads on one pool; the slowest single
//! acquire after a history of many sizes; the buffers of a decoding step taken and given back.
//! Never: a pool warmed in another way than by its own use.

use std::{
    alloc::{GlobalAlloc, Layout},
    hint::black_box,
    io,
    sync::{Barrier, Mutex},
    thread,
    time::Instant,
};

use bench::{
    clock::{Contender, rounds, thread_ns},
    record::{Record, human},
    step,
};
use forebay_device::{HostPool, HostPoolOptions, UninitHostVec};
use mimalloc::MiMalloc;
use tenferro_cpu::linalg_interop as first;
use tenferro_cpu_basic::{PooledUninitOutput, buffer_pool as later};

const FOREBAY: &str = "forebay";
const FIRST: &str = "tenferro-cpu 0.1.0";
const LATER: &str = "tenferro-cpu-basic 0.9.0";
const OUTPUT: &str = "tenferro-cpu-basic 0.9.0 output";
const SYSTEM: &str = "system Vec";
const MIMALLOC: &str = "mimalloc 0.1.52";

const ROUNDS: usize = 15;
const BATCH_NS: u64 = 1_500_000;

pub fn run(record: &mut Record) -> io::Result<()> {
    for bytes in [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20] {
        pair(record, bytes, false)?;
    }
    for bytes in [64 << 10, 1 << 20, 16 << 20, 64 << 20] {
        pair(record, bytes, true)?;
    }
    two_threads(record)?;
    slowest_acquire(record, 50_000)?;
    step(record)
}

/// Writes one byte a page, if asked to, and shows the address to the compiler.
fn use_memory(start: *mut u8, bytes: usize, touch: bool) {
    if touch {
        for offset in (0..bytes).step_by(4096) {
            // SAFETY: every caller owns `bytes` bytes from `start` on.
            unsafe { start.add(offset).write_volatile(1) }
        }
    }
    black_box(start);
}

fn report(
    record: &mut Record,
    group: &str,
    case: &str,
    mut contenders: Vec<Contender<'_>>,
    per: f64,
) -> io::Result<()> {
    let all = rounds(&mut contenders, ROUNDS, BATCH_NS);
    for (contender, samples) in contenders.iter().zip(all) {
        let samples: Vec<f64> = samples.iter().map(|ns| ns / per).collect();
        record.samples(group, case, contender.name, "ns", &samples)?;
    }
    Ok(())
}

fn pair(record: &mut Record, bytes: usize, touch: bool) -> io::Result<()> {
    let count = bytes / 4;
    let pool = HostPool::default();
    let (mut first_pool, mut later_pool, output_pool) =
        (first::BufferPool::new(), later::BufferPool::new(), later::BufferPool::new());
    let layout = Layout::from_size_align(bytes, 64).map_err(io::Error::other)?;
    let contenders = vec![
        Contender::new(FOREBAY, || {
            if let Ok(mut vector) = pool.acquire_uninit::<f32>(black_box(count)) {
                use_memory(vector.as_mut_ptr().cast(), bytes, touch);
            }
        }),
        Contender::new(FIRST, || {
            // SAFETY: the elements are never read.
            let mut vector =
                unsafe { <f32 as first::PoolScalar>::pool_acquire(&mut first_pool, black_box(count)) };
            use_memory(vector.as_mut_ptr().cast(), bytes, touch);
            <f32 as first::PoolScalar>::pool_release(&mut first_pool, vector);
        }),
        Contender::new(LATER, || {
            let mut vector = later_pool.acquire_with_capacity::<f32>(black_box(count));
            use_memory(vector.as_mut_ptr().cast(), bytes, touch);
            <f32 as later::PoolScalar>::pool_release(&mut later_pool, vector);
        }),
        Contender::new(OUTPUT, || {
            if let Ok(mut output) = PooledUninitOutput::<f32>::new(&output_pool, [black_box(count)]) {
                use_memory(output.as_uninit_slice_mut().as_mut_ptr().cast(), bytes, touch);
            }
        }),
        Contender::new(SYSTEM, || {
            let mut vector = Vec::<f32>::with_capacity(black_box(count));
            use_memory(vector.as_mut_ptr().cast(), bytes, touch);
        }),
        Contender::new(MIMALLOC, || {
            // SAFETY: the layout has a size above zero, and is given back as it was taken.
            unsafe {
                let start = MiMalloc.alloc(black_box(layout));
                use_memory(start, bytes, touch);
                MiMalloc.dealloc(start, layout);
            }
        }),
    ];
    let group = if touch { "pair, touched" } else { "pair" };
    report(record, group, &human(bytes), contenders, 1.0)
}

fn two_threads(record: &mut Record) -> io::Result<()> {
    const PAIRS: u64 = 200_000;
    let bytes = 64 << 10;
    let count = bytes / 4;
    let pool = HostPool::default();
    let (first_pool, later_pool) = (Mutex::new(first::BufferPool::new()), later::BufferPool::new());
    let layout = Layout::from_size_align(bytes, 64).map_err(io::Error::other)?;
    let ours = || {
        black_box(pool.acquire_uninit::<f32>(black_box(count)).is_ok());
    };
    let firsts = || {
        let locked = || first_pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: the elements are never read.
        let vector = unsafe { <f32 as first::PoolScalar>::pool_acquire(&mut locked(), black_box(count)) };
        <f32 as first::PoolScalar>::pool_release(&mut locked(), black_box(vector));
    };
    let outputs = || {
        black_box(PooledUninitOutput::<f32>::new(&later_pool, [black_box(count)]).is_ok());
    };
    let systems = || {
        black_box(Vec::<f32>::with_capacity(black_box(count)));
    };
    let mimallocs = || {
        // SAFETY: the layout has a size above zero, and is given back as it was taken.
        unsafe { MiMalloc.dealloc(black_box(MiMalloc.alloc(black_box(layout))), layout) }
    };
    let contenders: [(&str, &(dyn Fn(u64) + Sync)); 5] = [
        (FOREBAY, &|n| (0..n).for_each(|_| ours())),
        ("tenferro-cpu 0.1.0 in a mutex", &|n| (0..n).for_each(|_| firsts())),
        (OUTPUT, &|n| (0..n).for_each(|_| outputs())),
        (SYSTEM, &|n| (0..n).for_each(|_| systems())),
        (MIMALLOC, &|n| (0..n).for_each(|_| mimallocs())),
    ];
    let mut samples = vec![(Vec::new(), Vec::new()); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, body), (wall, own)) in contenders.iter().zip(&mut samples) {
            let (wall_ns, thread_ns) = on_two_threads(PAIRS, *body);
            wall.push(wall_ns / PAIRS as f64);
            own.push(thread_ns / PAIRS as f64);
        }
    }
    for ((name, _), (wall, own)) in contenders.iter().zip(samples) {
        record.samples("two threads, wall", &human(bytes), name, "ns", &wall)?;
        record.samples("two threads, thread time", &human(bytes), name, "ns", &own)?;
    }
    Ok(())
}

/// The longer of both threads' wall times, and of their thread times, after a first tenth that warms up.
fn on_two_threads(count: u64, body: &(dyn Fn(u64) + Sync)) -> (f64, f64) {
    let (ready, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|s| {
        let work = || {
            body(count / 10);
            ready.wait();
            let (start, own) = (Instant::now(), thread_ns());
            body(count);
            let times = (start.elapsed().as_nanos() as f64, (thread_ns() - own) as f64);
            done.wait();
            times
        };
        let threads = [s.spawn(work), s.spawn(work)];
        let times = threads.map(|thread| thread.join().unwrap_or_default());
        (times[0].0.max(times[1].0), times[0].1.max(times[1].1))
    })
}

/// After `sizes` distinct sizes were given back: takes them all, smallest first, then one below all of them, and times
/// each. What interrupts do is taken out by the least of several runs of each acquire; the plain worst is kept too.
fn slowest_acquire(record: &mut Record, sizes: usize) -> io::Result<()> {
    const RUNS: usize = 9;
    let asked: Vec<usize> = (0..sizes).map(|i| 1024 + i).chain([512]).collect();
    let mut least = [vec![u64::MAX; asked.len()], vec![u64::MAX; asked.len()], vec![u64::MAX; asked.len()]];
    let mut worst = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        let pool = HostPool::new(HostPoolOptions::unbounded());
        let held: Vec<_> = asked[..sizes].iter().map(|&count| pool.acquire_uninit::<f32>(count)).collect();
        drop(held);
        worst[0].push(time_each(&asked, &mut least[0], |count| pool.acquire_uninit::<f32>(count)));

        let mut pool = first::BufferPool::unbounded();
        for &count in &asked[..sizes] {
            <f32 as first::PoolScalar>::pool_release(&mut pool, Vec::with_capacity(count));
        }
        // SAFETY: the elements are never read.
        let acquire = |count| unsafe { <f32 as first::PoolScalar>::pool_acquire(&mut pool, count) };
        worst[1].push(time_each(&asked, &mut least[1], acquire));

        let mut pool = later::BufferPool::unbounded();
        for &count in &asked[..sizes] {
            <f32 as later::PoolScalar>::pool_release(&mut pool, Vec::with_capacity(count));
        }
        worst[2].push(time_each(&asked, &mut least[2], |count| pool.acquire_with_capacity::<f32>(count)));
    }
    let case = sizes.to_string();
    for ((name, least), worst) in [FOREBAY, FIRST, LATER].iter().zip(&least).zip(&worst) {
        let slowest = least.iter().max().copied().unwrap_or_default();
        record.samples("slowest acquire", &case, name, "ns", &[slowest as f64])?;
        record.samples("slowest acquire, plain", &case, name, "ns", worst)?;
        let mut sorted = least.clone();
        sorted.sort_unstable();
        record.samples("median acquire", &case, name, "ns", &[sorted[sorted.len() / 2] as f64])?;
    }
    Ok(())
}

fn time_each<R>(asked: &[usize], least: &mut [u64], mut acquire: impl FnMut(usize) -> R) -> f64 {
    let mut held = Vec::with_capacity(asked.len());
    let mut worst = 0;
    for (&count, least) in asked.iter().zip(least) {
        let start = Instant::now();
        let vector = acquire(black_box(count));
        let took = start.elapsed().as_nanos() as u64;
        held.push(vector);
        *least = took.min(*least);
        worst = took.max(worst);
    }
    worst as f64
}

/// All buffers of a step taken, then all given back in the order they were taken.
fn step(record: &mut Record) -> io::Result<()> {
    let counts: Vec<usize> = step::bytes().into_iter().map(|bytes| bytes as usize / 4).collect();
    let counts = counts.as_slice();
    let pool = HostPool::default();
    let (mut first_pool, mut later_pool, output_pool) =
        (first::BufferPool::unbounded(), later::BufferPool::unbounded(), later::BufferPool::unbounded());
    let mut ours: Vec<UninitHostVec<f32>> = Vec::with_capacity(counts.len());
    let mut firsts: Vec<Vec<f32>> = Vec::with_capacity(counts.len());
    let mut laters: Vec<Vec<f32>> = Vec::with_capacity(counts.len());
    let mut outputs: Vec<PooledUninitOutput<f32>> = Vec::with_capacity(counts.len());
    let mut systems: Vec<Vec<f32>> = Vec::with_capacity(counts.len());
    let mut mimallocs: Vec<(*mut u8, Layout)> = Vec::with_capacity(counts.len());
    let contenders = vec![
        Contender::new(FOREBAY, || {
            ours.extend(counts.iter().filter_map(|&count| pool.acquire_uninit(count).ok()));
            black_box(&ours);
            ours.clear();
        }),
        Contender::new(FIRST, || {
            for &count in counts {
                // SAFETY: the elements are never read.
                firsts.push(unsafe { <f32 as first::PoolScalar>::pool_acquire(&mut first_pool, count) });
            }
            black_box(&firsts);
            firsts
                .drain(..)
                .for_each(|vector| <f32 as first::PoolScalar>::pool_release(&mut first_pool, vector));
        }),
        Contender::new(LATER, || {
            laters.extend(counts.iter().map(|&count| later_pool.acquire_with_capacity::<f32>(count)));
            black_box(&laters);
            laters
                .drain(..)
                .for_each(|vector| <f32 as later::PoolScalar>::pool_release(&mut later_pool, vector));
        }),
        Contender::new(OUTPUT, || {
            outputs.extend(
                counts.iter().filter_map(|&count| PooledUninitOutput::new(&output_pool, [count]).ok()),
            );
            black_box(&outputs);
            outputs.clear();
        }),
        Contender::new(SYSTEM, || {
            systems.extend(counts.iter().map(|&count| Vec::with_capacity(count)));
            black_box(&systems);
            systems.clear();
        }),
        Contender::new(MIMALLOC, || {
            // SAFETY: the layouts have sizes above zero, and are given back as they were taken.
            unsafe {
                for &count in counts {
                    let layout = Layout::from_size_align_unchecked(4 * count, 64);
                    mimallocs.push((MiMalloc.alloc(layout), layout));
                }
                black_box(&mimallocs);
                mimallocs.drain(..).for_each(|(start, layout)| MiMalloc.dealloc(start, layout));
            }
        }),
    ];
    report(record, "step, a buffer", &counts.len().to_string(), contenders, counts.len() as f64)
}
