//! `forebay embed`: a text as a list of numbers, made of the hidden states behind the last layer.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use forebay::{
    Engine,
    generate::step::{Sequence, SequenceOptions},
};
use serde_json::json;

use crate::{cli::Failure, model::ModelArgs, prompt};

/// What `embed` takes.
#[derive(Debug, Args)]
#[command(after_help = "Prints {\"embedding\":[…]}, or {\"embeddings\":[[…],…]} with --batch.")]
pub(crate) struct EmbedArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The text; standard input if nothing is given
    #[arg(long, group = "input")]
    text: Option<String>,
    /// A file with the text
    #[arg(long, group = "input", value_name = "FILE")]
    file: Option<PathBuf>,
    /// A JSON file with an array of texts
    #[arg(long, group = "input", value_name = "FILE")]
    batch: Option<PathBuf>,
    /// Which hidden states to take
    #[arg(long, value_enum, default_value_t = Pooling::Last)]
    pooling: Pooling,
    /// Leave the length as it is, instead of making it 1
    #[arg(long)]
    no_normalize: bool,
    /// Say the same as without: the result is always a JSON object
    #[arg(long, hide = true)]
    json: bool,
}

/// Which hidden states make an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pooling {
    /// That of the last token, which has seen all others
    Last,
    /// The mean of all
    Mean,
    /// That of the first token
    First,
}

/// Runs the command.
pub(crate) fn run(args: &EmbedArgs) -> Result<(), Failure> {
    let texts = match &args.batch {
        Some(path) => {
            let bytes = fs::read(path).map_err(|error| cannot_read(path, &error.to_string()))?;
            let texts: Vec<String> = serde_json::from_slice(&bytes)
                .map_err(|error| cannot_read(path, &format!("no array of texts: {error}")))?;
            texts
        }
        None => vec![prompt::text(args.text.as_deref(), args.file.as_deref())?.unwrap_or_default()],
    };
    args.model.with(|engine| {
        // Only the mean and the first need what is not the last.
        let all_logits = args.pooling != Pooling::Last;
        let chunk = if all_logits { 32 } else { 256 };
        let options = SequenceOptions { all_logits, chunk, ..engine.sequence_options() };
        let mut sequence = engine.sequence_with(&options)?;
        let mut embeddings = Vec::new();
        for text in &texts {
            embeddings.push(embed(engine, &mut sequence, text, args)?);
        }
        let object = match args.batch {
            Some(_) => json!({ "embeddings": embeddings }),
            None => json!({ "embedding": embeddings.first() }),
        };
        Ok(writeln!(io::stdout().lock(), "{object}")?)
    })
}

fn cannot_read(path: &std::path::Path, error: &str) -> Failure {
    Failure::Failed(format!("cannot read {}: {error}", path.display()))
}

fn embed(
    engine: &Engine,
    sequence: &mut Sequence,
    text: &str,
    args: &EmbedArgs,
) -> Result<Vec<f32>, Failure> {
    let ids = engine.tokenizer().encode(text, true)?;
    let width = engine.model().sizes().width;
    let mut pooled = vec![0f64; width];
    let mut count = 0;
    sequence.roll_back(0)?;
    sequence.feed_hidden(&ids, |rows| {
        for row in rows.chunks_exact(width) {
            match args.pooling {
                Pooling::First if count > 0 => {}
                Pooling::Mean => pooled.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x)),
                Pooling::First | Pooling::Last => {
                    pooled.iter_mut().zip(row).for_each(|(last, x)| *last = f64::from(*x));
                }
            }
            count += 1;
        }
        Ok(())
    })?;
    if args.pooling == Pooling::Mean {
        pooled.iter_mut().for_each(|sum| *sum /= f64::from(count.max(1)));
    }
    let length = pooled.iter().map(|x| x * x).sum::<f64>().sqrt();
    if !args.no_normalize && length > 0.0 {
        pooled.iter_mut().for_each(|x| *x /= length);
    }
    Ok(pooled.into_iter().map(|x| x as f32).collect())
}
