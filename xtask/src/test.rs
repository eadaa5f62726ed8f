//! `cargo xtask test`: runs the rungs, keeps what each printed under `target/ladder`, and prints one table.
//!
//! It knows nothing of what a rung does; that is `rungs.rs`. The last line it prints is the sum of all tests.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{self, Counts, End, print_now},
    rungs::{Need, RUNGS, Rung},
    workspace::{self, Workspace},
};

/// A tool is killed when it has run for this many times its rung's budget.
const PATIENCE: u64 = 4;
/// A strict run fails when a rung takes more than this many times its budget.
const SLACK: u64 = 2;
/// Lines of a failed rung's output that are shown.
const SHOWN: usize = 120;

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    only: Vec<String>,
    left_out: Vec<String>,
    strict: bool,
    verbose: bool,
    list: bool,
}

/// A rung while it runs: its tools are started through this, and what they do is recorded in it.
pub(crate) struct Run<'a> {
    pub(crate) workspace: &'a Workspace,
    rung: &'a Rung,
    verbose: bool,
    log: String,
    counts: Counts,
}

/// One tool of a rung, about to run.
pub(crate) struct Step<'r, 'a> {
    run: &'r mut Run<'a>,
    command: Command,
}

/// How a rung ended.
enum Verdict {
    Passed,
    Failed(String),
    Lacks(Vec<&'static Need>),
    LeftOut,
}

/// A line of the table.
struct Row {
    rung: &'static Rung,
    verdict: Verdict,
    counts: Counts,
    took: Duration,
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
        if !options.only.is_empty() && !options.only.iter().any(|name| name == rung.name) {
            continue;
        }
        rows.push(climb(rung, &workspace, &options, &logs)?);
    }
    print!("\n{}", report(&rows, options.strict));
    Ok(rows.iter().all(|row| row.good(options.strict)))
}

