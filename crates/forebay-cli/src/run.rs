//! `forebay run`: continues a text and prints the tokens as they come.

use std::io::{self, Write};

use clap::Args;
use forebay::{
    Engine, Generation, Timings,
    generate::{sampler::Greedy, stop::StopRule},
};
use serde_json::json;

use crate::cli::{Failure, ModelArgs};

/// What `run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The text to continue
    #[arg(required_unless_present = "tokens", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// Token ids instead of a text, taken as they are
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<u32>,
    /// The most tokens to generate; until the text ends or the context is full if not given
    #[arg(short)]
    n: Option<usize>,
    /// Take the most likely token each time, which so far is the only way
    #[arg(long)]
    greedy: bool,
    /// Go on after a token that ends the text
    #[arg(long)]
    ignore_eos: bool,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    args.model.with(|engine| go_on(engine, args))
}

fn go_on(engine: &Engine, args: &RunArgs) -> Result<(), Failure> {
    let prompt = match &args.prompt {
        Some(text) => engine.tokenizer().encode(text, true)?,
        None => args.tokens.clone(),
    };
    let rule = StopRule { limit: args.n, ignore_ends: args.ignore_eos };
    let mut generation = engine.generate_from(&prompt, rule, Box::new(Greedy))?;
    if args.json {
        return print_json(&mut generation, &prompt);
    }
    let mut out = io::stdout().lock();
    if let Some(text) = &args.prompt {
        write!(out, "{text}")?;
    }
    out.flush()?;
    for piece in &mut generation {
        match piece {
            Ok(piece) => {
                write!(out, "{}", piece.text)?;
                out.flush()?;
            }
            Err(error) => {
                writeln!(out)?;
                return Err(error.into());
            }
        }
    }
    writeln!(out)?;
    eprintln!("{}", rates(&generation.timings()));
    Ok(())
}

fn print_json(generation: &mut Generation<'_>, prompt: &[u32]) -> Result<(), Failure> {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    for piece in &mut *generation {
        let piece = piece?;
        tokens.extend(piece.token);
        text.push_str(&piece.text);
    }
    let timings = generation.timings();
    let object = json!({
        "prompt_tokens": prompt,
        "tokens": tokens,
        "text": text,
        "timings": {
            "prompt_seconds": timings.prompt.as_secs_f64(),
            "generated_seconds": timings.generated.as_secs_f64(),
        },
    });
    writeln!(io::stdout().lock(), "{object}")?;
    Ok(())
}

fn rates(timings: &Timings) -> String {
    let rate = |tokens: usize, time: std::time::Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    format!(
        "prompt: {} tokens, {:.1} tokens/s; generated: {} tokens, {:.1} tokens/s",
        timings.prompt_tokens,
        rate(timings.prompt_tokens, timings.prompt),
        timings.generated_tokens,
        rate(timings.generated_tokens, timings.generated),
    )
}
