//! `forebay run`: answers a prompt or continues a text, and prints tokens as they come.
//!
//! Standard output gets the text, or one JSON object, and nothing else.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use forebay::{
    Chat, Engine, Generation, Timings,
    generate::{
        sampler::{Chain, Grammar, Sampler, SamplerOptions},
        stop::{Stop, StopRule},
        template::Message,
    },
};
use serde_json::json;

use crate::{
    cli::Failure,
    interrupt,
    model::{Model, OpenArgs},
    progress::Progress,
    prompt,
    sampling::SamplingArgs,
};

/// What `run` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
A prompt can also come from standard input (give - or nothing) or from a file (--file). Of one argument, a file \
that is there is the MODEL, and anything that does not look like a file is a PROMPT for the demo model.

Examples:
  forebay run model.gguf \"Why is the sky blue?\"
  forebay run model.gguf \"Once upon a time\" --raw -n 100 --seed 7
  git diff | forebay run model.gguf - --system \"Summarise this change.\" --greedy")]
pub(crate) struct RunArgs {
    /// The model: a GGUF file, the first of several, or a folder
    model: Option<String>,
    /// What to answer or to continue; - is standard input
    prompt: Option<String>,
    /// A file with the prompt
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Token ids instead of a text, taken as they are
    #[arg(long, value_delimiter = ',', value_name = "IDS", conflicts_with_all = ["file", "system", "think"])]
    tokens: Vec<u32>,
    /// The most tokens to generate; until the text ends or the context is full if not given, or -1
    #[arg(short, long = "predict", value_name = "TOKENS", value_parser = limit, allow_negative_numbers = true)]
    n: Option<usize>,
    /// End at this text, which is not printed; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on after a token that ends the text
    #[arg(long, conflicts_with_all = ["schema", "grammar"])]
    ignore_eos: bool,
    /// Generate JSON that fits the JSON schema in this file, and nothing else
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Generate a text of the grammar in this file, in the notation of Lark or GBNF, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "schema")]
    grammar: Option<PathBuf>,
    /// Continue the prompt as it is, without the chat template of the model
    #[arg(long, conflicts_with_all = ["system", "think"])]
    raw: bool,
    #[command(flatten)]
    speech: SpeechArgs,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    open: OpenArgs,
}

/// How many tokens to generate at most; others write -1 where nothing bounds it.
pub(crate) fn limit(text: &str) -> Result<usize, std::num::ParseIntError> {
    if text == "-1" { Ok(usize::MAX) } else { text.parse() }
}

/// How a model is spoken to.
#[derive(Debug, Args)]
pub(crate) struct SpeechArgs {
    /// What the model is told before everything else
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Whether a model that can think before it answers does so; its template decides if not given
    #[arg(long, value_enum, value_name = "ON|OFF")]
    think: Option<OnOff>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl SpeechArgs {
    /// The template of a model, told about thinking.
    pub(crate) fn chat<'a>(&self, engine: &'a Engine) -> Result<Option<Chat<'a>>, Failure> {
        let mut chat = engine.chat()?;
        if let (Some(chat), Some(think)) = (&mut chat, self.think) {
            // Templates agree on the idea, not on the name.
            for name in ["enable_thinking", "thinking"] {
                chat.variables.insert(name.to_owned(), (think == OnOff::On).into());
            }
        }
        Ok(chat)
    }

    /// What a conversation begins with.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.system.iter().map(|text| Message::new("system", text)).collect()
    }
}

/// What a text is generated from.
struct Begin {
    tokens: Vec<u32>,
    /// The text to be printed before what is generated.
    shown: String,
}

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let (first, second) = (args.model.as_deref(), args.prompt.as_deref());
    let (model, given) = match args.tokens.is_empty() {
        true => Model::and_prompt(first, second)?,
        false if second.is_some() => {
            return Err(Failure::Usage(
                "there are two prompts, one of them by --tokens; give one".to_owned(),
            ));
        }
        false => (Model::of(first.map(str::as_ref)), None),
    };
    let text = match args.tokens.is_empty() {
        true => Some(prompt::text(given.as_deref(), args.file.as_deref())?.ok_or_else(no_prompt)?),
        false => None,
    };
    args.open.with(&model, |engine| go_on(engine, args, text.as_deref()))
}

fn no_prompt() -> Failure {
    Failure::Usage(
        "there is no prompt; give a text, --file or --tokens, or talk with the model by `forebay chat`"
            .to_owned(),
    )
}

