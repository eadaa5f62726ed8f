//! What recording, submitting and waiting cost, with kernels that do nothing.
//!
//! Groups: an empty stage there and back; recording a launch; submitting by number of bindings; replaying, with and
//! without barriers, by number of workers; a loop like a decoding one, with what it asks of the driver, of the heap and
//! of the host's patience. Never: the work of a kernel. Next room: `counting`, which counts allocations.

use std::{hint::black_box, io, time::Instant};

use bench::{
    clock::{Contender, rounds},
    record::Record,
};
use forebay_device::{
    Arena, Buffer, Device, DeviceOptions, Fence, Grid, Kernel, KernelDef, NullControl, NullOptions, Param,
    Pool, PoolOptions, Request, Result, Session, Signature, Stage,
};

use crate::counting;

const ROUNDS: usize = 25;
/// Launches of a recording, and of a step of the loop.
const LAUNCHES: usize = 500;
const STEP: usize = 300;

/// Measures everything.
///
/// # Errors
/// What the device or writing fails with.
pub(crate) fn run(record: &mut Record) -> io::Result<()> {
    empty_stage(record)?;
    recording(record)?;
    for bindings in [1, 10, 100, 1000] {
        submitting(record, bindings)?;
    }
    for threads in [1, 2] {
        replaying(record, threads)?;
    }
    steps_on_cpu(record)?;
    steps_held(record)
}

/// Errors of the device as those of a runner.
fn told<T>(result: Result<T>) -> io::Result<T> {
    result.map_err(io::Error::other)
}

fn cpu(threads: usize) -> io::Result<Device> {
    told(Device::open(&DeviceOptions::cpu().threads(threads)))
}

/// A kernel of two buffers read, one written, and a number, that does nothing.
fn nothing(device: &Device) -> io::Result<Kernel> {
    let params = [Param::read::<u32>(), Param::read::<u32>(), Param::write::<u32>(), Param::u32()];
    told(device.load(&KernelDef::new("nothing", Signature::new(params)).cpu(|_| {})))
}

fn buffers(device: &Device, count: usize) -> io::Result<Vec<Buffer>> {
    told((0..count).map(|_| device.alloc(16 << 10)).collect())
}

/// Wall time of each of so many runs of an operation, in nanoseconds.
fn wall(runs: usize, mut once: impl FnMut() -> Result<f64>) -> io::Result<Vec<f64>> {
    (0..runs).map(|_| told(once())).collect()
}

/// Since `start`, in nanoseconds, for each of `count`.
fn since(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

fn empty_stage(record: &mut Record) -> io::Result<()> {
    const STAGES: usize = 200;
    for threads in [1, 2] {
        let device = cpu(threads)?;
        let mut session = told(device.session())?;
        let mut stages = |count: usize| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..count {
                session.stage("empty").fence()?.wait()?;
            }
            Ok(since(start, count))
        };
        told(stages(1000))?;
        let samples = wall(8 * ROUNDS, || stages(STAGES))?;
        record.samples("empty stage, there and back", &workers(threads), "cpu", "ns", &samples)?;
    }
    Ok(())
}

fn workers(count: usize) -> String {
    format!("{count} worker{}", if count == 1 { "" } else { "s" })
}

/// How the launches of a stage depend on each other.
#[derive(Clone, Copy)]
enum Shape {
    /// Each reads what the one before wrote.
    Chain,
    /// All read the same and write apart.
    Apart,
}

const SHAPES: [(&str, Shape); 2] = [("chained", Shape::Chain), ("apart", Shape::Apart)];

/// Records `count` launches over `buffers`, of which there are at least three.
fn launches(
    stage: &mut Stage<'_>,
    kernel: &Kernel,
    buffers: &[Buffer],
    shape: Shape,
    count: usize,
) -> Result<()> {
    let grid = Grid::linear(1, 1);
    for i in 0..count {
        let (from, to) = match shape {
            Shape::Chain => (i % buffers.len(), (i + 1) % buffers.len()),
            Shape::Apart => (0, 2 + i % (buffers.len() - 2)),
        };
        let also = if to == 1 { 2 } else { 1 };
        let args = [buffers[from].arg(), buffers[also].arg(), buffers[to].arg(), (i as u32).into()];
        stage.launch(kernel, grid, &args)?;
    }
    Ok(())
}

fn recording(record: &mut Record) -> io::Result<()> {
    let device = cpu(1)?;
    let kernel = nothing(&device)?;
    let buffers = buffers(&device, 66)?;
    let mut session = told(device.session())?;
    for (case, shape) in SHAPES {
        let mut discarded = || {
            let mut stage = session.stage("recorded");
            let done = launches(&mut stage, &kernel, &buffers, shape, STEP);
            black_box(done.is_ok());
        };
        discarded();
        let before = counting::calls();
        discarded();
        let allocations = (counting::calls() - before) as f64 / STEP as f64;
        let samples = rounds(&mut [Contender::new("cpu", discarded)], ROUNDS, 500_000);
        let samples: Vec<f64> = samples[0].iter().map(|ns| ns / STEP as f64).collect();
        record.samples("recording, a launch", case, "cpu", "ns", &samples)?;
        record.samples("recording, a launch", case, "cpu", "allocations", &[allocations])?;
    }
    Ok(())
}

