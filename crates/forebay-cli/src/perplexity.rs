//! `forebay perplexity`: how well a model predicts a text, and how far it is from another model.
//!
//! The text is cut into pieces of the context's length, each begun anew; of each the second half counts, so that every token that
//! counts is predicted from half a context at least. It is what others report by this name, so that numbers compare.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use forebay::{
    Engine,
    generate::step::{Sequence, SequenceOptions},
};
use forebay_device::Device;
use serde_json::json;

use crate::{
    cli::Failure,
    model::{Model, OpenArgs},
    progress::Progress,
    prompt,
};

/// What `perplexity` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
The text is cut into pieces of --ctx tokens (512 if not given), each begun anew, and the second half of each counts.")]
pub(crate) struct PerplexityArgs {
    /// The model: a GGUF file, the first of several, or a folder
    model: PathBuf,
    /// The text; - is standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// How many pieces of the text to look at; all if not given
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// Compare with this model, which must have the same vocabulary: what is printed tells how far MODEL is from it
    #[arg(long, value_name = "OTHER")]
    kl_base: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    open: OpenArgs,
}

/// Runs the command.
pub(crate) fn run(args: &PerplexityArgs) -> Result<(), Failure> {
    let text = prompt::text(None, Some(&args.file))?;
    let text = text.ok_or_else(|| Failure::Failed(format!("{} is empty", args.file.display())))?;
    args.open.with(&Model::File(args.model.clone()), |engine| match &args.kl_base {
        None => measure(engine, None, args, &text),
        Some(base) => {
            let base = open_base(args, base)?;
            measure(engine, Some(&base), args, &text)
        }
    })
}

fn open_base(args: &PerplexityArgs, base: &Path) -> Result<Engine, Failure> {
    let device = Device::open(&args.open.how.device())?;
    Ok(args.open.how.open(&device, base)?)
}

/// Tokens whose logits are there at once.
const ROWS: usize = 64;

/// A mean that is being counted, with its error.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn value(&self) -> f64 {
        self.sum / self.count
    }

    /// The standard error of the mean.
    fn error(&self) -> f64 {
        let variance = (self.squares / self.count - self.value().powi(2)).max(0.0);
        (variance / (self.count - 1.0).max(1.0)).sqrt()
    }
}

#[derive(Debug, Default)]
struct Found {
    surprise: Mean,
    base_surprise: Mean,
    divergence: Mean,
    same_first: Mean,
}

fn measure(engine: &Engine, base: Option<&Engine>, args: &PerplexityArgs, text: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let tokenizer = engine.tokenizer();
    let mut ids = tokenizer.encode(text, false)?;
    let begin = tokenizer.encode("", true)?.first().copied();
    if let Some(base) = base
        && (base.tokenizer().size() != tokenizer.size() || base.tokenizer().encode(text, false)? != ids)
    {
        let reason =
            "the two models do not cut the text into the same tokens, so that they cannot be compared";
        return Err(Failure::Failed(reason.to_owned()));
    }
    let most = engine.model().sizes().context;
    let length = args.open.how.context().unwrap_or(512).min(most);
    if length < 4 {
        return Err(Failure::Usage(
            "pieces of the text need 4 tokens at least; give a larger --ctx".to_owned(),
        ));
    }
    let pieces = (ids.len() / length).min(args.chunks.unwrap_or(usize::MAX));
    if pieces == 0 {
        let found = ids.len();
        return Err(Failure::Failed(format!(
            "the text has {found} tokens, and a piece {length}; give a longer text, or a smaller --ctx"
        )));
    }
    ids.truncate(pieces * length);
    let mut progress = Progress::of("perplexity");
    let mut found = Found::default();
    let mut ours = sequence(engine, length)?;
    let mut other = base.map(|base| sequence(base, length)).transpose()?;
    let width = engine.model().sizes().vocabulary;
    for (number, piece) in ids.chunks_mut(length).enumerate() {
        // A piece begins as a text does, where the model has a token for that.
        if let Some(begin) = begin {
            piece[0] = begin;
        }
        ours.roll_back(0)?;
        other.as_mut().map_or(Ok(()), |other| other.roll_back(0))?;
        for (part, ids) in piece.chunks(ROWS).enumerate() {
            let rows = logits(&mut ours, ids)?;
            let other_rows = other.as_mut().map(|other| logits(other, ids)).transpose()?;
            for (row, place) in (part * ROWS..).take(ids.len()).enumerate() {
                if (length / 2..length - 1).contains(&place) {
                    let row = |rows: &[f32]| chances(&rows[row * width..(row + 1) * width]);
                    found.add(
                        &row(&rows),
                        other_rows.as_deref().map(row).as_deref(),
                        piece[place + 1] as usize,
                    );
                }
            }
        }
        progress.tell(|| {
            format!("{} of {pieces} pieces, {:.4} so far", number + 1, found.surprise.value().exp())
        });
    }
    drop(progress);
    print(&found, args, pieces, length)?;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{} tokens, {:.1} tokens/s", ids.len(), ids.len() as f64 / seconds.max(1e-9));
    Ok(())
}

