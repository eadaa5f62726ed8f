//! Runners that measure forebay by itself; `bench` alone lists them.
//!
//! `cargo run --release -p bench -- NAME --out FILE` writes a record beside the table. Comparisons with crates of other
//! people are in `peers`.

#[cfg(feature = "cuda")]
mod card;
mod counting;
mod cpu;
mod device;
mod frag;
mod peak;
mod peer;
mod trace;
mod traces;

use std::{io, process::ExitCode};

use bench::record::Record;
use serde_json::Value;

type Runner = fn(&mut Record) -> io::Result<()>;

/// Every runner: its name on the command line, what it measures, itself.
const RUNNERS: &[(&str, &str, Runner)] = &[
    #[cfg(feature = "cuda")]
    ("card", "what the device layer costs on an NVIDIA card", card::run),
    ("cpu", "products with packed weights, as shares of what the machine can do", cpu::run),
    ("device", "recording, submitting, waiting, replaying", device::run),
    ("trace", "what keeping a trace adds to an event", trace::run),
    ("frag", "memory reserved over memory live, by policy", frag::run),
];

#[global_allocator]
static HEAP: counting::Counting = counting::Counting;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, out) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [name] => (name, None),
        [name, "--out", out] | ["--out", out, name] => (name, Some(out)),
        _ => ("", None),
    };
    let Some((_, _, run)) = RUNNERS.iter().find(|(known, ..)| *known == name) else {
        eprintln!("usage: bench NAME [--out FILE]");
        RUNNERS.iter().for_each(|(name, what, _)| eprintln!("  {name:8} {what}"));
        return ExitCode::from(2);
    };
    let command = format!("cargo run --release -p bench -- {}", args.join(" "));
    match versions()
        .and_then(|versions| Record::create(out, &command, versions))
        .and_then(|mut record| run(&mut record).and_then(|()| record.finish()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whose code is measured: ours, and that of the peers that are here.
fn versions() -> io::Result<Value> {
    let own = ["forebay-device", "forebay-tensor"].map(|name| (name, env!("CARGO_PKG_VERSION").to_owned()));
    let peers = peer::here()?.into_iter().map(|peer| (peer.name, peer.version));
    let all = own.into_iter().chain(peers).map(|(name, version)| (name.to_owned(), version.into()));
    Ok(Value::Object(all.collect()))
}