fn submitting(record: &mut Record, bindings: usize) -> io::Result<()> {
    let device = cpu(1)?;
    let buffers: Vec<Buffer> = told((0..bindings).map(|_| device.alloc(256)).collect())?;
    let mut session = told(device.session())?;
    let mut once = || -> Result<f64> {
        let mut stage = session.stage("bindings");
        for buffer in &buffers {
            stage.fill(buffer, 0)?;
        }
        let start = Instant::now();
        let fence = stage.fence()?;
        let took = since(start, 1);
        fence.wait()?;
        Ok(took)
    };
    told((0..20).try_for_each(|_| once().map(drop)))?;
    let samples = wall(20 * ROUNDS, once)?;
    record.samples("submitting", &format!("{bindings} bindings"), "cpu", "ns", &samples)
}

fn replaying(record: &mut Record, threads: usize) -> io::Result<()> {
    let device = cpu(threads)?;
    let kernel = nothing(&device)?;
    let buffers = buffers(&device, 66)?;
    let mut session = told(device.session())?;
    for (case, shape) in SHAPES {
        let mut stage = session.stage("replayed");
        told(launches(&mut stage, &kernel, &buffers, shape, LAUNCHES))?;
        let kept = told(stage.record())?;
        let mut once = || -> Result<f64> {
            let start = Instant::now();
            session.replay(&kept)?.wait()?;
            Ok(since(start, LAUNCHES))
        };
        told((0..20).try_for_each(|_| once().map(drop)))?;
        let samples = wall(20 * ROUNDS, once)?;
        let case = format!("{}, {case}", workers(threads));
        record.samples("replay, a launch", &case, "cpu", "ns", &samples)?;
    }
    Ok(())
}

/// One step as a decoder would record it: every launch writes a buffer of the step and reads two before it.
fn decode_step(session: &mut Session, arena: &mut Arena, kernel: &Kernel, weights: &Buffer) -> Result<Fence> {
    arena.scope(|scope| {
        let mut stage = session.stage("step");
        let mut last = scope.alloc(16 << 10)?;
        for i in 0..STEP as u32 {
            let bytes = if i % 7 == 3 { 48 << 10 } else { 16 << 10 };
            let next = scope.alloc(bytes)?;
            stage.launch(kernel, Grid::linear(1, 1), &[last.arg(), weights.arg(), next.arg(), i.into()])?;
            last = next;
        }
        stage.fence()
    })
}

fn steps_on_cpu(record: &mut Record) -> io::Result<()> {
    for (case, planning) in [("bumping", false), ("planned", true)] {
        let device = cpu(1)?;
        let kernel = nothing(&device)?;
        let weights = told(device.alloc(1 << 20))?;
        let mut session = told(device.session())?;
        let mut arena = Arena::new(device.pool()).planning(planning);
        let mut previous: Option<Fence> = None;
        // As a decoder does: the host is one step ahead of the device.
        let mut once = || -> Result<f64> {
            let start = Instant::now();
            let fence = decode_step(&mut session, &mut arena, &kernel, &weights)?;
            let took = since(start, 1);
            previous.replace(fence).map_or(Ok(()), |fence| fence.wait())?;
            Ok(took)
        };
        told((0..10).try_for_each(|_| once().map(drop)))?;
        let before = (counting::calls(), device.pool().stats().driver_calls);
        told((0..100).try_for_each(|_| once().map(drop)))?;
        let heap = (counting::calls() - before.0) as f64 / 100.0;
        let driver = (device.pool().stats().driver_calls - before.1) as f64 / 100.0;
        let samples = wall(4 * ROUNDS, once)?;
        let group = "decode-like step, 300 launches";
        record.samples(group, case, "cpu", "ns", &samples)?;
        record.samples(group, case, "cpu", "heap allocations", &[heap])?;
        record.samples(group, case, "cpu", "driver calls", &[driver])?;
    }
    Ok(())
}

/// The same loop while the device completes nothing: whoever waits inside a step never comes back from it.
fn steps_held(record: &mut Record) -> io::Result<()> {
    let opened = NullOptions::default().backed(false).open(&DeviceOptions::null());
    let (device, control): (Device, NullControl) = told(opened)?;
    let mut options = PoolOptions::default();
    options.poison = false;
    let pool = told(Pool::new(&device, options))?;
    let kernel = nothing(&device)?;
    let weights = told(pool.alloc(Request::new(1 << 20)))?;
    let mut session = told(device.session())?;
    let mut arena = Arena::new(&pool);
    for _ in 0..10 {
        told(told(decode_step(&mut session, &mut arena, &kernel, &weights))?.wait())?;
    }
    let queue = session.queue().id();
    control.hold(queue, true);
    let before = pool.stats().driver_calls;
    for _ in 0..8 {
        drop(told(decode_step(&mut session, &mut arena, &kernel, &weights))?);
    }
    let held = control.pending(queue) as f64;
    let driver = (pool.stats().driver_calls - before) as f64;
    control.hold(queue, false);
    let group = "8 steps, device stopped";
    record.samples(group, "planned", "null", "steps in flight", &[held])?;
    record.samples(group, "planned", "null", "driver calls", &[driver])
}
