//! `forebay logits`: the logits of every token of a list, as a safetensors file.

use std::path::PathBuf;

use clap::Args;
use forebay::{
    Engine,
    formats::write::{self, NamedTensor},
    generate::step::SequenceOptions,
};
use forebay_tensor::DType;

use crate::{cli::Failure, model::ModelArgs};

/// What `logits` takes.
#[derive(Debug, Args)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Token ids, taken as they are
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// The file to write: tensor `logits`, f32, tokens times vocabulary
    #[arg(long)]
    out: PathBuf,
    /// Tokens computed at a time
    #[arg(long, default_value_t = 32)]
    chunk: usize,
    /// Take tokens in one by one, by the steps that generate text
    #[arg(long, conflicts_with = "chunk")]
    one_by_one: bool,
}

/// Runs the command.
pub(crate) fn run(args: &LogitsArgs) -> Result<(), Failure> {
    args.model.with(|engine| compute(engine, args))
}

fn compute(engine: &Engine, args: &LogitsArgs) -> Result<(), Failure> {
    let all_logits = !args.one_by_one;
    let options = SequenceOptions { chunk: args.chunk, all_logits, ..engine.sequence_options() };
    let mut sequence = engine.sequence_with(&options)?;
    let mut logits: Vec<f32> = Vec::new();
    let mut each = |rows: &[f32]| {
        logits.extend_from_slice(rows);
        Ok(())
    };
    match args.one_by_one {
        true => args.tokens.iter().try_for_each(|id| sequence.feed_each(&[*id], &mut each))?,
        false => sequence.feed_each(&args.tokens, &mut each)?,
    }
    let shape = [args.tokens.len(), engine.model().sizes().vocabulary];
    let bytes = bytemuck::cast_slice(&logits);
    write::safetensors(
        &args.out,
        &[NamedTensor { name: "logits", dtype: DType::F32, shape: &shape, bytes }],
    )?;
    Ok(())
}
