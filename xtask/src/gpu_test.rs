//! `cargo xtask gpu-test`: the contract suite as programs that run on any machine with an NVIDIA card and nothing else.
//!
//! It builds, gathers and tells; it runs nothing itself, because the machine that builds seldom has the card.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{self, Workspace};

/// Runs every program, one after the other, and ends with a table.
const SCRIPT: &str = r#"#!/bin/sh
# Runs the contract suite on the first NVIDIA card. Arguments go before each program: `./run.sh compute-sanitizer`.
cd "$(dirname "$0")" || exit 1
logs="${OUT:-.}"
export FOREBAY_TEST_DEVICES=cuda
table=""
failed=0
for program in PROGRAMS; do
    timeout -s KILL "${LIMIT:-300}" "$@" "./$program" --show-output > "$logs/$program.log" 2>&1
    code=$?
    [ $code = 0 ] || failed=1
    [ $code = 0 ] || grep -E 'FAILED|panicked|^test panicked|ERROR SUMMARY' -A2 "$logs/$program.log" | head -60
    result=$(grep -h '^test result' "$logs/$program.log" | tail -1)
    table="$table
$program: exit $code, ${result:-no result}"
done
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null
echo "$table"
exit $failed
"#;

/// Runs the command.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "gpu-test takes no argument");
    let workspace = Workspace::open()?;
    let folder = workspace.root.join("target").join("gpu-test");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut names = Vec::new();
    for (name, program) in programs(&workspace.root)? {
        fs::copy(&program, folder.join(&name)).with_context(|| format!("cannot copy {name}"))?;
        names.push(name);
    }
    ensure!(!names.is_empty(), "there is no test to build");
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT.replace("PROGRAMS", &names.join(" ")))?;
    println!(
        "copy target/gpu-test to a machine with an NVIDIA card and driver, and run there:\n\n    sh gpu-test/run.sh"
    );
    Ok(true)
}

/// Builds the tests of the testkit, and says where each is.
fn programs(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let build = ["test", "--no-run", "--release", "--locked", "--package", "testkit", "--features", "cuda"];
    let mut command = workspace::cargo(root);
    command.args(build).args(["--tests", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(lines.lines().filter_map(program).collect())
}

/// The test program that a line of cargo's report is about.
pub(crate) fn program(line: &str) -> Option<(String, PathBuf)> {
    let report: Value = serde_json::from_str(line).ok()?;
    let target = &report["target"];
    let test = report["profile"]["test"].as_bool()? && target["kind"][0].as_str()? == "test";
    let path = report["executable"].as_str().filter(|_| test)?;
    Some((target["name"].as_str()?.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_picked_from_the_report() {
        let line = |kind: &str, test: bool| {
            format!(
                r#"{{"target":{{"name":"n","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":"/p"}}"#
            )
        };
        assert_eq!(program(&line("test", true)), Some(("n".to_owned(), "/p".into())));
        assert_eq!(program(&line("lib", true)), None);
        assert_eq!(program(&line("bin", false)), None);
        assert_eq!(program("{}"), None);
    }
}
