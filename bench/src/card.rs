//! What the device layer costs on an NVIDIA card: allocation, waiting, launching, replaying, and moving bytes.
//!
//! Built with the feature `cuda` only. Next room: `device`, which measures the same without a card.

use std::{
    io::{Error, Result},
    time::Instant,
};

use bench::record::Record;
use forebay_device::{
    Arena, Buffer, Device, DeviceOptions, Fence, Grid, MemoryKind, Pool, PoolOptions, QueueKind, Request,
    Session, Tag,
};
use testkit::{BLOCK, Kernels};

use crate::counting;

/// Launches of the stages that are submitted and replayed.
const LAUNCHES: usize = 500;
/// Replays that are submitted before the host waits.
const IN_LINE: usize = 20;

/// Measures everything.
///
/// # Errors
/// What the device or writing fails with.
pub(crate) fn run(record: &mut Record) -> Result<()> {
    let begun = Instant::now();
    let device = Device::open(&DeviceOptions::cuda()).map_err(Error::other)?;
    let opened = begun.elapsed().as_secs_f64();
    let mut table = Table { record, device: device.caps().name.clone() };
    table.write("open the first device", "", "s", &[opened])?;
    let kernels = Kernels::load(&device).map_err(Error::other)?;
    memory(&device, &mut table)?;
    commands(&device, &kernels, &mut table)?;
    steps(&device, &kernels, &mut table)?;
    transfers(&device, &mut table)
}

/// The record, with the card that all of it is about.
struct Table<'a> {
    record: &'a mut Record,
    device: String,
}

impl Table<'_> {
    fn write(&mut self, what: &str, case: &str, unit: &str, rounds: &[f64]) -> Result<()> {
        self.record.samples(what, case, &self.device, unit, rounds)
    }
}

/// Seconds that each of so many rounds takes.
fn rounds(count: usize, mut round: impl FnMut() -> forebay_device::Result<()>) -> Result<Vec<f64>> {
    let timed = |_| {
        let begun = Instant::now();
        round().map_err(Error::other)?;
        Ok(begun.elapsed().as_secs_f64())
    };
    (0..count).map(timed).collect()
}

fn scaled(rounds: Vec<f64>, by: f64) -> Vec<f64> {
    rounds.into_iter().map(|seconds| seconds * by).collect()
}

fn memory(device: &Device, table: &mut Table<'_>) -> Result<()> {
    const ROUND: usize = 1000;
    for size in [1_000u64, 100_000, 5_000_000] {
        let took = rounds(50, || (0..ROUND).try_for_each(|_| device.alloc(size).map(drop)))?;
        table.write("alloc and drop", &format!("{size} B"), "ns", &scaled(took, 1e9 / ROUND as f64))?;
    }
    let took = rounds(4, || {
        drop(device.alloc(Request::new(1 << 30).tag(Tag::Weights))?);
        device.pool().trim(0).map(drop)
    })?;
    table.write("map and unmap", "1 GiB", "ms", &scaled(took, 1e3))
}

fn commands(device: &Device, kernels: &Kernels, table: &mut Table<'_>) -> Result<()> {
    let mut session = device.session().map_err(Error::other)?;
    let buffers: Vec<Buffer> = (0..LAUNCHES)
        .map(|_| device.alloc(1024))
        .collect::<forebay_device::Result<_>>()
        .map_err(Error::other)?;
    let took = rounds(500, || session.stage("empty").fence()?.wait())?;
    table.write("fence and wait", "no launch", "us", &scaled(took, 1e6))?;
    let took = rounds(500, || {
        let mut stage = session.stage("one");
        kernels.fill(&mut stage, &buffers[0], 1)?;
        stage.fence()?.wait()
    })?;
    table.write("fence and wait", "one launch", "us", &scaled(took, 1e6))?;
    let record = |session: &mut Session, chained: bool| {
        let mut stage = session.stage("many");
        for buffer in &buffers {
            kernels.fill(&mut stage, if chained { &buffers[0] } else { buffer }, 1)?;
        }
        stage.record()
    };
    let took = rounds(50, || {
        let mut stage = session.stage("many");
        buffers.iter().try_for_each(|buffer| kernels.fill(&mut stage, buffer, 1))?;
        stage.fence()?.wait()
    })?;
    table.write("a launch of 500", "submitted", "us", &scaled(took, 1e6 / LAUNCHES as f64))?;
    for chained in [false, true] {
        let recording = record(&mut session, chained).map_err(Error::other)?;
        let took = rounds(50, || {
            for _ in 1..IN_LINE {
                let _ = session.replay(&recording)?;
            }
            session.replay(&recording)?.wait()
        })?;
        let case = if chained { "a chain" } else { "apart" };
        table.write(
            "a launch of 500, replayed",
            case,
            "us",
            &scaled(took, 1e6 / (LAUNCHES * IN_LINE) as f64),
        )?;
    }
    Ok(())
}

