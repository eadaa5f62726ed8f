//! `forebay bench`: how fast a model reads prompts and generates here, and how near that is to what memory allows.
//!
//! Each test runs as others report it: a prompt of so many tokens, or so many tokens one after another, at a depth that was filled
//! before the clock starts. The first round of a test is not counted.
//! Next rooms: `bandwidth`, what memory gives in the same run; `profile`, where the time of a step goes; `explain`, what each of its
//! launches moves; `several`, for texts that take a token each at a time.

mod bandwidth;
mod explain;
mod profile;
mod several;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    time::Instant,
};

use clap::Args;
use explain::Explained;
use forebay::{
    Engine,
    formats::gguf::{self, Gguf, Split},
    generate::step::{Sequence, SequenceOptions},
    quantize::Shape,
};
use forebay_device::{Device, MappedFile, Tag};
use serde_json::{Value, json};

use crate::{
    cli::Failure,
    model::{Model, OpenArgs},
    progress::Progress,
    quantize::Target,
    resident,
    size::Size,
};

/// What `bench` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay bench model.gguf                      a prompt of 512 tokens, and 128 tokens one by one
  forebay bench model.gguf -p 0 -n 64 -d 0,4096 how much slower tokens come behind a long text
  forebay bench --shape qwen3-0.6b --quant q8_0 random weights: no file is needed
  forebay bench model.gguf -p 0 --sequences 1,8 what a step costs that serves eight texts
  forebay bench model.gguf -p 0 --explain       what each launch of a step takes, and how many bytes it moves

The share of the bandwidth is what a token has to read of weights and cache, over what memory gives in the same run.")]
pub(crate) struct BenchArgs {
    /// The model: a GGUF file, the first of several, or a folder; the demo model if not given
    model: Option<PathBuf>,
    /// Take random weights in the shape of this model instead, such as qwen3-0.6b; a wrong name lists all
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    shape: Option<String>,
    /// What those weights become, such as q4_k_m, q8_0 or f16, or for MLX mlx4 or mlx8g32; a wrong name lists all
    #[arg(long, value_name = "TYPE", default_value = "q4_k_m", requires = "shape")]
    quant: Target,
    /// Keep the file of those weights, or for types of MLX the folder, so that others can be measured on it
    #[arg(long, value_name = "PATH", requires = "shape")]
    save: Option<PathBuf>,
    /// Tokens of prompts; 0 leaves the test out
    #[arg(short = 'p', long = "prompt", value_delimiter = ',', default_value = "512", value_name = "TOKENS")]
    prompts: Vec<usize>,
    /// Tokens generated one by one; 0 leaves the test out
    #[arg(short = 'n', long = "gen", value_delimiter = ',', default_value = "128", value_name = "TOKENS")]
    generations: Vec<usize>,
    /// Tokens that are there before the test begins
    #[arg(short = 'd', long = "depth", value_delimiter = ',', default_value = "0", value_name = "TOKENS")]
    depths: Vec<usize>,
    /// Texts that take a token each at a time, where tokens are generated one by one
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "TEXTS")]
    sequences: Vec<usize>,
    /// Rounds of each test that count
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// Say on standard error how long each kernel takes in the step behind the last test
    #[arg(long)]
    profile: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    open: OpenArgs,
}

/// What is timed.
#[derive(Clone, Copy, Debug)]
struct Test {
    prompt: usize,
    generated: usize,
    depth: usize,
    /// Texts that take a token each at a time.
    sequences: usize,
}

/// What was found.
struct Found {
    test: Test,
    /// Tokens a second, a round each.
    samples: Vec<f64>,
    /// Requests for memory of the device in rounds that count.
    requests: u64,
    /// Bytes that a token reads, where that is what bounds it.
    bytes: Option<f64>,
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let Some(shape) = &args.shape else {
        let begun = Instant::now();
        let name = args.model.as_deref().map_or_else(|| "demo".to_owned(), |path| path.display().to_string());
        let model = Model::of(args.model.as_deref());
        // Before the model is opened, which is the most memory that is taken.
        let weights = args.model.as_deref().and_then(read_for_a_token);
        return args.open.with(&model, |engine| measure(engine, args, &name, weights, begun));
    };
    let shape = Shape::find(shape)?;
    let made = Made::of(&shape, args)?;
    let name = format!("{} in {}, random weights", shape.name(), args.quant);
    let (begun, weights) = (Instant::now(), read_for_a_token(&made.path));
    args.open.with(&Model::File(made.path.clone()), |engine| measure(engine, args, &name, weights, begun))
}

