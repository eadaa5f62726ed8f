//! Measures forebay side by side with other people's pools and allocators, in one process and interleaved rounds.
//!
//! `cargo run --release --ignore-rust-version --manifest-path bench/peers/Cargo.toml -- host-pool --out FILE`
//! One file a comparison; a new one is a module with `fn run(&mut Record) -> io::Result<()>` and a line in
//! `COMPARISONS`. Never: opinions about the numbers; every sample is written.
//! Kernels are measured by `bench`, which starts a program for each peer: `bin/candle_rate.rs`.

mod best_fit;
mod cubecl;
mod device_pool;
mod host_pool;

use std::{env, io, process::ExitCode};

use bench::record::Record;
use serde_json::Value;

type Comparison = fn(&mut Record) -> io::Result<()>;

/// Every comparison by the name it has on the command line.
const COMPARISONS: &[(&str, Comparison)] =
    &[("host-pool", host_pool::run), ("device-pool", device_pool::run)];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (name, out) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [name] => (name, None),
        [name, "--out", out] | ["--out", out, name] => (name, Some(out)),
        _ => ("", None),
    };
    let Some((_, run)) = COMPARISONS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = COMPARISONS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: peers {} [--out FILE]", names.join("|"));
        return ExitCode::from(2);
    };
    let command = format!(
        "cargo run --release --ignore-rust-version --manifest-path bench/peers/Cargo.toml -- {}",
        args.join(" ")
    );
    let record = Record::create(out, &command, versions());
    match record.and_then(|mut record| run(&mut record).and_then(|()| record.finish())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the record: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The versions of the peers, as this build has them.
fn versions() -> Value {
    const PEERS: [&str; 6] = [
        "cubecl-server",
        "libmimalloc-sys",
        "mimalloc",
        "offset-allocator",
        "tenferro-cpu",
        "tenferro-cpu-basic",
    ];
    let lock = include_str!("../Cargo.lock");
    let packages = lock.split("[[package]]").filter_map(|package| {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_string())
        };
        Some((field("name")?, Value::from(field("version")?)))
    });
    Value::Object(packages.filter(|(name, _)| PEERS.contains(&name.as_str())).collect())
}
