//! `forebay imatrix`: which columns of a model's matrices count most, found by running it over a text.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    time::Instant,
};

use clap::Args;
use forebay::{Engine, ImportanceOptions};
use serde_json::json;

use crate::{
    cli::Failure,
    interrupt,
    model::{Model, OpenArgs},
    progress::Progress,
    prompt,
};

/// What `imatrix` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
The text is cut into pieces of --ctx tokens (512 if not given), each begun anew. `forebay quantize --imatrix` reads the file, and so do \
the tools of llama.cpp.")]
pub(crate) struct ImatrixArgs {
    /// The model: a GGUF file of floats, or the first of several
    model: PathBuf,
    /// The text; - is standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The file to write; it appears when it is whole
    #[arg(long, value_name = "OUT", default_value = "imatrix.gguf")]
    out: PathBuf,
    /// How many pieces of the text to look at; all if not given
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// Look at the output too, which is better off when all of its columns count the same
    #[arg(long)]
    process_output: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    open: OpenArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ImatrixArgs) -> Result<(), Failure> {
    let text = prompt::text(None, Some(&args.file))?;
    let text = text.ok_or_else(|| Failure::Failed(format!("{} is empty", args.file.display())))?;
    args.open.with(&Model::File(args.model.clone()), |engine| collect(engine, args, &text))
}

fn collect(engine: &Engine, args: &ImatrixArgs, text: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let ids = engine.tokenizer().encode(text, true)?;
    let piece = args.open.how.context().unwrap_or(512).min(engine.model().sizes().context);
    if args.chunks == Some(0) || piece == 0 {
        return Err(Failure::Usage(
            "there is nothing to look at with no piece, or pieces of no token".to_owned(),
        ));
    }
    if ids.len() < piece {
        return Err(Failure::Failed(format!(
            "the text has {} tokens, and a piece {piece}; give a longer text, or a smaller --ctx",
            ids.len()
        )));
    }
    let cancel = interrupt::cancel()?;
    let mut progress = Progress::of("imatrix");
    let options = ImportanceOptions { piece, most: args.chunks, output: args.process_output };
    let (sums, pieces) = engine.importance(&ids, &options, |done, all| {
        progress.tell(|| format!("{done} of {all} pieces"));
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    drop(progress);
    if cancel.is_cancelled() {
        return Err(Failure::Interrupted);
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    sums.write(&args.out, &args.file.display().to_string(), [count(pieces), count(piece)])?;
    let (matrices, tokens) = (sums.names().len(), pieces * piece);
    if args.json {
        let object = json!({
            "out": args.out.display().to_string(),
            "matrices": matrices,
            "pieces": pieces,
            "piece_tokens": piece,
            "tokens": tokens,
            "asked_experts": sums.asked_experts(),
        });
        writeln!(io::stdout().lock(), "{object}")?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = tokens as f64 / seconds.max(1e-9);
    eprintln!("{}: {matrices} matrices, {tokens} tokens, {rate:.1} tokens/s", args.out.display());
    if let Some(asked) = sums.asked_experts().filter(|asked| *asked < 1.0) {
        let share = 100.0 * (1.0 - asked);
        eprintln!("forebay: {share:.1} % of experts saw no token; their columns will count the same");
    }
    Ok(())
}
