//! `cargo xtask mutants`: breaks the implementation on purpose, one kept mutation at a time, and shows that tests notice.
//!
//! It works in a copy of the tree under `target/mutants`, never in the tree itself, and runs only the tests that a
//! mutation names, after it has seen them pass without it.
//! Next: `kept.rs`, what a mutation is.

pub(crate) mod kept;

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    ladder::LEFT_OUT,
    process::{self, End, print_now},
    workspace::{self, Workspace},
};
use kept::{Broken, Build, FOLDER, Mutation, Target};

/// A build that takes longer than this is stuck.
const BUILD: Duration = Duration::from_secs(900);
/// Unbroken tests that take longer than this are too slow to be kept for mutations.
const UNBROKEN: Duration = Duration::from_secs(120);

/// Runs the command; true if every mutation was caught.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    let workspace = Workspace::open()?;
    let mutations = select(read(&workspace)?, args)?;
    let scratch = Scratch::fill(&workspace)?;

    let mut tests: Vec<_> = mutations.iter().flat_map(|mutation| mutation.breaks.iter()).collect();
    let mut seen = HashSet::new();
    tests.retain(|broken| seen.insert(*broken));
    println!("{} groups of tests have to pass unbroken: building and running them", tests.len());
    let mut programs = HashMap::new();
    let mut useless = HashMap::new();
    for broken in tests {
        if let Err(why) = scratch.passes(broken, &mut programs)? {
            useless.insert(broken, why);
        }
    }

    let mut caught = 0;
    for mutation in &mutations {
        print_now(&format!("{:<40}", mutation.name));
        let start = Instant::now();
        let verdict = match mutation.breaks.iter().find_map(|broken| useless.get(broken)) {
            Some(why) => Err(why.clone()),
            None => scratch.judge(mutation)?,
        };
        let took = start.elapsed().as_secs_f64();
        match verdict {
            Ok(by) => {
                caught += 1;
                println!("caught in {took:.1} s by {by}");
            }
            Err(why) => println!("NOT CAUGHT: {why}\n    {}: {}", mutation.file, mutation.why),
        }
    }
    println!("{caught} of {} mutations caught", mutations.len());
    Ok(caught == mutations.len())
}

fn read(workspace: &Workspace) -> Result<Vec<Mutation>> {
    let mut mutations = Vec::new();
    for path in workspace.files()?.iter().filter(|path| path.starts_with(FOLDER)) {
        let text =
            fs::read_to_string(workspace.root.join(path)).with_context(|| format!("cannot read {path}"))?;
        mutations.push(Mutation::parse(path, &text).with_context(|| path.clone())?);
    }
    Ok(mutations)
}

/// The mutations that the command line names, or all.
fn select(mutations: Vec<Mutation>, args: &[String]) -> Result<Vec<Mutation>> {
    let mut only = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        ensure!(arg == "--only", "mutants takes no argument {arg:?}");
        let name = args.next().context("--only is followed by the name of a mutation")?;
        ensure!(mutations.iter().any(|mutation| mutation.name == *name), "there is no mutation {name:?}");
        only.push(name);
    }
    let chosen = |mutation: &Mutation| only.is_empty() || only.contains(&&mutation.name);
    Ok(mutations.into_iter().filter(chosen).collect())
}

/// The copy of the tree that mutations are applied to.
struct Scratch {
    root: PathBuf,
    target: PathBuf,
}