fn climb(rung: &'static Rung, workspace: &Workspace, options: &Options, logs: &Path) -> Result<Row> {
    let mut row = Row { rung, verdict: Verdict::LeftOut, counts: Counts::default(), took: Duration::ZERO };
    if options.left_out.iter().any(|name| name == rung.name) {
        return Ok(row);
    }
    let lacking: Vec<_> = rung.needs.iter().filter(|need| !(need.present)()).collect();
    if !lacking.is_empty() {
        row.verdict = Verdict::Lacks(lacking);
        return Ok(row);
    }
    print_now(&format!("{:<10}{} ... ", rung.name, rung.about));
    if options.verbose {
        println!();
    }
    let start = Instant::now();
    let mut run =
        Run { workspace, rung, verbose: options.verbose, log: String::new(), counts: Counts::default() };
    let done = (rung.run)(&mut run);
    row.took = start.elapsed();
    row.counts = run.counts;
    let path = logs.join(format!("{}.log", rung.name));
    fs::write(&path, &run.log).with_context(|| format!("cannot write {}", path.display()))?;
    match done {
        Ok(()) => {
            row.verdict = Verdict::Passed;
            println!("passed in {}", seconds(row.took));
        }
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

impl<'a> Run<'a> {
    /// A cargo command in the root of the workspace.
    pub(crate) fn cargo<'r>(&'r mut self, args: &[&str]) -> Step<'r, 'a> {
        let mut command = workspace::cargo(&self.workspace.root);
        command.args(args);
        Step { run: self, command }
    }
}

impl Step<'_, '_> {
    /// Sets a variable of the tool's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the tool, which has to succeed.
    pub(crate) fn check(self) -> Result<()> {
        self.go().map(drop)
    }

    /// Runs the tool, which has to succeed and to report at least one test.
    pub(crate) fn tests(self) -> Result<()> {
        let counts = self.go()?;
        if counts.total() == 0 {
            bail!("no test ran");
        }
        Ok(())
    }

    fn go(mut self) -> Result<Counts> {
        let line = shown(&self.command);
        let run = self.run;
        let _ = writeln!(run.log, "$ {line}");
        let deadline = Duration::from_secs(run.rung.budget * PATIENCE);
        let verbose = run.verbose;
        let outcome = process::run(&mut self.command, deadline, |line| {
            if verbose {
                print_now(line);
            }
        })?;
        run.log.push_str(&outcome.output);
        run.counts.add(outcome.counts);
        match outcome.end {
            End::Success => Ok(outcome.counts),
            End::Failure if outcome.counts.failed > 0 => bail!("{} tests failed", outcome.counts.failed),
            End::Failure => bail!("`{line}` failed"),
            End::Deadline => bail!("`{line}` was killed after {}", seconds(deadline)),
        }
    }
}

impl Row {
    fn over_budget(&self) -> bool {
        self.took > Duration::from_secs(self.rung.budget * SLACK)
    }

    fn good(&self, strict: bool) -> bool {
        match &self.verdict {
            Verdict::Passed => !(strict && self.over_budget()),
            Verdict::Failed(_) => false,
            Verdict::Lacks(_) => !strict,
            Verdict::LeftOut => true,
        }
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut rung = || match args.next() {
            Some(name) if RUNGS.iter().any(|rung| rung.name == name) => Ok(name.clone()),
            Some(name) => bail!("there is no rung {name:?}; there are {}", names()),
            None => bail!("{arg} is followed by the name of a rung: {}", names()),
        };
        match arg.as_str() {
            "--rung" => options.only.push(rung()?),
            "--leave-out" => options.left_out.push(rung()?),
            "--strict" => options.strict = true,
            "--verbose" => options.verbose = true,
            "--list" => options.list = true,
            other => bail!("test takes no argument {other:?}"),
        }
    }
    Ok(options)
}

fn names() -> String {
    RUNGS.iter().map(|rung| rung.name).collect::<Vec<_>>().join(", ")
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

/// The table, what is missing, and the sum of all tests as the last line.
fn report(rows: &[Row], strict: bool) -> String {
    let mut text = format!("{:<10}{:<20}{:>7}{:>9}{:>9}\n", "rung", "outcome", "tests", "time", "budget");
    let mut sum = Counts::default();
    let mut took = Duration::ZERO;
    for row in rows {
        sum.add(row.counts);
        took += row.took;
        let outcome = match &row.verdict {
            Verdict::Passed if row.over_budget() => "passed, too slow",
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "FAILED",
            Verdict::Lacks(_) => "left out",
            Verdict::LeftOut => "left out on request",
        };
        let ran = matches!(row.verdict, Verdict::Passed | Verdict::Failed(_));
        let tests = if row.counts.total() > 0 { row.counts.total().to_string() } else { "-".to_owned() };
        let time = if ran { seconds(row.took) } else { "-".to_owned() };
        let budget = seconds(Duration::from_secs(row.rung.budget));
        let _ = writeln!(text, "{:<10}{outcome:<20}{tests:>7}{time:>9}{budget:>9}", row.rung.name);
    }
    let budget = seconds(Duration::from_secs(rows.iter().map(|row| row.rung.budget).sum()));
    let _ = writeln!(text, "{:<10}{:<20}{:>7}{:>9}{budget:>9}", "all", "", sum.total(), seconds(took));
    text.push('\n');
    for row in rows {
        match &row.verdict {
            Verdict::Lacks(needs) => {
                for need in needs {
                    let name = row.rung.name;
                    let _ = writeln!(
                        text,
                        "{name} was left out: it needs {}; get it with: {}",
                        need.what, need.remedy
                    );
                }
            }
            Verdict::Failed(why) => {
                let _ = writeln!(text, "{} failed: {why}", row.rung.name);
            }
            Verdict::Passed if strict && row.over_budget() => {
                let _ = writeln!(text, "{} took more than {SLACK} times its budget", row.rung.name);
            }
            Verdict::Passed | Verdict::LeftOut => {}
        }
    }
    let _ = writeln!(text, "{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
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

    const ABSENT: Need = Need { what: "a thing", present: || false, remedy: "apt-get install thing" };
    static RUNG: Rung = Rung { name: "one", about: "a rung", budget: 10, needs: &[ABSENT], run: |_| Ok(()) };

    fn row(verdict: Verdict, took: u64, passed: u64, failed: u64) -> Row {
        let counts = Counts { passed, failed, skipped: 0 };
        Row { rung: &RUNG, verdict, counts, took: Duration::from_secs(took) }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let options = parse(&words("--rung fmt --rung test --leave-out clippy --strict")).unwrap();
        assert_eq!(options.only, ["fmt", "test"]);
        assert_eq!(options.left_out, ["clippy"]);
        assert!(options.strict && !options.verbose && !options.list);
        for wrong in ["--rung", "--rung nowhere", "--leave-out nowhere", "fmt", "--stric"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_strict_run_minds_what_is_missing_or_slow() {
        let cases = [
            (row(Verdict::Passed, 20, 1, 0), true, true),
            (row(Verdict::Passed, 21, 1, 0), true, false),
            (row(Verdict::Lacks(vec![&ABSENT]), 0, 0, 0), true, false),
            (row(Verdict::LeftOut, 0, 0, 0), true, true),
            (row(Verdict::Failed(String::new()), 1, 0, 1), false, false),
        ];
        for (i, (row, relaxed, strict)) in cases.iter().enumerate() {
            assert_eq!((row.good(false), row.good(true)), (*relaxed, *strict), "case {i}");
        }
    }

    #[test]
    fn the_last_line_is_the_sum_and_what_is_missing_is_named() {
        let rows = [
            row(Verdict::Passed, 1, 7, 0),
            row(Verdict::Failed("2 tests failed".to_owned()), 1, 3, 2),
            row(Verdict::Lacks(vec![&ABSENT]), 0, 0, 0),
        ];
        let text = report(&rows, true);
        assert_eq!(text.lines().last(), Some("10 passed, 2 failed, 0 skipped"));
        assert!(text.contains("it needs a thing; get it with: apt-get install thing"), "{text}");
        assert!(text.contains("one failed: 2 tests failed"), "{text}");
    }

    #[test]
    fn a_rung_without_tests_fails_and_a_failed_check_is_counted() {
        let workspace = Workspace::open().unwrap();
        let mut run = Run {
            workspace: &workspace,
            rung: &RUNG,
            verbose: false,
            log: String::new(),
            counts: Counts::default(),
        };
        assert!(run.cargo(&["--version"]).check().is_ok());
        assert!(run.cargo(&["--version"]).tests().is_err());
        assert!(run.cargo(&["no-such-subcommand"]).check().is_err());
        assert!(run.log.contains("$ cargo --version"), "{}", run.log);
        assert!(run.log.contains("no such command"), "{}", run.log);
    }
}
