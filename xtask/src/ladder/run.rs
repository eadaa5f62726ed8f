//! A rung while it runs: its tools are started here, and what they print and count is kept.
//!
//! A tool either succeeds or ends the rung. Tests that say they were left out are no passed tests: they are counted as
//! skipped, by the reason that they print.
//! Next: `rungs.rs`, which uses this; `table.rs`, which shows what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use crate::{
    process::{self, Counts, End, Outcome, print_now},
    workspace::{self, Workspace},
};

/// What a test prints, with the reason, when it cannot run and passes without having tested anything.
pub(crate) const LEFT_OUT: &str = "left out: ";

/// A rung while it runs.
pub(crate) struct Run<'a> {
    pub(crate) workspace: &'a Workspace,
    /// How long one tool may take.
    patience: Duration,
    verbose: bool,
    pub(super) log: String,
    pub(super) counts: Counts,
    /// How many tests were left out, by reason.
    pub(super) left_out: BTreeMap<String, u64>,
}

/// One tool, about to run.
pub(crate) struct Step<'r, 'a> {
    run: &'r mut Run<'a>,
    command: Command,
}

impl<'a> Run<'a> {
    pub(super) fn new(workspace: &'a Workspace, patience: Duration, verbose: bool) -> Self {
        let (log, counts, left_out) = (String::new(), Counts::default(), BTreeMap::new());
        Run { workspace, patience, verbose, log, counts, left_out }
    }

    /// A cargo command in the root of the workspace.
    pub(crate) fn cargo<'r>(&'r mut self, args: &[&str]) -> Step<'r, 'a> {
        let mut command = workspace::cargo(&self.workspace.root);
        command.args(args);
        Step { run: self, command }
    }

    /// Any other program, in the root of the workspace.
    pub(crate) fn tool<'r>(&'r mut self, program: impl Into<PathBuf>, args: &[&str]) -> Step<'r, 'a> {
        let mut command = Command::new(program.into());
        command.current_dir(&self.workspace.root).args(args);
        Step { run: self, command }
    }

    /// Counts something that is no test of Rust's harness as a test.
    pub(crate) fn count(&mut self, passed: bool) {
        self.counts.add(Counts { passed: u64::from(passed), failed: u64::from(!passed), skipped: 0 });
    }
}

impl Step<'_, '_> {
    /// Runs the tool in a folder of its own.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets a variable of the tool's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the tool, which has to succeed, and gives what it printed.
    pub(crate) fn check(self) -> Result<String> {
        let line = shown(&self.command);
        let (run, outcome) = self.go()?;
        run.counts.add(outcome.counts);
        succeeded(&outcome, &line, run.patience)?;
        Ok(outcome.output)
    }

    /// Runs the tool, which has to fail and to print `text`.
    pub(crate) fn fails_with(self, text: &str) -> Result<()> {
        let line = shown(&self.command);
        let (_, outcome) = self.go()?;
        ensure!(
            outcome.end == End::Failure && outcome.output.contains(text),
            "`{line}` does not fail with {text:?}"
        );
        Ok(())
    }

    /// Runs a `cargo test` command, which has to succeed and to run at least one test.
    pub(crate) fn tests(mut self) -> Result<()> {
        // What passed tests print is where they say that they were left out.
        self.command.args(["--", "--show-output"]);
        let line = shown(&self.command);
        let (run, outcome) = self.go()?;
        let mut counts = outcome.counts;
        for (_, reason) in left_out(&outcome.output) {
            counts.passed = counts.passed.saturating_sub(1);
            counts.skipped += 1;
            *run.left_out.entry(reason).or_default() += 1;
        }
        run.counts.add(counts);
        succeeded(&outcome, &line, run.patience)?;
        ensure!(outcome.counts.total() > 0, "no test ran");
        Ok(())
    }
}

impl<'r, 'a> Step<'r, 'a> {
    fn go(mut self) -> Result<(&'r mut Run<'a>, Outcome)> {
        let run = self.run;
        let _ = writeln!(run.log, "$ {}", shown(&self.command));
        let verbose = run.verbose;
        let outcome = process::run(&mut self.command, run.patience, |line| {
            if verbose {
                print_now(line);
            }
        })?;
        run.log.push_str(&outcome.output);
        Ok((run, outcome))
    }
}

fn succeeded(outcome: &Outcome, line: &str, patience: Duration) -> Result<()> {
    match outcome.end {
        End::Success => Ok(()),
        End::Failure if outcome.counts.failed > 0 => bail!("{} tests failed", outcome.counts.failed),
        End::Failure => bail!("`{line}` failed"),
        End::Deadline => bail!("`{line}` was killed after {} s", patience.as_secs()),
    }
}

/// The tests that passed and said that they were left out, with their reasons, each once.
fn left_out(output: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut passed = false;
    let mut program = "";
    let mut test = "";
    for line in output.lines() {
        if let Some(name) = line.trim_start().strip_prefix("Running ") {
            program = name;
        } else if matches!(line, "successes:" | "failures:") {
            passed = line == "successes:";
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            test = name;
        } else if let (true, Some(reason)) = (passed, line.strip_prefix(LEFT_OUT)) {
            found.insert((format!("{program} {test}"), reason.to_owned()));
        }
    }
    found
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_rung_without_tests_fails_and_a_failed_check_is_an_error() {
        let workspace = Workspace::open().unwrap();
        let mut run = Run::new(&workspace, PATIENCE, false);
        assert!(run.cargo(&["--version"]).check().unwrap().starts_with("cargo"));
        assert!(run.cargo(&["--version"]).tests().is_err());
        assert!(run.cargo(&["no-such-subcommand"]).check().is_err());
        assert!(run.log.contains("$ cargo --version"), "{}", run.log);
        assert!(run.log.contains("no such command"), "{}", run.log);
    }

    #[test]
    fn a_tool_that_must_fail_must_say_why() {
        let workspace = Workspace::open().unwrap();
        let mut run = Run::new(&workspace, PATIENCE, false);
        let mut shell = |script: &str| run.tool("sh", &["-c", script]).fails_with("broken");
        assert!(shell("echo broken; exit 1").is_ok());
        assert!(shell("echo broken").is_err());
        assert!(shell("echo other; exit 1").is_err());
    }

    #[test]
    fn tests_that_say_they_were_left_out_are_skipped_once_each() {
        let workspace = Workspace::open().unwrap();
        let mut run = Run::new(&workspace, PATIENCE, false);
        let output = "     Running unittests src/lib.rs (a)\n\nsuccesses:\n\n---- one stdout ----\nleft out: no x\n\
            left out: no x\n---- two stdout ----\nhello\nleft out: no x\n---- four stdout ----\nis left out: no\n\n\
            successes:\n    one\n    two\n    four\n\nfailures:\n\n---- three stdout ----\nleft out: no x\n\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        run.tool("printf", &["%s", output]).tests().unwrap();
        assert_eq!(run.counts, Counts { passed: 1, failed: 0, skipped: 2 });
        assert_eq!(run.left_out, BTreeMap::from([("no x".to_owned(), 2)]));
    }
}
