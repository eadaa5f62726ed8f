//! `forebay quantize`: makes a smaller file of a model, or a GGUF file of a folder.

use std::{ops::ControlFlow, path::PathBuf};

use clap::Args;
use forebay::quantize::{self, Importance, Options, Recipe};

use crate::{cli::Failure, interrupt, progress::Progress};

/// What `quantize` takes.
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// The model: a GGUF file of floats, the first of several, or a folder as Hugging Face or MLX have it
    input: PathBuf,
    /// The file to write; it appears when it is whole
    output: PathBuf,
    /// What matrices become, such as q4_k_m, q8_0 or iq4_xs; a wrong name lists all
    #[arg(long = "type", value_name = "TYPE")]
    recipe: Recipe,
    /// Which columns count most: a GGUF file of type imatrix
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Take a file that is quantised already, which gives a worse one than the original would
    #[arg(long)]
    requantize: bool,
    /// Give every matrix the type that the recipe has for most
    #[arg(long)]
    pure: bool,
    /// Threads; one for each core if not given
    #[arg(short, long)]
    threads: Option<usize>,
}

/// Runs the command.
pub(crate) fn run(args: &QuantizeArgs) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options::new(args.recipe).threads(args.threads.unwrap_or(cores));
    options.importance = args.imatrix.as_deref().map(Importance::open).transpose()?;
    (options.again, options.pure) = (args.requantize, args.pure);
    let cancel = interrupt::cancel()?;
    let mut progress = Progress::of("quantizing");
    let report = quantize::gguf(&args.input, &args.output, &options, |at| {
        let (done, all) = at.read;
        progress.tell(|| {
            format!("{} %, {}: {} to {}", done * 100 / all.max(1), at.tensor, at.types.0, at.types.1)
        });
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    drop(progress);
    let Some(report) = report else { return Err(Failure::Interrupted) };
    for warning in &report.warnings {
        eprintln!("forebay: {warning}");
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{}: {:.1} MiB of tensors instead of {:.1}, {} changed, in {:.1} s",
        args.output.display(),
        mib(report.bytes.1),
        mib(report.bytes.0),
        report.changed,
        report.time.as_secs_f64()
    );
    Ok(())
}
