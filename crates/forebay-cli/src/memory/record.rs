//! `--memory-trace`: what every command that runs a model takes, and how the trace ends with it.

use std::path::PathBuf;

use clap::Args;
use forebay_device::{Device, TraceOptions};

use crate::cli::Failure;

/// Whether a trace of memory is kept.
#[derive(Debug, Args)]
pub(crate) struct Keeping {
    /// Write down what happens to memory; see `forebay memory`
    #[arg(long, value_name = "FILE")]
    memory_trace: Option<PathBuf>,
    /// Keep only so many of the newest events of each pool, and write them at the end
    #[arg(long, value_name = "EVENTS", requires = "memory_trace", value_parser = clap::value_parser!(u32).range(64..=1 << 26))]
    memory_trace_newest: Option<u32>,
}

impl Keeping {
    /// What to open a device with.
    pub(crate) fn options(&self) -> Option<TraceOptions> {
        let path = self.memory_trace.as_ref()?;
        Some(match self.memory_trace_newest {
            Some(events) => TraceOptions::ring(events as usize),
            None => TraceOptions::file(path),
        })
    }

    /// Ends the trace when the work is `done`. A trace that cannot be written fails the command only after its work.
    pub(crate) fn end(&self, device: &Device, done: Result<(), Failure>) -> Result<(), Failure> {
        let (Some(path), Some(trace)) = (&self.memory_trace, device.trace()) else { return done };
        let ended = match self.memory_trace_newest {
            Some(_) => trace.save(path),
            None => trace.flush(),
        };
        match (done, ended) {
            (done, Ok(())) => {
                eprintln!("memory trace: {} events, in {}", trace.events(), path.display());
                done
            }
            (Ok(()), Err(error)) => {
                Err(Failure::Failed(format!("the trace of memory is not whole, all else is: {error}")))
            }
            (Err(failure), Err(error)) => {
                eprintln!("forebay: the trace of memory is not whole: {error}");
                Err(failure)
            }
        }
    }
}