/// A file or folder of random weights, which goes when it was not asked for.
struct Made {
    path: PathBuf,
    goes: bool,
}

impl Made {
    fn of(shape: &Shape, args: &BenchArgs) -> Result<Self, Failure> {
        let ending = if matches!(args.quant, Target::Gguf(_)) { ".gguf" } else { "" };
        let name = format!("forebay-{}-{}{ending}", shape.name(), process::id());
        let path = args.save.clone().unwrap_or_else(|| env::temp_dir().join(name));
        let made = Self { path, goes: args.save.is_none() };
        let mut progress = Progress::of("making weights");
        let told = |done, all| progress.tell(|| format!("{} of {}", Size(done), Size(all)));
        match args.quant {
            Target::Gguf(recipe) => shape.write(&made.path, recipe, told)?,
            Target::Mlx(types) => shape.write_folder(&made.path, &types.options()?, told)?,
        }
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.goes {
            // Where it cannot be removed, the system's own cleaning will.
            let _ = match self.path.is_dir() {
                true => fs::remove_dir_all(&self.path),
                false => fs::remove_file(&self.path),
            };
        }
    }
}

/// Measures; `weights` are the bytes that a token reads of them, where that is known, and `begun` is when opening began.
fn measure(
    engine: &Engine,
    args: &BenchArgs,
    name: &str,
    weights: Option<f64>,
    begun: Instant,
) -> Result<(), Failure> {
    let tests = tests(args);
    let Some(longest) = tests.iter().map(Test::longest).max() else {
        return Err(Failure::Usage("nothing to measure: -p and -n are both 0".to_owned()));
    };
    if args.sequences.contains(&0) {
        return Err(Failure::Usage("--sequences is from 1 on".to_owned()));
    }
    let most = engine.model().sizes().context;
    if longest > most {
        let wanted =
            format!("a test needs {longest} tokens, and this model was made for {most}; ask for fewer");
        return Err(Failure::Usage(wanted));
    }
    let options = SequenceOptions { context: longest, ..engine.sequence_options() };
    let mut sequence = engine.sequence_with(&options)?;
    sequence.feed(&[Ids::of(engine).next()])?;
    sequence.greedy()?;
    let first_token = begun.elapsed().as_secs_f64();
    let cache = engine.device().pool().stats().by_tag[tag(Tag::Kv)] as f64 / longest as f64;
    let mut progress = Progress::of("bench");
    let mut found = Vec::new();
    for test in tests {
        let mut rounds = Found { test, samples: Vec::new(), requests: 0, bytes: None };
        let several = (test.sequences > 1).then(|| engine.batch_with(test.sequences, &options));
        let mut several = several.transpose()?;
        for round in 0..=args.repetitions {
            progress.tell(|| format!("{}, round {round} of {}", test.name(), args.repetitions));
            let (rate, requests) = match &mut several {
                Some(batch) => several::one_round(engine, batch, &test)?,
                None => one_round(engine, &mut sequence, &test)?,
            };
            if round > 0 {
                rounds.samples.push(rate);
                rounds.requests += requests;
            }
        }
        if let (true, Some(weights)) = (test.generated > 0, weights) {
            let own = cache * (test.depth as f64 + test.generated as f64 / 2.0);
            rounds.bytes = Some(weights / test.sequences as f64 + own);
        }
        found.push(rounds);
    }
    drop(progress);
    match args.sequences.last() {
        Some(several) if args.profile && *several > 1 => {
            profile::tell_of_batch(&mut engine.batch_with(*several, &options)?)?;
        }
        _ if args.profile => profile::tell(&mut sequence)?,
        _ => {}
    }
    let explained = args.open.how.explains().then(|| explain::of(&mut sequence)).transpose()?;
    let peak = Peak { host: resident::most(), card: peak_on_card(engine.device()) };
    let bandwidth = bandwidth::of(engine.device())?;
    print(engine, args, name, &Results { found, peak, explained, bandwidth, first_token })
}

