//! `forebay memory`: one file a subcommand; `record` is what commands that run a model share with it.
//!
//! What traces mean is `forebay_device::history`'s business; here they are opened, and what comes of them is shown.

mod explain;
mod export;
mod plot;
pub(crate) mod record;
mod replay;

use std::{
    cell::RefCell,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use forebay_device::{Entry, history::Log};

use crate::{cli::Failure, progress::Progress};

/// What `memory` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
To record, add --memory-trace FILE to any command that runs a model:
  forebay run MODEL.gguf \"Once upon a time\" -n 64 --memory-trace run.trace

A TRACE is a file recorded so, a log of RMM (CSV), or a pickled snapshot of PyTorch; - is standard input.")]
pub(crate) struct MemoryArgs {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// Play what was asked for against other ways to serve it
    Replay(replay::ReplayArgs),
    /// Draw a page for a browser
    Plot(plot::PlotArgs),
    /// Say why there was no memory, or who had it when it was fullest
    Explain(explain::ExplainArgs),
    /// Write a trace for PyTorch's viewer, RMM's replay or Perfetto
    Export(export::ExportArgs),
}

/// Runs the command.
pub(crate) fn run(args: &MemoryArgs) -> Result<(), Failure> {
    match &args.command {
        MemoryCommand::Replay(args) => replay::run(args),
        MemoryCommand::Plot(args) => plot::run(args),
        MemoryCommand::Explain(args) => explain::run(args),
        MemoryCommand::Export(args) => export::run(args),
    }
}

/// A trace that somebody named.
#[derive(Debug, Args)]
struct TraceArgs {
    /// The trace
    trace: PathBuf,
    #[command(flatten)]
    damage: DamageArgs,
}

/// What to do with a trace that is not whole.
#[derive(Clone, Copy, Debug, Args)]
struct DamageArgs {
    /// Use the events before the place where the trace is damaged or cut off
    #[arg(long)]
    partial: bool,
}

impl TraceArgs {
    fn source(&self) -> Result<Source, Failure> {
        Source::of(&self.trace, self.damage)
    }
}

/// Where a trace is read from, once or more often.
struct Source {
    path: PathBuf,
    /// What standard input held.
    bytes: Option<Arc<[u8]>>,
    damage: DamageArgs,
    told: RefCell<bool>,
}

impl Source {
    fn of(path: &Path, damage: DamageArgs) -> Result<Self, Failure> {
        let told = RefCell::new(false);
        if path != Path::new("-") {
            return Ok(Self { path: path.to_owned(), bytes: None, damage, told });
        }
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
        Ok(Self { path: "standard input".into(), bytes: Some(bytes.into()), damage, told })
    }

    fn open(&self) -> forebay_device::Result<Log> {
        let log = match &self.bytes {
            Some(bytes) => Log::new(io::Cursor::new(bytes.clone()), &self.path),
            None => Log::open(&self.path),
        }?;
        Ok(if self.damage.partial { log.up_to_damage() } else { log })
    }

    /// All events through a sieve, with progress for whoever looks; then what was wrong with the trace, once.
    fn read<T>(
        &self,
        what: &'static str,
        take: impl FnOnce(&mut dyn Iterator<Item = forebay_device::Result<Entry>>) -> forebay_device::Result<T>,
    ) -> Result<T, Failure> {
        let mut progress = Progress::of(what);
        let mut log = self.open().map_err(|error| self.failure(&error))?;
        let mut count = 0u64;
        let mut told = log.by_ref().inspect(|_| {
            count += 1;
            if count.is_multiple_of(1 << 14) {
                progress.tell(|| format!("{count} events"));
            }
        });
        let taken = take(&mut told).map_err(|error| self.failure(&error))?;
        drop(progress);
        self.tell_damage(&log);
        Ok(taken)
    }

    fn tell_damage(&self, log: &Log) {
        if let Some(damage) = log.damage()
            && !self.told.replace(true)
        {
            eprintln!("forebay: {damage}; what follows is about the events before it");
        }
    }

    /// An error of a trace, and what helps.
    fn failure(&self, error: &forebay_device::Error) -> Failure {
        match error {
            forebay_device::Error::Trace { offset, .. } if *offset > 64 && !self.damage.partial => {
                Failure::Failed(format!("{error}: --partial uses them"))
            }
            _ => Failure::from(error.clone()),
        }
    }
}

/// Where a result goes: a file, or standard output.
fn write_out(out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use io::Write;
    if out == Path::new("-") {
        let mut stdout = io::stdout().lock();
        return Ok(stdout.write_all(bytes).and_then(|()| stdout.flush())?);
    }
    fs::write(out, bytes).map_err(|error| Failure::Failed(format!("cannot write {}: {error}", out.display())))
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