fn sequence(engine: &Engine, length: usize) -> Result<Sequence, Failure> {
    let chunk = length.min(ROWS);
    let options = SequenceOptions { context: length, chunk, all_logits: true, ..engine.sequence_options() };
    Ok(engine.sequence_with(&options)?)
}

fn logits(sequence: &mut Sequence, ids: &[u32]) -> Result<Vec<f32>, Failure> {
    let mut rows = Vec::new();
    sequence.feed_each(ids, |chunk| {
        rows.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(rows)
}

/// The logarithms of the probabilities.
fn chances(logits: &[f32]) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    logits.iter().map(|logit| f64::from(*logit) - most - sum.ln()).collect()
}

fn first(chances: &[f64]) -> usize {
    let better = |best: usize, at: usize| if chances[at] > chances[best] { at } else { best };
    (0..chances.len()).fold(0, better)
}

impl Found {
    fn add(&mut self, ours: &[f64], base: Option<&[f64]>, id: usize) {
        self.surprise.add(-ours[id]);
        if let Some(base) = base {
            self.base_surprise.add(-base[id]);
            self.divergence.add(base.iter().zip(ours).map(|(b, o)| b.exp() * (b - o)).sum());
            self.same_first.add(f64::from(u8::from(first(ours) == first(base))));
        }
    }
}

fn print(found: &Found, args: &PerplexityArgs, pieces: usize, length: usize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let ratio = |mean: &Mean| (mean.value().exp(), mean.value().exp() * mean.error());
    let (perplexity, error) = ratio(&found.surprise);
    if args.json {
        let mut object = json!({
            "perplexity": perplexity,
            "error": error,
            "tokens": found.surprise.count as u64,
            "pieces": pieces,
            "piece_tokens": length,
        });
        if args.kl_base.is_some() {
            object["base_perplexity"] = ratio(&found.base_surprise).0.into();
            object["kl_divergence"] = found.divergence.value().into();
            object["kl_divergence_error"] = found.divergence.error().into();
            object["same_top_1"] = found.same_first.value().into();
        }
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "perplexity: {perplexity:.4} +- {error:.4}")?;
    if args.kl_base.is_some() {
        let (base, error) = ratio(&found.base_surprise);
        writeln!(out, "of the other model: {base:.4} +- {error:.4}")?;
        writeln!(out, "KL divergence: {:.6} +- {:.6}", found.divergence.value(), found.divergence.error())?;
        writeln!(out, "same top token: {:.2} %", 100.0 * found.same_first.value())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_come_with_their_error() {
        let mut mean = Mean::default();
        for value in [1.0, 2.0, 3.0, 4.0] {
            mean.add(value);
        }
        assert_eq!(mean.value(), 2.5);
        assert!((mean.error() - (1.25f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn divergence_is_zero_from_itself_and_positive_otherwise() {
        let (one, two) = (chances(&[1.0, 2.0, 3.0]), chances(&[3.0, 2.0, 1.0]));
        assert!((one.iter().map(|chance| chance.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        let mut same = Found::default();
        same.add(&one, Some(&one), 2);
        assert_eq!((same.divergence.value(), same.same_first.value()), (0.0, 1.0));
        let mut other = Found::default();
        other.add(&one, Some(&two), 2);
        assert!(other.divergence.value() > 0.5 && other.same_first.value() == 0.0);
        assert!((same.surprise.value() + one[2]).abs() < 1e-12);
    }
}
