//! The examples of the crates: each is built, run and has to end well; each counts as a test.
//!
//! What an example shows is its own business; it gets no arguments and an empty folder to work in.

use anyhow::{Context, Result, ensure};

use super::{run::Run, rungs::CUDA};

/// Builds and runs every example under `crates`.
pub(super) fn check(run: &mut Run<'_>) -> Result<()> {
    let crates = run.workspace.packages.iter().filter(|package| package.manifest.starts_with("crates/"));
    let examples: Vec<&str> = crates
        .flat_map(|package| &package.targets)
        .filter(|target| target.kind == "example")
        .map(|target| target.name.as_str())
        .collect();
    ensure!(!examples.is_empty(), "there is no example");
    let mut args = vec!["build", "--locked", "--workspace", CUDA];
    args.extend(examples.iter().flat_map(|name| ["--example", name]));
    run.cargo(&args).check()?;

    let target = run.workspace.root.join("target");
    let folder = target.join("ladder").join("examples");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut failed = Vec::new();
    for name in examples {
        let program = target.join("debug").join("examples").join(name);
        let done = run.tool(program, &[]).within(&folder).check();
        run.count(done.is_ok());
        if let Err(error) = done {
            failed.push(format!("{name} ({error:#})"));
        }
    }
    ensure!(failed.is_empty(), "{} did not end well", failed.join(", "));
    Ok(())
}