/// All that was found.
struct Results {
    found: Vec<Found>,
    peak: Peak,
    explained: Option<Explained>,
    /// Bytes a second.
    bandwidth: f64,
    /// Seconds from before the model was opened until a token was known, behind a prompt of one.
    first_token: f64,
}

/// The most memory that was taken at once.
struct Peak {
    /// By this process, where the system tells.
    host: Option<u64>,
    /// Of a device with memory of its own.
    card: Option<u64>,
}

fn tag(tag: Tag) -> usize {
    Tag::ALL.iter().position(|other| *other == tag).unwrap_or_default()
}

fn tests(args: &BenchArgs) -> Vec<Test> {
    let mut tests = Vec::new();
    for &depth in &args.depths {
        let prompts = args.prompts.iter().map(|&prompt| Test { prompt, generated: 0, depth, sequences: 1 });
        let generations = args.generations.iter().flat_map(|&generated| {
            args.sequences.iter().map(move |&sequences| Test { prompt: 0, generated, depth, sequences })
        });
        tests.extend(prompts.chain(generations).filter(|test| test.prompt + test.generated > 0));
    }
    tests
}

/// Tokens without any meaning, the same in every round.
struct Ids {
    vocabulary: u32,
    state: u32,
}

impl Ids {
    fn of(engine: &Engine) -> Self {
        Self { vocabulary: engine.model().sizes().vocabulary as u32, state: 1 }
    }

    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.state >> 8) % self.vocabulary
    }
}

