//! What each launch of a step moves and how long it takes, beside what the step takes when it is replayed.
//!
//! Launches are timed one by one, with a look at the clock between them: that keeps a card from starting one while the one before
//! it ends. So they take longer than their share of a replay, and their sum is more than the step. Layers are alike, so what
//! each of them launches is one line. Next room: `profile`, which adds up kernels.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use forebay::generate::step::Sequence;
use forebay_device::LaunchProfile;
use forebay_tensor::{Note, Traffic};
use serde_json::{Value, json};

use crate::cli::Failure;

/// Steps of which each launch counts by its quickest.
const STEPS: usize = 8;
/// Steps that are replayed one behind the other, and how often; the quickest time counts.
const REPLAYED: usize = 16;
const ROUNDS: usize = 4;

/// What there is to say about a step.
pub(super) struct Explained {
    /// Tokens that were there before.
    depth: usize,
    lines: Vec<Line>,
    /// Seconds of a step that is replayed.
    step: f64,
}

/// The same launch of all layers.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    /// The op, and the weights that it reads.
    name: String,
    kernel: String,
    count: usize,
    /// Of all of them together.
    took: Duration,
    traffic: Traffic,
}

/// Runs a few steps behind the text that there is.
pub(super) fn of(sequence: &mut Sequence) -> Result<Explained, Failure> {
    let steps = (STEPS + REPLAYED).min(sequence.context());
    if sequence.len() + steps > sequence.context() {
        sequence.roll_back(sequence.reach(sequence.context() - steps))?;
    }
    sequence.checkpoint()?;
    let depth = sequence.len();
    let notes = sequence.explain_step()?;
    let mut quickest: Vec<LaunchProfile> = Vec::new();
    for _ in 0..STEPS.min(steps) {
        let launches = sequence.feed_profiled(1)?.launches;
        match quickest.is_empty() {
            true => quickest = launches,
            false => {
                quickest.iter_mut().zip(launches).for_each(|(best, one)| best.took = best.took.min(one.took))
            }
        }
    }
    let lines = lines(&notes, &quickest).ok_or_else(|| {
        let (noted, timed) = (notes.iter().map(|note| note.launches.len()).sum::<usize>(), quickest.len());
        Failure::Failed(format!("{timed} launches were timed of {noted} that were recorded"))
    })?;
    Ok(Explained { depth, lines, step: replayed(sequence, depth)? })
}

/// Seconds of a step in its quickest round, as steps follow each other when text is generated.
fn replayed(sequence: &mut Sequence, depth: usize) -> Result<f64, Failure> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        sequence.roll_back(sequence.reach(depth))?;
        let steps = REPLAYED.min(sequence.context() - sequence.len()).max(1);
        // The first one may have to be recorded.
        let mut id = 1;
        let mut begun = Instant::now();
        for left in (0..steps).rev() {
            sequence.feed(&[id])?;
            let ahead = left > 0 && sequence.run_ahead()?;
            let found = sequence.greedy()?;
            id = if ahead { found } else { 1 };
            if left + 1 == steps && left > 0 {
                begun = Instant::now();
            }
        }
        best = best.min(begun.elapsed().as_secs_f64() / (steps - 1).max(1) as f64);
    }
    Ok(best)
}