impl Scratch {
    /// Makes the copy equal to the tree. Files that are equal already stay untouched, so that little is built anew.
    fn fill(workspace: &Workspace) -> Result<Scratch> {
        let home = workspace.root.join("target").join("mutants");
        let scratch = Scratch { root: home.join("tree"), target: home.join("build") };
        let files = workspace.files()?;
        for path in &files {
            let from = workspace.root.join(path);
            if let Ok(bytes) = fs::read(&from) {
                scratch.write(path, &bytes)?;
            }
        }
        let wanted: HashSet<PathBuf> = files.iter().map(|path| scratch.root.join(path)).collect();
        remove_others(&scratch.root, &wanted)?;
        Ok(scratch)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let to = self.root.join(path);
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))
    }

    /// Whether a test is there and passes as long as nothing is broken; if not, the inner error says why.
    fn passes(&self, broken: &Broken, programs: &mut HashMap<Build, Program>) -> Result<Result<(), String>> {
        if !programs.contains_key(&broken.build) {
            match self.build(&broken.build)? {
                Ok(program) => programs.insert(broken.build.clone(), program),
                Err(output) => return Ok(Err(format!("its tests do not build unbroken:\n{output}"))),
            };
        }
        let outcome = programs[&broken.build].run(&broken.filter, UNBROKEN)?;
        let test = shown(broken);
        Ok(match (outcome.end, outcome.counts.passed) {
            (End::Success, 1..) => match outcome.output.lines().find(|line| line.starts_with(LEFT_OUT)) {
                Some(reason) => Err(format!("{test} tests nothing here: {reason}")),
                None => Ok(()),
            },
            (End::Success, 0) => Err(format!("there is no test {test}")),
            _ => Err(format!("{test} fails unbroken:\n{}", outcome.output)),
        })
    }

    /// Applies a mutation, runs its tests and takes it back: by what it was caught, or why not.
    fn judge(&self, mutation: &Mutation) -> Result<Result<String, String>> {
        let path = self.root.join(&mutation.file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let broken = mutation.apply(&text).with_context(|| mutation.name.clone())?;
        self.write(&mutation.file, broken.as_bytes())?;
        let verdict = self.judge_applied(mutation);
        self.write(&mutation.file, text.as_bytes())?;
        verdict
    }

    fn judge_applied(&self, mutation: &Mutation) -> Result<Result<String, String>> {
        let mut programs: HashMap<&Build, Program> = HashMap::new();
        let mut by = String::new();
        for broken in &mutation.breaks {
            if !programs.contains_key(&broken.build) {
                match self.build(&broken.build)? {
                    Ok(program) => programs.insert(&broken.build, program),
                    Err(output) => return Ok(Err(format!("it does not build:\n{output}"))),
                };
            }
            let outcome = programs[&broken.build].run(&broken.filter, mutation.timeout)?;
            let how = match outcome.end {
                End::Success => return Ok(Err(format!("{} passes", shown(broken)))),
                End::Deadline if !mutation.may_hang => {
                    return Ok(Err(format!("{} hangs, and the mutation does not expect it", shown(broken))));
                }
                End::Deadline => "hung",
                End::Failure if outcome.counts.failed == 0 => "crashed",
                End::Failure => "failed",
            };
            let _ = write!(by, "{}{} ({how})", if by.is_empty() { "" } else { ", " }, broken.filter);
        }
        Ok(Ok(by))
    }

    /// Builds a test program; the inner error is what the compiler said.
    fn build(&self, build: &Build) -> Result<Result<Program, String>> {
        let mut command = workspace::cargo(&self.root);
        command.args([
            "test",
            "--no-run",
            "--locked",
            "--message-format=json-render-diagnostics",
            "-p",
            &build.package,
        ]);
        match &build.target {
            Target::Lib => command.arg("--lib"),
            Target::Bin(name) => command.args(["--bin", name]),
            Target::Test(name) => command.args(["--test", name]),
        };
        let mut target = self.target.clone();
        if build.loom {
            target.push("loom");
            command.arg("--release").env("RUSTFLAGS", "--cfg loom");
        }
        command.arg("--target-dir").arg(target);
        let outcome = process::run(&mut command, BUILD, |_| {})?;
        if outcome.end == End::Deadline {
            bail!("building {} took more than {} s", build.package, BUILD.as_secs());
        }
        if outcome.end == End::Failure {
            let said = outcome.output.lines().filter(|line| !line.starts_with('{'));
            return Ok(Err(said.collect::<Vec<_>>().join("\n")));
        }
        let program = outcome.output.lines().find_map(|line| Program::of_message(line, build.loom));
        program.map(Ok).with_context(|| format!("cargo names no test program of {}", build.package))
    }
}

/// A test program that was built.
struct Program {
    path: PathBuf,
    /// Where its package is, which is where cargo runs tests.
    folder: PathBuf,
    loom: bool,
}

impl Program {
    /// Reads one line of cargo's messages.
    fn of_message(line: &str, loom: bool) -> Option<Program> {
        let message: Value = line.starts_with('{').then(|| serde_json::from_str(line).ok())??;
        if message["profile"]["test"] != true {
            return None;
        }
        let path = PathBuf::from(message["executable"].as_str()?);
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        Some(Program { path, folder, loom })
    }

    fn run(&self, filter: &str, deadline: Duration) -> Result<process::Outcome> {
        let mut command = Command::new(&self.path);
        command
            .args([filter, "--show-output"])
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder);
        command.env("FOREBAY_TEST_DEVICES", "null,cpu");
        if self.loom {
            command.env("LOOM_MAX_PREEMPTIONS", crate::ladder::rungs::LOOM_PREEMPTIONS);
        }
        process::run(&mut command, deadline, |_| {})
    }
}

fn shown(broken: &Broken) -> String {
    format!("{} of {}", broken.filter, broken.build.package)
}

/// Removes what is in a folder but not wanted there, so that a file that left the tree leaves the copy.
fn remove_others(folder: &Path, wanted: &HashSet<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_chosen_by_name() {
        let all = || vec![Mutation::parse("mutants/m.mutant", kept::tests::SAMPLE).unwrap()];
        let args = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(select(all(), &[]).unwrap().len(), 1);
        assert_eq!(select(all(), &args("--only m")).unwrap().len(), 1);
        for wrong in ["--only n", "--only", "m"] {
            assert!(select(all(), &args(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_test_program_is_known_by_cargos_message() {
        let line = r#"{"manifest_path":"w/a/Cargo.toml","profile":{"test":true},"executable":"t/a-1"}"#;
        let program = Program::of_message(line, false).unwrap();
        assert_eq!(
            (program.path.as_path(), program.folder.as_path()),
            (Path::new("t/a-1"), Path::new("w/a"))
        );
        assert!(Program::of_message(&line.replace("true", "false"), false).is_none());
        assert!(Program::of_message("warning: {", false).is_none());
    }
}