/// A loop as decoders have it: each step records 300 launches that write buffers of a scope and read what was written before, and
/// the host is one step ahead of the card.
fn steps(device: &Device, kernels: &Kernels, table: &mut Table<'_>) -> Result<()> {
    const STEP: usize = 300;
    const ELEMENTS: u32 = 4096;
    let grid = Grid::linear(ELEMENTS.div_ceil(BLOCK), BLOCK);
    let mut session = device.session().map_err(Error::other)?;
    let mut arena = Arena::new(device.pool());
    let mut previous: Option<Fence> = None;
    let mut submit = || -> forebay_device::Result<f64> {
        let begun = Instant::now();
        let fence = arena.scope(|scope| {
            let mut stage = session.stage("step");
            let mut last = scope.alloc(u64::from(ELEMENTS) * 4)?;
            stage.launch(&kernels.fill, grid, &[last.arg(), 1u32.into(), ELEMENTS.into()])?;
            for _ in 1..STEP {
                let next = scope.alloc(u64::from(ELEMENTS) * 4)?;
                stage.launch(&kernels.copy, grid, &[last.arg(), next.arg(), ELEMENTS.into()])?;
                last = next;
            }
            stage.fence()
        })?;
        let took = begun.elapsed().as_secs_f64();
        previous.replace(fence).map_or(Ok(()), |fence| fence.wait())?;
        Ok(took)
    };
    (0..10).try_for_each(|_| submit().map(drop)).map_err(Error::other)?;
    let (calls, heap) = (device.pool().stats().driver_calls, counting::calls());
    let took: Vec<f64> = (0..100).map(|_| submit().map_err(Error::other)).collect::<Result<_>>()?;
    let per_step = |count: u64| [count as f64 / 100.0];
    let (calls, heap) = (device.pool().stats().driver_calls - calls, counting::calls() - heap);
    let group = "decode-like step, 300 launches";
    table.write(group, "until it is handed over", "us", &scaled(took, 1e6))?;
    table.write(group, "driver calls for memory", "a step", &per_step(calls))?;
    table.write(group, "heap allocations", "a step", &per_step(heap))
}

fn transfers(device: &Device, table: &mut Table<'_>) -> Result<()> {
    let mut options = PoolOptions::default();
    options.kind = MemoryKind::Staging;
    let pinned = Pool::new(device, options).map_err(Error::other)?;
    let queue = device.queue(QueueKind::Copy).map_err(Error::other)?;
    let mut session = device.session_on(queue).map_err(Error::other)?;
    for mib in [1usize, 64, 512] {
        let (bytes, case) = (mib << 20, format!("{mib} MiB"));
        let host: Vec<u8> = (0..bytes).map(|i| (i * 31 % 251) as u8).collect();
        let alloc = |pool: &Pool| pool.alloc(bytes as u64).map_err(Error::other);
        let (card, staged) = (alloc(device.pool())?, alloc(&pinned)?);
        staged.copy_from(&host).map_err(Error::other)?;
        let speed = |took: Vec<f64>| took.into_iter().map(|s| bytes as f64 / s / 1e9).collect::<Vec<_>>();
        let took = rounds(8, || card.copy_from(&host))?;
        table.write("upload", &case, "GB/s", &speed(took))?;
        let took = rounds(8, || {
            let mut stage = session.stage("there");
            stage.copy(&staged, &card)?;
            stage.fence()?.wait()
        })?;
        table.write("upload, pinned", &case, "GB/s", &speed(took))?;
        let mut back = host.clone();
        let took = rounds(8, || card.copy_to(&mut back))?;
        table.write("download", &case, "GB/s", &speed(took))?;
        let took = rounds(8, || card.read::<u8>().map(drop))?;
        table.write("download, fresh memory", &case, "GB/s", &speed(took))?;
    }
    Ok(())
}