/// Lines in the order of a step; none if what was noted is not what was timed.
fn lines(notes: &[Note], timed: &[LaunchProfile]) -> Option<Vec<Line>> {
    let launches = || notes.iter().flat_map(|note| note.launches.iter().map(|launch| (note.op, launch)));
    let same =
        |((_, noted), timed): ((_, &forebay_tensor::Launched), &LaunchProfile)| noted.kernel == timed.kernel;
    if launches().count() != timed.len() || !launches().zip(timed).all(same) {
        return None;
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut places: HashMap<[String; 2], usize> = HashMap::new();
    for ((op, launch), timed) in launches().zip(timed) {
        let names: Vec<String> = launch.weights.iter().map(|name| of_all_layers(name.as_str())).collect();
        let name = if names.is_empty() { op.to_owned() } else { format!("{} {op}", together(&names)) };
        let kernel = launch.kernel.to_string();
        let place = *places.entry([name.clone(), kernel.clone()]).or_insert(lines.len());
        if place == lines.len() {
            lines.push(Line { name, kernel, count: 0, took: Duration::ZERO, traffic: Traffic::default() });
        }
        let line = &mut lines[place];
        line.count += 1;
        line.took += timed.took;
        line.traffic.weights += launch.traffic.weights;
        line.traffic.caches += launch.traffic.caches;
        line.traffic.rows += launch.traffic.rows;
    }
    Some(lines)
}

/// The name of a weight without the number of its layer.
fn of_all_layers(name: &str) -> String {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_suffix(".weight").unwrap_or(name).split('.');
    parts.map(|part| if number(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

/// Names that begin alike, with what they have in common once.
fn together(names: &[String]) -> String {
    let Some((first, others)) = names.split_first() else { return String::new() };
    let begins = |end: usize| others.iter().all(|name| name.starts_with(&first[..end]));
    let ends = first.char_indices().filter(|(_, c)| ['.', '_'].contains(c)).map(|(at, _)| at + 1);
    let common = ends.rev().find(|end| begins(*end)).unwrap_or(0);
    let rest = others.iter().map(|name| &name[if begins(common) { common } else { 0 }..]);
    std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join("/")
}

impl Explained {
    fn took(&self) -> Duration {
        self.lines.iter().map(|line| line.took).sum()
    }

    fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.traffic.all()).sum()
    }

    /// Prints a table; shares are of so many bytes a second.
    pub(super) fn print(&self, out: &mut impl Write, bandwidth: f64) -> io::Result<()> {
        let share = |bytes: u64, seconds: f64| 100.0 * bytes as f64 / seconds.max(1e-12) / bandwidth;
        let micros = |took: Duration| 1e6 * took.as_secs_f64();
        writeln!(out, "\na step behind {} tokens, each launch timed apart", self.depth)?;
        let wide = self.lines.iter().map(|line| line.name.len()).max().unwrap_or(0).max(6);
        let [mean, all, bytes] = ["us each", "us in all", "MB in all"];
        writeln!(
            out,
            "{:<wide$} {:<28} {:>5} {mean:>9} {all:>10} {bytes:>10} {:>6}",
            "launch", "kernel", "count", "bus"
        )?;
        for Line { name, kernel, count, took, traffic } in &self.lines {
            let (each, all) = (micros(*took) / *count as f64, micros(*took));
            let (bytes, bus) = (traffic.all() as f64 / 1e6, share(traffic.all(), took.as_secs_f64()));
            writeln!(
                out,
                "{name:<wide$} {kernel:<28} {count:>5} {each:>9.2} {all:>10.1} {bytes:>10.3} {bus:>4.0} %"
            )?;
        }
        let count: usize = self.lines.iter().map(|line| line.count).sum();
        let sums = [
            ("launch by launch", count.to_string(), self.took().as_secs_f64()),
            ("replayed", String::new(), self.step),
        ];
        for (name, count, seconds) in sums {
            let (all, bytes, bus) = (1e6 * seconds, self.bytes() as f64 / 1e6, share(self.bytes(), seconds));
            writeln!(
                out,
                "{name:<wide$} {:<28} {count:>5} {:>9} {all:>10.1} {bytes:>10.3} {bus:>4.0} %",
                "", ""
            )?;
        }
        writeln!(
            out,
            "Taken apart, launches cannot begin while others end, as they do in a step that is replayed."
        )
    }

    /// The same as data.
    pub(super) fn json(&self, bandwidth: f64) -> Value {
        let share = |bytes: u64, seconds: f64| bytes as f64 / seconds.max(1e-12) / bandwidth;
        let line = |line: &Line| {
            let seconds = line.took.as_secs_f64();
            json!({
                "name": line.name,
                "kernel": line.kernel,
                "count": line.count,
                "seconds": seconds,
                "weight_bytes": line.traffic.weights,
                "cache_bytes": line.traffic.caches,
                "row_bytes": line.traffic.rows,
                "bandwidth_share": share(line.traffic.all(), seconds),
            })
        };
        json!({
            "depth": self.depth,
            "launches": self.lines.iter().map(line).collect::<Vec<_>>(),
            "seconds_apart": self.took().as_secs_f64(),
            "seconds_replayed": self.step,
            "bytes": self.bytes(),
            "bandwidth_share": share(self.bytes(), self.step),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_all_layers_and_have_what_is_common_once() {
        let names =
            |list: &[&str]| together(&list.iter().map(|name| of_all_layers(name)).collect::<Vec<_>>());
        let layer = ["blk.17.attn_q.weight", "blk.17.attn_k.weight", "blk.17.attn_v.weight"];
        assert_eq!(names(&layer), "blk.*.attn_q/k/v");
        assert_eq!(names(&layer[..1]), "blk.*.attn_q");
        assert_eq!(
            names(&["blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"]),
            "blk.*.ffn_gate_exps/up_exps"
        );
        assert_eq!(names(&["output.weight", "token_embd.weight"]), "output/token_embd");
        assert_eq!(names(&["blk.3.a", "output"]), "blk.*.a/output");
        assert_eq!(names(&[]), "");
    }
}
