//! `cargo xtask gpu-test`: the contract suite and the program, for any machine with an NVIDIA card and nothing else.
//!
//! It builds, gathers and tells; it runs nothing itself, because the machine that builds seldom has the card. Where there
//! are reference files, some travel with the program, which is judged by them there; that alone takes Python.

mod fixtures;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{self, Workspace};

/// Runs every program, one after the other, then judges models by their references, and ends with a table.
const SCRIPT: &str = r#"#!/bin/sh
# Runs the contract suite on the first NVIDIA card. Arguments go before each program: `./run.sh compute-sanitizer`.
# Models are judged where there are references, Python with numpy and safetensors, and no arguments; several at once. Then some of
# them decode a long text, on the CPU and on the card.
# The programs lie in parts/ once this has begun, `forebay` among them; `./run.sh true` does no more than that.
cd "$(dirname "$0")" || exit 1
rm -rf parts && mkdir parts && tar xzf parts.tar.gz -C parts && cd parts || exit 1
[ "$1" = true ] && exit
logs="${OUT:-.}"
export FOREBAY_TEST_DEVICES=cuda LIMIT="${LIMIT:-300}"
table=""
failed=0
for program in PROGRAMS; do
    timeout -s KILL "$LIMIT" "$@" "./$program" --show-output > "$logs/$program.log" 2>&1
    code=$?
    [ $code = 0 ] || failed=1
    [ $code = 0 ] || grep -E 'FAILED|panicked|^test panicked|ERROR SUMMARY' -A2 "$logs/$program.log" | head -60
    result=$(grep -h '^test result' "$logs/$program.log" | tail -1)
    table="$table
$program: exit $code, ${result:-no result}"
done
if [ $# = 0 ] && [ -d fixtures ]; then
    judge='timeout -s KILL "$LIMIT" python3 fixtures/check.py fixtures ./forebay --device cuda --only "$0" 2>&1 |
        sed "s|^|$0: |"'
    xargs -P "${JOBS:-8}" -n 1 sh -c "$judge" < fixtures/travel.txt > "$logs/models.log" 2>&1
    grep -v ' passed, 0 failed$' "$logs/models.log" | head -80
    right=$(grep -c ': 2 passed, 0 failed$' "$logs/models.log")
    all=$(grep -c . fixtures/travel.txt)
    strict=0
    for path in $(cat fixtures/routed.txt); do
        grep -q "^$path: 2 passed, 0 failed$" "$logs/models.log" && continue
        timeout -s KILL "$LIMIT" python3 fixtures/check.py fixtures fixtures/strict --device cuda --only "$path" 2>&1 |
            sed "s|^|$path, strict: |" >> "$logs/models.log"
        grep -q "^$path, strict: 2 passed, 0 failed$" "$logs/models.log" && strict=$((strict + 1))
    done
    [ $((right + strict)) = "$all" ] || failed=1
    table="$table
models: $right of $all agree with their references, $strict more in strict precision, where experts are nearly equal"
    timeout -s KILL "$LIMIT" python3 fixtures/drift.py fixtures ./forebay > "$logs/drift.log" 2>&1 || failed=1
    grep -v ': holds' "$logs/drift.log" | head -20
    table="$table
long decode: $(tail -1 "$logs/drift.log")"
fi
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null
echo "$table"
exit $failed
"#;

/// Runs the command.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "gpu-test takes no argument");
    let workspace = Workspace::open()?;
    let folder = workspace.root.join("target").join("gpu-test");
    let parts = folder.with_extension("parts");
    for folder in [&folder, &parts] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut names = Vec::new();
    for (name, built) in programs(&workspace.root)? {
        put(&built, &parts.join(&name))?;
        names.push(name);
    }
    ensure!(!names.is_empty(), "there is no test to build");
    put(&forebay(&workspace.root)?, &parts.join("forebay"))?;
    match std::env::var_os("FOREBAY_FIXTURES") {
        Some(from) => fixtures::gather(Path::new(&from), &parts.join("fixtures"))?,
        None => println!("left out: models and their references, as FOREBAY_FIXTURES is not set"),
    }
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT.replace("PROGRAMS", &names.join(" ")))?;
    let bytes = pack(&parts, &folder.join("parts.tar.gz"))?;
    println!(
        "copy target/gpu-test ({:.1} MB) to a machine with an NVIDIA card and driver, and run there:\n\n    sh gpu-test/run.sh",
        bytes as f64 / 1e6
    );
    Ok(true)
}

