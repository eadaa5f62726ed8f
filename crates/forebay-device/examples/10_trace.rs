//! What happened to memory, written down as it happened and read again.
//!
//! Keeps a trace of three steps in memory, saves it, and prints it: `cargo run --example 10_trace`. Next: the table in
//! `memory/trace/mod.rs` says how a trace lies in a file; `docs/life-of-an-allocation.md` follows one through the code.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::{error::Error, path::PathBuf};

use forebay_device::{Device, DeviceOptions, Event, Request, Tag, TraceOptions, TraceReader};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("forebay-trace-{}", std::process::id())),
        PathBuf::from,
    );

    // The newest events of a long run fit in memory; `TraceOptions::file` keeps all of them.
    let device = Device::open(&DeviceOptions::cpu().trace(TraceOptions::ring(100_000)))?;
    let weights = device.alloc(Request::new(3 << 20).tag(Tag::Weights).label("weights"))?;
    let mut session = device.session()?;
    for step in 0..3 {
        let scratch = session.alloc(Request::new(100_000).tag(Tag::Activations).label("scratch"))?;
        let mut stage = session.stage(format!("step {step}"));
        stage.fill(&weights, 1)?;
        stage.fill(&scratch, 2)?;
        // The scratch goes while its work is under way: the next step may have its memory at once.
        stage.submit()?;
    }
    session.finish()?.wait()?;
    device.trace().ok_or("the device was opened with a trace")?.save(&path)?;

    let (mut live, mut peak) = (0, 0);
    for entry in TraceReader::open(&path)? {
        let entry = entry?;
        match &entry.event {
            Event::Allocated { bytes, .. } => live += bytes,
            Event::FreeRequested { bytes, .. } => live -= bytes,
            _ => {}
        }
        peak = peak.max(live);
        println!("{:>4} {:>10.1?} {:?}", entry.number, entry.at, entry.event);
    }
    println!("at most {peak} bytes were live; the trace is in {}", path.display());
    assert_eq!(peak, device.pool().stats().peak_live);
    Ok(())
}