fn go_on(engine: &Engine, args: &RunArgs, text: Option<&str>) -> Result<(), Failure> {
    let begin = begin(engine, args, text)?;
    let options = args.sampling.options(SamplerOptions::of(engine.settings()))?;
    let sampler = sampler(engine, args, &options)?;
    let cancel = interrupt::cancel()?;
    let rule = StopRule { limit: args.n, ignore_ends: args.ignore_eos, texts: args.stop.clone(), cancel };
    let mut sequence = engine.sequence()?;
    let mut progress = Progress::of("reading the prompt");
    let mut tell = |done: usize| progress.tell(|| format!("{done} of {} tokens", begin.tokens.len()));
    let mut generation = engine.generate_in(&mut sequence, &begin.tokens, rule, sampler, &mut tell)?;
    drop(progress);
    match args.json {
        true => print_json(&mut generation, &begin.tokens)?,
        false => print_text(&mut generation, &begin.shown)?,
    }
    let seed = (options.temperature > 0.0).then_some(options.seed);
    let grammar = args.schema.as_ref().or(args.grammar.as_ref()).map(|_| "a grammar");
    eprintln!("{}", closing(engine, &generation, seed, grammar.or(options.needs_host())));
    match generation.stop() {
        Some(Stop::Cancelled) => Err(Failure::Interrupted),
        _ => Ok(()),
    }
}

fn sampler(engine: &Engine, args: &RunArgs, options: &SamplerOptions) -> Result<Box<dyn Sampler>, Failure> {
    let tokenizer = engine.tokenizer();
    let Some(path) = args.schema.as_ref().or(args.grammar.as_ref()) else {
        return Ok(options.sampler(tokenizer)?);
    };
    let named = |error: String| Failure::Failed(format!("{}: {error}", path.display()));
    let source = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    let grammar = match &args.schema {
        Some(_) => Grammar::json_schema(tokenizer, &source),
        None if path.extension().is_some_and(|ending| ending == "gbnf") || Grammar::is_gbnf(&source) => {
            Grammar::gbnf(tokenizer, &source)
        }
        None => Grammar::lark(tokenizer, &source),
    };
    let grammar = grammar.map_err(|error| named(error.to_string()))?;
    Ok(Box::new(options.extend(Chain::new(options.seed).with(grammar), tokenizer)?))
}

fn begin(engine: &Engine, args: &RunArgs, text: Option<&str>) -> Result<Begin, Failure> {
    let Some(text) = text else {
        return Ok(Begin { tokens: args.tokens.clone(), shown: String::new() });
    };
    let chat = if args.raw { None } else { args.speech.chat(engine)? };
    let Some(chat) = chat else {
        if args.speech.system.is_some() || args.speech.think.is_some() {
            let reason = "this model has no chat template, which --system and --think are for";
            return Err(Failure::Usage(reason.to_owned()));
        }
        return Ok(Begin { tokens: engine.tokenizer().encode(text, true)?, shown: text.to_owned() });
    };
    let mut messages = args.speech.messages();
    messages.push(Message::new("user", text));
    Ok(Begin { tokens: chat.tokens(&messages)?, shown: String::new() })
}

fn print_text(generation: &mut Generation<'_>, shown: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{shown}")?;
    out.flush()?;
    for piece in generation {
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
    Ok(())
}

fn print_json(generation: &mut Generation<'_>, prompt: &[u32]) -> Result<(), Failure> {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    for piece in &mut *generation {
        let piece = piece?;
        tokens.extend(piece.token);
        text.push_str(&piece.text);
    }
    let Timings { prompt: prompt_time, generated, .. } = generation.timings();
    let object = json!({
        "prompt_tokens": prompt,
        "tokens": tokens,
        "text": text,
        "timings": {
            "prompt_seconds": prompt_time.as_secs_f64(),
            "prompt_tokens_per_second": rate(prompt.len(), prompt_time),
            "generated_seconds": generated.as_secs_f64(),
            "generated_tokens_per_second": rate(tokens.len(), generated),
        },
    });
    writeln!(io::stdout().lock(), "{object}")?;
    Ok(())
}

/// Tokens a second.
pub(crate) fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(1e-9)
}

/// The line at the end: rates, what a card had to wait for the host for, why it ended where that is no matter of course, and how to
/// have the same again.
pub(crate) fn closing(
    engine: &Engine,
    generation: &Generation<'_>,
    seed: Option<u64>,
    needs_host: Option<&str>,
) -> String {
    let Timings { prompt_tokens, reused_tokens, prompt, generated_tokens, generated, .. } =
        generation.timings();
    let read = prompt_tokens - reused_tokens;
    let mut line = format!("prompt: {prompt_tokens} tokens");
    if reused_tokens > 0 {
        line += &format!(", {reused_tokens} of them known");
    }
    line += &format!(
        ", {:.1} tokens/s; generated: {generated_tokens} tokens, {:.1} tokens/s",
        rate(read, prompt),
        rate(generated_tokens, generated),
    );
    if let Some(what) = needs_host.filter(|_| !engine.device().caps().unified) {
        line += &format!(" (each waited for the host, for {what})");
    }
    if let Some(seed) = seed {
        line += &format!("; seed {seed}");
    }
    match generation.stop() {
        Some(Stop::Context) => {
            let context = generation.sequence().context();
            let most = engine.model().sizes().context;
            line += &format!("; the context of {context} tokens is full");
            if most > context {
                line += &format!(", --ctx gives up to {most}");
            }
        }
        Some(Stop::Cancelled) => line += "; ended by Ctrl-C",
        _ => {}
    }
    line
}
