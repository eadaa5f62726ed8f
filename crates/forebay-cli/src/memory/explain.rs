//! `forebay memory explain`: an explanation as prose or as JSON, of a trace or of a run that is made for it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use forebay::generate::{sampler::Greedy, stop::StopRule};
use forebay_device::{
    Device, TraceOptions,
    history::explain::{Explanation, Holder},
};
use serde_json::{Value, json};

use super::{DamageArgs, Source};
use crate::{cli::Failure, model::HowArgs};

/// What `explain` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Explained is the last request that was refused, or, if none was, the moment when most was live.

With --live, MODEL is run on the prompt and its text thrown away; the explanation is of that run, whether it came to \
its end or ran out of memory. A run that ran out of memory is no failure of this command.")]
pub(super) struct ExplainArgs {
    /// The trace
    #[arg(required_unless_present = "live", conflicts_with = "live")]
    trace: Option<PathBuf>,
    /// Run this model instead, and explain the run
    #[arg(long, value_name = "MODEL")]
    live: Option<PathBuf>,
    /// What to run it on
    #[arg(long, requires = "live", default_value = "Once upon a time")]
    prompt: String,
    /// The most tokens to generate
    #[arg(short, requires = "live", default_value_t = 32)]
    n: usize,
    #[command(flatten)]
    how: HowArgs,
    /// Explain what there was after the event of this number instead
    #[arg(long, value_name = "EVENT")]
    at: Option<u64>,
    #[command(flatten)]
    damage: DamageArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let told = match (&args.trace, &args.live) {
        (Some(trace), _) => explain(&Source::of(trace, args.damage)?, args.at)?,
        (None, Some(model)) => {
            let file = Scratch::new()?;
            live(args, model, &file.0)?;
            explain(&Source::of(&file.0, args.damage)?, args.at)?
        }
        (None, None) => return Err(Failure::Usage("explain wants a trace, or --live and a model".into())),
    };
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", json(&told))?,
        false => write!(out, "{told}")?,
    }
    Ok(())
}

fn explain(source: &Source, at: Option<u64>) -> Result<Explanation, Failure> {
    let told = Explanation::of(|| source.open(), at).map_err(|error| source.failure(&error))?;
    if source.damage.partial {
        source.read("looking for damage", |entries| {
            entries.for_each(drop);
            Ok(())
        })?;
    }
    Ok(told)
}

/// Runs a model and keeps a trace of it. That there was no memory is what this is for.
fn live(args: &ExplainArgs, model: &Path, trace: &Path) -> Result<(), Failure> {
    let mut options = args.how.device();
    options.trace = Some(TraceOptions::file(trace));
    let device = Device::open(&options)?;
    let ran = args.how.open(&device, model).and_then(|engine| {
        let prompt = engine.tokenizer().encode(&args.prompt, true)?;
        let mut pieces = engine.generate_from(&prompt, StopRule::after(args.n), Box::new(Greedy))?;
        pieces.try_for_each(|piece| piece.map(drop))
    });
    device.trace().map_or(Ok(()), |trace| trace.flush())?;
    use forebay_device::Error::{Exhausted, LimitExceeded};
    match ran {
        Err(forebay::Error::Device(error @ (LimitExceeded(_) | Exhausted(_)))) => {
            eprintln!("the run ended early: {error}");
            Ok(())
        }
        Err(error @ forebay::Error::DoesNotFit { .. }) => {
            eprintln!("the run ended early: {error}");
            Ok(())
        }
        ran => Ok(ran?),
    }
}

fn json(told: &Explanation) -> Value {
    let holder = |holder: &Holder| {
        json!({
            "label": holder.label,
            "tag": holder.tag.name(),
            "bytes": holder.bytes,
            "count": holder.count,
        })
    };
    let by_tag: Vec<_> =
        told.by_tag.iter().map(|(tag, bytes)| json!({ "tag": tag.name(), "bytes": bytes })).collect();
    let queues: Vec<_> = told
        .queues
        .iter()
        .map(|share| {
            json!({
                "queue": share.queue,
                "bytes": share.bytes,
                "last_tick": share.last,
                "enough_at_tick": share.enough,
            })
        })
        .collect();
    json!({
        "event": told.number,
        "events": told.events,
        "seconds": told.at.as_secs_f64(),
        "refused": told.refused.as_ref().map(|refused| json!({
            "asked": refused.asked,
            "tag": refused.tag.name(),
            "label": refused.label.as_str(),
            "why": format!("{:?}", refused.why).to_lowercase(),
            "pool": refused.pool,
            "count": refused.count,
        })),
        "limit": told.limit,
        "reserved": told.reserved,
        "live": told.live,
        "taken": told.taken,
        "retiring": told.retiring,
        "free": told.free,
        "idle": told.idle,
        "outside": told.outside,
        "by_tag": by_tag,
        "holders": told.holders.iter().map(holder).collect::<Vec<_>>(),
        "other_holders": told.other_holders,
        "queues": queues,
        "largest_hole": told.hole.as_ref().map(|hole| json!({
            "bytes": hole.bytes,
            "pool": hole.pool,
            "below": hole.beside[0].as_ref().map(holder),
            "above": hole.beside[1].as_ref().map(holder),
        })),
        "advice": told.advice,
    })
}

/// A file that goes with the command.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("forebay-explain-{}.trace", std::process::id()));
        fs::File::create_new(&path)
            .map_err(|error| Failure::Failed(format!("cannot create {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind, it is only a file among temporary ones.
        let _ = fs::remove_file(&self.0);
    }
}
