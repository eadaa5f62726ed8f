//! `forebay memory export`: a trace for other programs.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use clap::Args;
use forebay_device::{Error, history::Format};

use super::{Source, TraceArgs, grouped};
use crate::cli::Failure;

/// What `export` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Formats:
  pytorch   a pickled snapshot, for PyTorch's memory viewer or its _memory_viz
  rmm       comma-separated values, for RMM's replay benchmark
  perfetto  trace events in JSON, for Perfetto's viewer")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// For whom: pytorch, rmm or perfetto
    #[arg(long)]
    format: Format,
    /// The file to write; `-` is standard output
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let source = args.trace.source()?;
    if args.out == Path::new("-") {
        let mut stdout = BufWriter::new(io::stdout().lock());
        return write(&source, args, &mut stdout).map(drop);
    }
    // The trace first: what cannot be read makes no file.
    source.open().map_err(|error| source.failure(&error))?;
    let failed = |error: io::Error| Failure::Failed(format!("cannot create {}: {error}", args.out.display()));
    let file = File::create(&args.out).map_err(failed)?;
    let written = write(&source, args, &mut BufWriter::with_capacity(1 << 16, file));
    if written.is_err() && args.out.is_file() {
        // Half a file helps nobody. That it could not be written is told already.
        let _ = fs::remove_file(&args.out);
    }
    eprintln!("{} events written to {}", grouped(written?), args.out.display());
    Ok(())
}

fn write(source: &Source, args: &ExportArgs, to: &mut dyn io::Write) -> Result<u64, Failure> {
    let mut log = source.open().map_err(|error| source.failure(&error))?;
    let written = args.format.write(&mut log, to, &args.out);
    let count = written.map_err(|error| match &error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Failure::Closed,
        error => source.failure(error),
    })?;
    source.tell_damage(&log);
    Ok(count)
}
