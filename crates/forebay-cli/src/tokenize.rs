//! `forebay tokenize`: text to token ids, and back.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use forebay::generate::tokenizer::Tokenizer;
use serde_json::json;

use crate::cli::Failure;

/// What `tokenize` takes.
#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// A GGUF file, of which a vocabulary alone will do; a tokenizer.json, or the folder of one
    model: PathBuf,
    /// The text; standard input if nothing is given
    #[arg(long, group = "input")]
    text: Option<String>,
    /// A file with the text
    #[arg(long, group = "input")]
    file: Option<PathBuf>,
    /// A JSON file with an array of texts
    #[arg(long, group = "input")]
    batch: Option<PathBuf>,
    /// Token ids to turn into text
    #[arg(long, group = "input", value_delimiter = ',')]
    decode: Vec<u32>,
    /// Neither parse special tokens in the text nor add those that the model wants
    #[arg(long)]
    no_special: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &TokenizeArgs) -> Result<(), Failure> {
    let tokenizer = Tokenizer::open(&args.model)?;
    let encode = |text: &str| tokenizer.encode(text, !args.no_special);
    let mut out = io::stdout().lock();
    if !args.decode.is_empty() {
        let text = tokenizer.decode(&args.decode, !args.no_special)?;
        match args.json {
            true => writeln!(out, "{}", json!({ "text": text }))?,
            false => writeln!(out, "{text}")?,
        }
        return Ok(());
    }
    if let Some(path) = &args.batch {
        let texts: Vec<String> = serde_json::from_str(&read(path)?)
            .map_err(|error| Failure::Failed(format!("{}: no array of texts: {error}", path.display())))?;
        let lists = texts.iter().map(|text| encode(text)).collect::<Result<Vec<_>, _>>()?;
        writeln!(out, "{}", json!({ "tokens": lists }))?;
        return Ok(());
    }
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => read(path)?,
        (None, None) => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
            text
        }
    };
    let ids = encode(&text)?;
    match args.json {
        true => writeln!(out, "{}", json!({ "tokens": ids }))?,
        false => {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            writeln!(out, "{}", ids.join(","))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))
}
