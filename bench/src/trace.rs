//! What keeping a trace adds to the events that a pool has most of.
//!
//! One pool each without a trace, with a ring and with a file; they take turns in short batches, so that whatever else
//! the machine does hits all alike, and the difference of the least times is what a trace adds. Never: reading one.
//! Next room: `memory/trace/recorder` of `forebay-device`.

use std::{fs, io, path::PathBuf, time::Instant};

use bench::{clock::thread_ns, record::Record};
use forebay_device::{Device, DeviceOptions, NullOptions, Pool, PoolOptions, Request, TraceOptions};

const ROUNDS: usize = 400;
/// Buffers taken and given back in a batch.
const BATCH: usize = 4000;
/// Events of a buffer: it comes, it goes.
const EVENTS: f64 = 2.0;

/// Measures it.
///
/// # Errors
/// What the device or writing fails with.
pub(crate) fn run(record: &mut Record) -> io::Result<()> {
    let file = Scratch::new()?;
    let keeps = [
        ("no trace", None),
        ("ring", Some(TraceOptions::ring(1 << 20))),
        ("file", Some(TraceOptions::file(&file.0))),
    ];
    let mut pools = Vec::new();
    for (name, keep) in keeps {
        pools.push((name, pool_with(keep)?, Vec::new(), Vec::new()));
    }
    for round in 0..ROUNDS {
        for (_, pool, own, wall) in &mut pools {
            let (start, began) = (thread_ns(), Instant::now());
            batch(pool)?;
            if round > ROUNDS / 10 {
                own.push((thread_ns() - start) as f64 / (EVENTS * BATCH as f64));
                wall.push(began.elapsed().as_nanos() as f64 / (EVENTS * BATCH as f64));
            }
        }
    }
    let base = pools[0].2.clone();
    let least = |samples: &[f64]| samples.iter().copied().fold(f64::INFINITY, f64::min);
    for (name, _, own, wall) in &pools {
        record.samples("half of a buffer, taken and given back", name, "null", "ns", own)?;
        record.samples("the same, by the clock on the wall", name, "null", "ns", wall)?;
        if *name != "no trace" {
            let added: Vec<f64> = own.iter().zip(&base).map(|(with, without)| with - without).collect();
            record.samples("an event, added", name, "null", "ns", &added)?;
            record.samples(
                "an event, added to the least",
                name,
                "null",
                "ns",
                &[least(own) - least(&base)],
            )?;
        }
    }
    Ok(())
}

fn pool_with(keep: Option<TraceOptions>) -> io::Result<Pool> {
    let mut options = DeviceOptions::null();
    options.trace = keep;
    let (device, _): (Device, _) =
        NullOptions::default().backed(false).open(&options).map_err(io::Error::other)?;
    let mut options = PoolOptions::default();
    options.poison = false;
    Pool::new(&device, options).map_err(io::Error::other)
}

fn batch(pool: &Pool) -> io::Result<()> {
    for i in 0..BATCH as u64 {
        let request = Request::new(4096 + i % 7 * 256).label("scratch");
        drop(pool.alloc(request).map_err(io::Error::other)?);
    }
    Ok(())
}

/// A file that goes with the runner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("forebay-bench-trace-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder.join("trace")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = self.0.parent() {
            // Left behind, it is only a file among temporary ones.
            let _ = fs::remove_dir_all(folder);
        }
    }
}
