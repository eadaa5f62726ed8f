#![allow(clippy::print_stdout, reason = "it is a program that prints")]
//! The conformance run as a program: `conformance test|perf|support|tables [--op NAME] [--seed N] [--rounds N]`.
//!
//! `test` compares ops with their oracles on the devices of `FOREBAY_TEST_DEVICES`, with other random numbers each round,
//! or only on those that have so many threads; `perf` measures them on shapes of real models, beside the bandwidth of the same run; `support` writes `docs/ops.md`,
//! and `tables` the header with the formats' tables for device code.

use std::{env, fs, path::Path, time::Instant};

use forebay_device::{BackendKind, Device, DeviceOptions, Grid, KernelDef, Param, Signature};
use forebay_tensor::{
    conformance::{self, Rig, Subject},
    subjects,
};
use testkit::{Setup, ops};

const USAGE: &str = "conformance test|perf|support|tables [--op NAME] [--seed N] [--rounds N] [--threads N]";

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Options {
    ops: Vec<&'static Subject>,
    seed: u64,
    rounds: u64,
    threads: Option<usize>,
}

fn main() -> Outcome {
    let mut arguments = env::args().skip(1);
    let mode = arguments.next().ok_or(USAGE)?;
    let mut options = Options { ops: subjects().iter().collect(), seed: ops::SEED, rounds: 1, threads: None };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--op" => options.ops = vec![ops::subject(&value).ok_or(format!("no op is called {value}"))?],
            "--seed" => options.seed = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--threads" => options.threads = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    match mode.as_str() {
        "test" => test(&options),
        "perf" => perf(&options),
        "support" => Ok(fs::write(page(), ops::table())?),
        "tables" => Ok(fs::write(header(), conformance::tables())?),
        _ => Err(USAGE.into()),
    }
}

fn page() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ops.md")
}

fn header() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../forebay-tensor/src/tiles/cuda/tables.cuh")
}

/// Ops against their oracles; a case that does not hold ends the program.
fn test(options: &Options) -> Outcome {
    let wanted = |setup: &&Setup| {
        setup.kind != BackendKind::Null && (options.threads.is_none() || setup.threads == options.threads)
    };
    for setup in testkit::setups()?.iter().filter(wanted) {
        for round in 0..options.rounds {
            for op in options.ops.iter().filter(|op| op.runs_on(setup.kind)) {
                let seed = options.seed + round;
                println!(
                    "{} {} with seed {seed}: {} results",
                    setup.name,
                    op.name,
                    compared(op, setup, seed)
                );
            }
        }
    }
    Ok(())
}

fn compared(op: &Subject, setup: &Setup, seed: u64) -> usize {
    ops::conform(op, setup, seed).len()
}

/// What each op moves and computes a second on the CPU, beside the bandwidth of reading.
fn perf(options: &Options) -> Outcome {
    let mut device = DeviceOptions::cpu();
    device.threads = options.threads;
    let device = Device::open(&device)?;
    let bandwidth = read_bandwidth(&device)?;
    println!("reading {:.1} GB/s with {} workers", bandwidth / 1e9, device.caps().workers);
    println!("{:34} {:34} {:>10} {:>8} {:>7} {:>9}", "kernel", "case", "us", "GB/s", "of bus", "Gop/s");
    for op in options.ops.iter().filter(|op| op.runs_on(device.kind())) {
        let mut rig = Rig::new(&device, options.seed)?;
        (op.measure)(&mut rig)?;
        for rate in rig.rates() {
            println!(
                "{:34} {:34} {:>10.2} {:>8.2} {:>6.1}% {:>9.2}",
                rate.kernel,
                rate.case,
                rate.seconds * 1e6,
                rate.bandwidth() / 1e9,
                100.0 * rate.bandwidth() / bandwidth,
                rate.throughput() / 1e9,
            );
        }
    }
    Ok(())
}

/// Bytes a second that all workers of a device read, at best, from a buffer larger than its caches.
fn read_bandwidth(device: &Device) -> Result<f64, Box<dyn std::error::Error>> {
    const WORDS: usize = 64 << 20;
    const PART: u32 = 1 << 16;
    let signature =
        Signature::new([Param::read::<u32>().per_group(PART), Param::write::<u32>().per_group(1)]);
    let def = KernelDef::new("read_all", signature).cpu(|group| {
        let mut sums = [0u32; 64];
        for words in group.read::<u32>(0).as_chunks::<64>().0 {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum ^= word;
            }
        }
        group.write::<u32>(1)[0] = sums.iter().fold(0, |all, sum| all ^ sum);
    });
    let kernel = device.load(&def)?;
    let (all, groups) = (device.upload(&vec![1u32; WORDS])?, (WORDS as u32).div_ceil(PART));
    let sums = device.alloc(u64::from(groups) * 4)?;
    let mut session = device.session()?;
    let mut seconds = f64::INFINITY;
    for _ in 0..7 {
        let begin = Instant::now();
        let mut stage = session.stage("read all");
        stage.launch(&kernel, Grid::linear(groups, 1), &[all.arg(), sums.arg()])?;
        stage.fence()?.wait()?;
        seconds = seconds.min(begin.elapsed().as_secs_f64());
    }
    Ok(WORDS as f64 * 4.0 / seconds)
}
