//! `cargo xtask test`: runs the rungs, keeps what each printed under `target/ladder`, and prints one table.
//!
//! It knows nothing of what a rung does.
//! Next: `rungs.rs`, the list; `run.rs`, how a rung runs its tools; `table.rs`, what is reported.

mod examples;
mod package;
mod run;
pub(crate) mod rungs;
mod table;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{process::print_now, workspace::Workspace};
pub(crate) use run::{LEFT_OUT, Run, Step};
use rungs::{RUNGS, Rung};
use table::{Demand, Row, Verdict, report, seconds};

/// A tool is killed when it has run for this many times its rung's budget.
const PATIENCE: u64 = 8;
/// Lines of a failed rung's output that are shown.
const SHOWN: usize = 120;

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    only: Vec<String>,
    left_out: Vec<String>,
    demand: Demand,
    verbose: bool,
    list: bool,
}

/// Runs the command; true if everything that had to pass did.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    let options = parse(args)?;
    if options.list {
        print!("{}", list());
        return Ok(true);
    }
    let workspace = Workspace::open()?;
    let logs = workspace.root.join("target").join("ladder");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut rows = Vec::new();
    for rung in RUNGS {
        if options.only.is_empty() || options.only.iter().any(|name| name == rung.name) {
            rows.push(climb(rung, &workspace, &options, &logs)?);
        }
    }
    print!("\n{}", report(&rows, &options.demand));
    Ok(rows.iter().all(|row| row.fault(&options.demand).is_none()))
}

fn climb(rung: &'static Rung, workspace: &Workspace, options: &Options, logs: &Path) -> Result<Row> {
    if options.left_out.iter().any(|name| name == rung.name) {
        return Ok(Row::new(rung, Verdict::LeftOut));
    }
    let lacking: Vec<_> = rung.needs.iter().filter(|need| !(need.present)()).collect();
    if !lacking.is_empty() {
        return Ok(Row::new(rung, Verdict::Lacks(lacking)));
    }
    print_now(&format!("{:<10}{} ... ", rung.name, rung.about));
    if options.verbose {
        println!();
    }
    let start = Instant::now();
    let mut run = Run::new(workspace, Duration::from_secs(rung.budget * PATIENCE), options.verbose);
    let done = (rung.run)(&mut run);
    let mut row = Row::new(rung, Verdict::Passed);
    row.took = start.elapsed();
    row.counts = run.counts;
    row.left_out = run.left_out;
    let path = logs.join(format!("{}.log", rung.name));
    fs::write(&path, &run.log).with_context(|| format!("cannot write {}", path.display()))?;
    match done {
        Ok(()) => println!("passed in {}", seconds(row.took)),
        Err(error) => {
            // A rung that failed before or beside its tests still counts as one failure in the sum.
            row.counts.failed = row.counts.failed.max(1);
            println!("FAILED: {error:#}");
            if !options.verbose {
                print!("{}", tail(&run.log, SHOWN));
            }
            println!("everything it printed: {}", path.display());
            row.verdict = Verdict::Failed(format!("{error:#}"));
        }
    }
    Ok(row)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--rung" => options.only.push(known(value()?)?),
            "--leave-out" => options.left_out.push(known(value()?)?),
            "--may-lack" => options.demand.may_lack.push(value()?),
            "--strict" => options.demand.strict = true,
            "--verbose" => options.verbose = true,
            "--list" => options.list = true,
            other => bail!("test takes no argument {other:?}"),
        }
    }
    Ok(options)
}

fn known(name: String) -> Result<String> {
    if RUNGS.iter().any(|rung| rung.name == name) {
        return Ok(name);
    }
    let names: Vec<_> = RUNGS.iter().map(|rung| rung.name).collect();
    bail!("there is no rung {name:?}; there are {}", names.join(", "))
}

fn list() -> String {
    let mut text = String::new();
    for rung in RUNGS {
        let _ = writeln!(text, "{:<10}{:>5} s  {}", rung.name, rung.budget, rung.about);
        for need in rung.needs {
            let _ = writeln!(text, "{:<19}needs {}: {}", "", need.what, need.remedy);
        }
    }
    text
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    let mut shown = String::new();
    for line in &all[all.len().saturating_sub(lines)..] {
        let _ = writeln!(shown, "    {line}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let options =
            parse(&words("--rung fmt --rung test --leave-out clippy --strict --may-lack X")).unwrap();
        assert_eq!(options.only, ["fmt", "test"]);
        assert_eq!(options.left_out, ["clippy"]);
        assert_eq!(options.demand, Demand { strict: true, may_lack: vec!["X".to_owned()] });
        assert!(!options.verbose && !options.list);
        for wrong in ["--rung", "--rung nowhere", "--leave-out nowhere", "--may-lack", "fmt", "--stric"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_end_of_a_long_log_is_shown() {
        assert_eq!(tail("a\nb\nc\n", 2), "    b\n    c\n");
        assert_eq!(tail("a\n", 2), "    a\n");
    }
}