/// Tokens a second of one round, and how often it asked for memory.
fn one_round(engine: &Engine, sequence: &mut Sequence, test: &Test) -> Result<(f64, u64), Failure> {
    let mut ids = Ids::of(engine);
    let mut next = || ids.next();
    sequence.roll_back(0)?;
    let depth: Vec<u32> = (0..test.depth).map(|_| next()).collect();
    if !depth.is_empty() {
        sequence.feed(&depth)?;
        sequence.greedy()?;
    }
    let prompt: Vec<u32> = (0..test.prompt).map(|_| next()).collect();
    let before = engine.device().pool().stats();
    let begun = Instant::now();
    if !prompt.is_empty() {
        sequence.feed(&prompt)?;
        // What is asked for has to be there before the clock stops.
        sequence.greedy()?;
    }
    let mut id = next();
    for left in (0..test.generated).rev() {
        sequence.feed(&[id])?;
        let ahead = left > 0 && sequence.run_ahead()?;
        let found = sequence.greedy()?;
        // Where the device runs ahead, as when it generates, the token is its own.
        id = if ahead { found } else { next() };
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = engine.device().pool().stats();
    let requests = (after.hits + after.misses) - (before.hits + before.misses);
    Ok(((test.prompt + test.generated) as f64 / seconds.max(1e-9), requests))
}

/// Bytes of the weights that one token has to read: all but a table of which it reads a row, and of experts those it is sent to.
/// None for what is no GGUF file.
fn read_for_a_token(path: &Path) -> Option<f64> {
    let parse = |path: &Path| Gguf::parse(path, MappedFile::open(path).ok()?.bytes()).ok();
    let first = parse(path)?;
    let parts = gguf::part_paths(&first).ok()?;
    let split = Split::join(parts.iter().map(|path| parse(path)).collect::<Option<_>>()?).ok()?;
    let metadata = split.parts()[0].metadata();
    let family = metadata.find::<&str>("general.architecture").ok()??;
    let number = |name: &str| metadata.find::<u32>(&format!("{family}.{name}")).ok().flatten();
    let chosen = match (number("expert_used_count"), number("expert_count")) {
        (Some(used), Some(all)) if all > 0 => f64::from(used) / f64::from(all),
        _ => 1.0,
    };
    let tied = split.find("output.weight").is_none();
    let bytes = |tensor: &gguf::Tensor| {
        let bytes = (tensor.range().end - tensor.range().start) as f64;
        match tensor.name() {
            "token_embd.weight" if !tied => 0.0,
            name if name.contains("_exps.") => bytes * chosen,
            _ => bytes,
        }
    };
    Some(split.tensors().map(|(_, tensor)| bytes(tensor)).sum())
}

/// The most memory that was taken from a device at once, where that is not the host's.
fn peak_on_card(device: &Device) -> Option<u64> {
    (!device.caps().unified).then(|| device.pool().stats().peak_reserved)
}

impl Test {
    /// Positions that a text of it has at its end; several begin with a token each.
    fn longest(&self) -> usize {
        let first = usize::from(self.sequences > 1 && self.depth == 0);
        self.depth + first + self.prompt + self.generated
    }

    fn name(&self) -> String {
        let what = match (self.prompt, self.sequences) {
            (0, 1) => format!("tg{}", self.generated),
            (0, sequences) => format!("tg{} x {sequences}", self.generated),
            (prompt, _) => format!("pp{prompt}"),
        };
        if self.depth > 0 { format!("{what} @ d{}", self.depth) } else { what }
    }
}

impl Found {
    /// Seconds of a step, in the mean, where tokens are generated.
    fn step(&self) -> Option<f64> {
        let steps = self.samples.iter().map(|rate| self.test.sequences as f64 / rate);
        (self.test.generated > 0).then(|| steps.sum::<f64>() / self.samples.len() as f64)
    }
}

/// Mean and standard deviation.
fn spread(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

fn print(engine: &Engine, args: &BenchArgs, model: &str, results: &Results) -> Result<(), Failure> {
    let Results { found, peak, explained, bandwidth, first_token } = results;
    let caps = engine.device().caps();
    let (workers, way) = match caps.unified {
        true => ("threads", "reading"),
        false => ("multiprocessors", "copying"),
    };
    let share = |found: &Found| found.bytes.map(|bytes| bytes * spread(&found.samples).0 / bandwidth);
    let mut out = io::stdout().lock();
    if args.json {
        let tests: Vec<Value> = found.iter().map(|found| as_json(found, share(found))).collect();
        let mut object = json!({
            "model": model,
            "device": caps.name,
            "backend": caps.backend.name(),
            "threads": caps.workers,
            "bandwidth": bandwidth,
            "bandwidth_of": way,
            "peak_memory": peak.host,
            "peak_card_memory": peak.card,
            "first_token_seconds": first_token,
            "tests": tests,
        });
        if let Some(explained) = explained {
            object["step"] = explained.json(*bandwidth);
        }
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "{model}, {}, {} {workers}", caps.name, caps.workers)?;
    let (tokens, step) = ("tokens/s", "ms a step");
    writeln!(
        out,
        "{:<18} {tokens:>12} {:>9} {step:>10} {:>11} {:>9}",
        "test", "+-", "bandwidth", "requests"
    )?;
    for found in found {
        let (mean, deviation) = spread(&found.samples);
        let share = share(found).map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share));
        let name = found.test.name();
        let step = found.step().map_or_else(String::new, |seconds| format!("{:.3}", 1e3 * seconds));
        writeln!(
            out,
            "{name:<18} {mean:>12.2} {deviation:>9.2} {step:>10} {share:>11} {:>9}",
            found.requests
        )?;
    }
    let told = |what, bytes: Option<u64>| bytes.map(|bytes| format!(", {what} {}", Size(bytes)));
    let host = told("peak memory", peak.host).unwrap_or_default();
    let card = told("of the card", peak.card).unwrap_or_default();
    writeln!(
        out,
        "{way} {:.1} GB/s{host}{card}, first token {first_token:.2} s after opening began; requests: for memory, in the rounds that count",
        bandwidth / 1e9
    )?;
    match explained {
        Some(explained) => Ok(explained.print(&mut out, *bandwidth)?),
        None => Ok(()),
    }
}

fn as_json(found: &Found, share: Option<f64>) -> Value {
    let (mean, deviation) = spread(&found.samples);
    json!({
        "n_prompt": found.test.prompt,
        "n_gen": found.test.generated,
        "depth": found.test.depth,
        "n_sequences": found.test.sequences,
        "samples": found.samples,
        "tokens_per_second": mean,
        "deviation": deviation,
        "seconds_per_step": found.step(),
        "bandwidth_share": share,
        "memory_requests": found.requests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_mean_and_a_deviation() {
        assert_eq!(spread(&[2.0, 4.0, 6.0]), (4.0, 2.0));
        assert_eq!(spread(&[3.0]), (3.0, 0.0));
    }
}
