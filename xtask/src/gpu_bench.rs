//! `cargo xtask gpu-bench`: the program and what it is measured with, for any machine with an NVIDIA card and nothing else.
//!
//! It builds, gathers and tells; it measures nothing itself, because the machine that builds seldom has the card. What
//! comes back is a record as `bench/records` holds them. Next room: `gpu_test`, which checks before anybody measures.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    gpu_test::{forebay, pack, put},
    workspace::Workspace,
};

/// What is measured: a shape, a type, and what it is asked.
const RUNS: &[[&str; 3]] = &[
    ["qwen3-0.6b", "q4_k_m", TOKENS],
    ["qwen3-8b", "q4_k_m", TOKENS],
    ["qwen3-8b", "q4_k_m", "-p 0 -n 16 -d 16000 -r 2"],
    ["qwen3-8b", "q4_0", TOKENS],
    ["qwen3-8b", "q8_0", TOKENS],
    ["qwen3-8b", "bf16", TOKENS],
];
const TOKENS: &str = "-p 128,512,2048 -n 128 -r 5";

/// Measures all of it, one after the other, and writes a line each into the record.
const SCRIPT: &str = r#"#!/bin/sh
# Measures models of random weights on the first NVIDIA card. The record lies in $OUT, or beside this script, as gpu-bench.jsonl.
# LLAMA_BENCH=/path/to/llama-bench measures llama.cpp on the same files in the same run. ONLY=TEXT takes the runs with that in them.
# Files of weights are made in $FILES, or beside this script, and go when they have been measured; KEEP=1 leaves them.
cd "$(dirname "$0")" || exit 1
rm -rf parts && mkdir parts && tar xzf parts.tar.gz -C parts || exit 1
record="${OUT:-.}/gpu-bench.jsonl"
files="${FILES:-files}"
mkdir -p "$files" || exit 1
card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -1)
machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
command='forebay bench --shape SHAPE --quant TYPE --save FILE --device DEVICE ASKED --json'
printf '{"kind": "header", "card": "%s", "machine": "%s", "cores": %s, "commit": "COMMIT", "command": "%s"}\n' \
    "$card" "$machine" "$(getconf _NPROCESSORS_ONLN)" "$command" > "$record"
failed=0
one() {
    case "$1 $2 $3" in *"${ONLY:-}"*) ;; *) return ;; esac
    file="$files/$1-$2.gguf"
    echo "$1 in $2: $3" >&2
    # A file that is there is measured as it is, and made else.
    if [ -f "$file" ]; then set -- "$1" "$2" "$3" "$file"; else set -- "$1" "$2" "$3" "--shape $1 --quant $2 --save $file"; fi
    # What is asked is several words.
    # shellcheck disable=SC2086
    ./parts/forebay bench $4 --device "${DEVICE:-cuda}" $3 --json >> "$record" || failed=1
    if [ -n "$LLAMA_BENCH" ]; then
        # shellcheck disable=SC2086
        "$LLAMA_BENCH" -m "$file" -ngl 99 -fa 1 -o jsonl $3 2> /dev/null |
            sed 's/^{/{"peer": "llama.cpp", /' >> "$record" || failed=1
    fi
}
RUNS
[ -n "$KEEP" ] || rm -rf "$files"
echo "the record is $record" >&2
exit $failed
"#;

/// Runs the command.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "gpu-bench takes no argument");
    let workspace = Workspace::open()?;
    let folder = workspace.root.join("target").join("gpu-bench");
    let parts = folder.with_extension("parts");
    for folder in [&folder, &parts] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    put(&forebay(&workspace.root)?, &parts.join("forebay"))?;
    fs::write(folder.join("run.sh"), script(&commit(&workspace.root)?))?;
    let bytes = pack(&parts, &folder.join("parts.tar.gz"))?;
    println!(
        "copy target/gpu-bench ({:.1} MB) to a machine with an NVIDIA card and driver, and run there:\n\n    \
         sh gpu-bench/run.sh\n\nIt takes about 36 GB of disk, and leaves the record in gpu-bench/gpu-bench.jsonl.",
        bytes as f64 / 1e6
    );
    Ok(true)
}

fn script(commit: &str) -> String {
    let runs = RUNS.iter().map(|[shape, dtype, asked]| format!("one {shape} {dtype} '{asked}'\n"));
    SCRIPT.replace("RUNS\n", &runs.collect::<String>()).replace("COMMIT", commit)
}

/// What is measured, as git names it.
fn commit(root: &Path) -> Result<String> {
    let git = |arguments: &[&str]| Command::new("git").args(arguments).current_dir(root).output();
    let named = git(&["rev-parse", "--short", "HEAD"]).context("cannot start git")?;
    ensure!(named.status.success(), "git names no commit: {}", String::from_utf8_lossy(&named.stderr).trim());
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).context("cannot start git")?;
    let more = if changed.stdout.is_empty() { "" } else { " and changes" };
    Ok(format!("{}{more}", String::from_utf8_lossy(&named.stdout).trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_run_leaves_a_line_in_the_record() {
        let root = std::env::temp_dir().join(format!("forebay-gpu-bench-{}", std::process::id()));
        let parts = root.join("gpu-bench.parts");
        fs::create_dir_all(&parts).unwrap();
        // What is asked comes back, and a file that is asked for appears.
        let program = r#"#!/bin/sh
printf '{"asked": "%s"}\n' "$*"
while [ $# -gt 0 ]; do [ "$1" = --save ] && : > "$2"; shift; done
"#;
        let forebay = parts.join("forebay");
        fs::write(&forebay, program).unwrap();
        let llama = root.join("llama-bench");
        fs::write(&llama, "#!/bin/sh\n[ -f \"$2\" ] && printf '{\"file\": \"%s\"}\\n' \"$2\"\n").unwrap();
        for path in [&forebay, &llama] {
            assert!(Command::new("chmod").arg("+x").arg(path).status().unwrap().success());
        }
        assert!(pack(&parts, &root.join("parts.tar.gz")).unwrap() > 0);
        fs::write(root.join("run.sh"), script("1234abc and changes")).unwrap();
        let run = |only: &str| -> Vec<Value> {
            let mut sh = Command::new("sh");
            sh.arg(root.join("run.sh")).env("ONLY", only).env("LLAMA_BENCH", &llama);
            let output = sh.env_remove("OUT").env_remove("KEEP").env_remove("FILES").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let record = fs::read_to_string(root.join("gpu-bench.jsonl")).unwrap();
            record.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let all = run("");
        assert_eq!(all.len(), 1 + 2 * RUNS.len());
        assert_eq!(all[0]["commit"], "1234abc and changes");
        let asked: Vec<&str> = all.iter().filter_map(|line| line["asked"].as_str()).collect();
        assert!(
            asked[0].starts_with("bench --shape qwen3-0.6b --quant q4_k_m --save ")
                && asked[0].ends_with(".gguf --device cuda -p 128,512,2048 -n 128 -r 5 --json"),
            "{asked:?}"
        );
        // The file of the second run of a type is the one that the first made.
        assert!(!asked[2].contains("--shape") && asked[2].contains("qwen3-8b-q4_k_m.gguf"), "{asked:?}");
        assert_eq!(all.iter().filter(|line| line["peer"] == "llama.cpp").count(), RUNS.len());
        assert!(!root.join("files").exists());
        assert_eq!(run("q8_0").len(), 3);
        fs::remove_dir_all(root).unwrap();
    }
}