/// Puts a program where it travels from, without symbols where there is a tool that takes them away.
pub(crate) fn put(program: &Path, to: &Path) -> Result<()> {
    fs::copy(program, to).with_context(|| format!("cannot copy {}", program.display()))?;
    // Symbols do no harm but take room.
    let _ = Command::new("strip").arg(to).output();
    Ok(())
}

/// Packs a folder, and says how many bytes that makes.
pub(crate) fn pack(folder: &Path, to: &Path) -> Result<u64> {
    let mut tar = Command::new("tar");
    tar.env("GZIP", "-9").arg("-czf").arg(to).arg("-C").arg(folder).arg(".");
    let output = tar.output().context("cannot start tar")?;
    ensure!(output.status.success(), "tar failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(fs::metadata(to)?.len())
}

/// Builds the tests of the testkit, and says where each is.
fn programs(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let build = ["test", "--no-run", "--package", "testkit", "--features", "cuda", "--tests"];
    Ok(built(root, &build)?.lines().filter_map(program).collect())
}

/// Builds the program, and says where it is.
pub(crate) fn forebay(root: &Path) -> Result<PathBuf> {
    let report = built(root, &["build", "--package", "forebay-cli", "--features", "cuda"])?;
    report.lines().find_map(executable).context("cargo names no program")
}

/// What cargo reports of a build.
fn built(root: &Path, build: &[&str]) -> Result<String> {
    let mut command = workspace::cargo(root);
    command.args(build).args(["--release", "--locked", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo {} failed", build.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program of the workspace that a line of cargo's report is about.
fn executable(line: &str) -> Option<PathBuf> {
    let report: Value = serde_json::from_str(line).ok()?;
    let kind = report["target"]["kind"][0].as_str()?;
    report["executable"].as_str().filter(|_| kind == "bin").map(PathBuf::from)
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
        assert_eq!(executable(&line("bin", false)), Some("/p".into()));
        assert_eq!(executable(&line("test", true)), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn what_is_packed_is_what_the_script_unpacks() {
        let root = std::env::temp_dir().join(format!("forebay-gpu-test-{}", std::process::id()));
        let parts = root.join("gpu-test.parts");
        fs::create_dir_all(&parts).unwrap();
        let program = |name: &str, body: &str| {
            let path = parts.join(name);
            fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            let done = Command::new("chmod").arg("+x").arg(path).status().unwrap();
            assert!(done.success());
        };
        program("good", "echo 'test result: ok. 3 passed'");
        program("bad", "echo 'test x ... FAILED'; exit 1");
        assert!(pack(&parts, &root.join("parts.tar.gz")).unwrap() > 0);
        fs::write(root.join("run.sh"), SCRIPT.replace("PROGRAMS", "good bad")).unwrap();
        let run = |argument: &str| {
            let mut sh = Command::new("sh");
            let output = sh.arg(root.join("run.sh")).arg(argument).env_remove("OUT").output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        assert_eq!(run("true"), (Some(0), String::new()));
        let (code, told) = run("env");
        assert_eq!(code, Some(1));
        for line in ["good: exit 0, test result: ok. 3 passed", "bad: exit 1, no result", "test x ... FAILED"]
        {
            assert!(told.lines().any(|told| told == line), "{told}");
        }
        assert!(root.join("parts/good.log").exists());
        fs::remove_dir_all(root).unwrap();
    }
}
