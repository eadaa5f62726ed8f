//! `forebay memory replay`: what was asked for, served by each policy; as a table or as JSON.

use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Args;
use forebay_device::history::{Demand, Outcome, PolicyKind, cheapest_limit, replay};
use serde_json::json;

use super::{TraceArgs, grouped};
use crate::{cli::Failure, progress::Progress, size::Size};

/// What `replay` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Policies:
  ours        forebay's pool
  exact       one range that grows, and the smallest piece that fits
  expandable  PyTorch with expandable segments
  pytorch     PyTorch as it comes
  pow2        powers of two

They are the rules as their sources state them, with no memory behind the addresses and all work on one queue. At a \
limit each gives back what it has whole and idle, and asks once more. The cheapest limit is found by halving, to a \
thousandth of what was live. The largest hole is that of the moment when most was held; of forebay's pool it counts \
pieces with memory behind all of them.")]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// The policies, with commas between them
    #[arg(long, value_delimiter = ',', default_value = "ours,exact,expandable,pytorch,pow2")]
    policy: Vec<PolicyKind>,
    /// The most that each policy may hold
    #[arg(long, value_name = "SIZE")]
    limit: Option<Size>,
    /// Do not look for the cheapest limit
    #[arg(long)]
    no_cheapest: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What came of one policy.
struct Row {
    outcome: Outcome,
    cheapest: Option<u64>,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let source = args.trace.source()?;
    let demand = source.read("reading the trace", |entries| Demand::of(entries))?;
    let rows = play(&demand, args)?;
    if args.json {
        let rows: Vec<_> = rows.iter().map(|row| row.json(&demand)).collect();
        let object = json!({
            "trace": args.trace.trace.display().to_string(),
            "requests": demand.allocations(),
            "left_out": demand.left_out(),
            "peak_live": demand.peak_live(),
            "limit": args.limit.map(|size| size.0),
            "policies": rows,
        });
        return Ok(writeln!(io::stdout().lock(), "{object}")?);
    }
    Ok(table(&demand, &rows)?)
}

/// As many at a time as there are cores.
fn play(demand: &Demand, args: &ReplayArgs) -> Result<Vec<Row>, Failure> {
    let mut progress = Progress::of("replaying");
    let kinds = &args.policy;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(kinds.len());
    let mut rows: Vec<Option<forebay_device::Result<Row>>> = kinds.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        for _ in 0..workers {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(at) = Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    && let Some(&kind) = kinds.get(at)
                {
                    // Who is not there any more needs no answer.
                    let _ = send.send((at, one(demand, kind, args)));
                }
            });
        }
        drop(send);
        let mut done = 0;
        loop {
            match receive.recv_timeout(Duration::from_millis(100)) {
                Ok((at, row)) => {
                    rows[at] = Some(row);
                    done += 1;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            progress.tell(|| format!("{done} of {} policies", kinds.len()));
        }
    });
    rows.into_iter().flatten().map(|row| row.map_err(Failure::from)).collect()
}

fn one(demand: &Demand, kind: PolicyKind, args: &ReplayArgs) -> forebay_device::Result<Row> {
    let outcome = replay(demand, kind, args.limit.map_or(u64::MAX, |size| size.0))?;
    let cheapest = match &outcome.refused {
        None if !args.no_cheapest => Some(cheapest_limit(demand, kind, outcome.peak_reserved)?),
        _ => None,
    };
    Ok(Row { outcome, cheapest })
}

impl Row {
    fn json(&self, demand: &Demand) -> serde_json::Value {
        let outcome = &self.outcome;
        json!({
            "policy": outcome.policy.name(),
            "peak_reserved": outcome.peak_reserved,
            "over_live": ratio(outcome, demand),
            "live_at_peak": outcome.live_at_peak,
            "device_calls": outcome.driver_calls,
            "worst_waste": outcome.worst_waste,
            "largest_hole": outcome.largest_hole,
            "cheapest_limit": self.cheapest,
            "refused": outcome.refused.map(|refusal| json!({
                "call": refusal.call,
                "asked": refusal.asked,
                "live": refusal.live,
                "reserved": refusal.reserved,
            })),
            "seconds": outcome.took.as_secs_f64(),
        })
    }
}

fn ratio(outcome: &Outcome, demand: &Demand) -> f64 {
    outcome.peak_reserved as f64 / demand.peak_live().max(1) as f64
}

fn table(demand: &Demand, rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let peak = Size(demand.peak_live());
    writeln!(out, "{} requests, at most {peak} live at once", grouped(demand.allocations()))?;
    if demand.left_out() > 0 {
        writeln!(out, "{} requests are left out: their sizes make no sense", grouped(demand.left_out()))?;
    }
    writeln!(
        out,
        "\n{:<11} {:>13} {:>9} {:>12} {:>11} {:>12} {:>14}",
        "policy",
        "peak reserved",
        "over live",
        "device calls",
        "worst waste",
        "largest hole",
        "cheapest limit"
    )?;
    for Row { outcome, cheapest } in rows {
        write!(
            out,
            "{:<11} {:>13} {:>9.3} {:>12} {:>11} {:>12} ",
            outcome.policy.name(),
            Size(outcome.peak_reserved),
            ratio(outcome, demand),
            grouped(outcome.driver_calls),
            Size(outcome.worst_waste),
            Size(outcome.largest_hole),
        )?;
        match (&outcome.refused, cheapest) {
            (Some(refusal), _) => writeln!(
                out,
                "{:>14}  refused {} at call {} with {} live",
                "-",
                Size(refusal.asked),
                grouped(refusal.call as u64),
                Size(refusal.live)
            )?,
            (None, Some(limit)) => writeln!(out, "{:>14}", Size(*limit))?,
            (None, None) => writeln!(out, "{:>14}", "-")?,
        }
    }
    Ok(())
}
