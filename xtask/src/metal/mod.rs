//! Metal without a Mac: `cargo xtask metal`, and the rungs that check what can be checked on Linux.
//!
//! The workspace `metal/` builds with a copy of objc2-metal under `target/`, changed in the one line that keeps it from
//! being built elsewhere than on Apple's systems. Nothing of that copy is committed. The rungs for Apple's own target
//! use Debian's compiler, because it comes with the source of its library.
//! Next: `stubs.rs`, what the link of a program for macOS is told about its libraries.

mod stubs;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    debian,
    ladder::Run,
    workspace::{self, Workspace},
};

/// The crate that is changed, the file of it, and the line before and after.
const CRATE: &str = "objc2-metal";
const FILE: &str = "src/generated/mod.rs";
const LINE: &str = "#[link(name = \"Metal\", kind = \"framework\")]";
const CHANGED: &str = "#[cfg_attr(target_vendor = \"apple\", link(name = \"Metal\", kind = \"framework\"))]";

/// Apple's target, and the oldest system that its programs run on.
const TARGET: &str = "aarch64-apple-darwin";
const OLDEST: &str = "13.0";
/// The tests that an owner of a Mac may run.
const PROGRAMS: &[&str] = &["contract_memory", "contract_command", "contract_faults"];

/// Runs the command: makes the copy, after which `cargo test` works in `metal/`.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "metal takes no argument");
    let workspace = Workspace::open()?;
    prepare(&workspace.root)?;
    println!("ready: (cd metal && FOREBAY_TEST_DEVICES=metal cargo test)");
    Ok(true)
}

/// Makes the changed copy, unless it is there.
fn prepare(root: &Path) -> Result<()> {
    let from = source_of(root, CRATE)?;
    let to = root.join("target").join("metal").join(CRATE);
    let original = from.join(FILE);
    let text =
        fs::read_to_string(&original).with_context(|| format!("cannot read {}", original.display()))?;
    let changed = change(&text)?;
    if fs::read_to_string(to.join(FILE)).is_ok_and(|there| there == changed)
        && fs::read(to.join("Cargo.toml")).ok() == fs::read(from.join("Cargo.toml")).ok()
    {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&to);
    copy(&from, &to)?;
    fs::write(to.join(FILE), changed).context("cannot change the copy")
}

/// The text with the one line changed.
fn change(text: &str) -> Result<String> {
    let count = text.lines().filter(|line| *line == LINE).count();
    ensure!(
        count == 1,
        "{FILE} of {CRATE} has the line {LINE:?} {count} times, and not once: look at it anew"
    );
    Ok(text.replacen(LINE, CHANGED, 1))
}

/// Where cargo keeps the source of a crate that programs for Apple's target use.
fn source_of(root: &Path, name: &str) -> Result<PathBuf> {
    let args = ["metadata", "--format-version=1", "--locked", "--filter-platform", TARGET];
    let output = workspace::cargo(root).args(args).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    Ok(folder.with_context(|| format!("nothing uses {name}"))?.to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Whether Debian's compiler is there, with what is needed to build its library for another target.
pub(crate) fn has_debian() -> bool {
    debian::has("lib/rustlib/src/rust/library/Cargo.toml") && debian::has("bin/cargo-clippy")
}

/// Runs Debian's cargo for Apple's target.
fn apple(run: &mut Run<'_>, tool: &str, variables: &[String], args: &[&str]) -> Result<String> {
    let mut all: Vec<String> = [
        // Its library is built from source, which only a nightly compiler is meant to do.
        "RUSTC_BOOTSTRAP=1",
        "CARGO_PROFILE_DEV_DEBUG=false",
        "CARGO_PROFILE_DEV_OPT_LEVEL=0",
        // Nothing is stripped, because the tool for that is not there.
        "CARGO_PROFILE_DEV_STRIP=none",
    ]
    .map(str::to_owned)
    .into();
    all.extend_from_slice(variables);
    let mut args = args.to_vec();
    args.extend(["-Zbuild-std=std,panic_abort,test", "--locked", "--target", TARGET]);
    args.extend(["--target-dir", "target/darwin"]);
    if tool == "cargo-clippy" {
        args.extend(["--", "-D", "warnings"]);
    }
    debian::tool(run, tool, &all, &args).check()
}

/// The rung `darwin`: types and lints, on the real target.
pub(crate) fn check_target(run: &mut Run<'_>) -> Result<()> {
    let args = ["clippy", "--package", "forebay-device", "--package", "testkit", "--all-targets"];
    apple(run, "cargo-clippy", &[], &args).map(drop)
}

/// The rung `macho`: the contract suite as programs for macOS, which a Mac runs as they are.
pub(crate) fn link(run: &mut Run<'_>) -> Result<()> {
    let folder = run.workspace.root.join("target").join("metal");
    let stubs = folder.join("stubs");
    stubs::write(&stubs)?;
    let stubs = stubs.to_string_lossy().into_owned();
    let flags = format!(
        "-Clinker=ld64.lld-19 -Clinker-flavor=ld64.lld -Clink-arg=-F{stubs} -Clink-arg=-L{stubs} \
         -Clink-arg=-undefined -Clink-arg=error -Clink-arg=--error-limit=0"
    );
    let variables = [
        format!("CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS={flags}"),
        format!("MACOSX_DEPLOYMENT_TARGET={OLDEST}"),
        format!("SDKROOT={stubs}"),
    ];
    let mut args =
        vec!["test", "--no-run", "--package", "testkit", "--message-format=json-render-diagnostics"];
    args.extend(PROGRAMS.iter().flat_map(|name| ["--test", name]));
    let report = apple(run, "cargo", &variables, &args)?;
    let to = folder.join("macos");
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut made = 0;
    for (name, program) in report.lines().filter_map(crate::gpu_test::program) {
        let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
        ensure!(is_program(&bytes), "{} is no arm64 program for macOS", program.display());
        fs::copy(&program, to.join(&name)).with_context(|| format!("cannot copy {name}"))?;
        made += 1;
    }
    if made != PROGRAMS.len() {
        bail!("{made} programs were linked, not {}", PROGRAMS.len());
    }
    Ok(())
}

/// Whether bytes begin as a program for 64-bit ARM in Apple's format.
fn is_program(bytes: &[u8]) -> bool {
    let word = |at: usize| {
        bytes.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    (word(0), word(4), word(12)) == (Some(0xFEED_FACF), Some(0x0100_000C), Some(2))
}

/// Turns the backend on where there is no Metal, as `metal/.cargo/config.toml` does.
const EMULATED: &str = "--cfg metal_emulated";

/// A cargo command in `metal/`, on this machine.
fn emulated(run: &mut Run<'_>, args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let folder = run.workspace.root.join("metal");
    let mut step = run.cargo(args).within(&folder).env("RUSTFLAGS", EMULATED);
    for (name, value) in variables {
        step = step.env(name, value);
    }
    step.tests()
}

/// The rung `msl`: kernels on the CPU in shuffled orders, their address spaces, and all of it under AddressSanitizer.
pub(crate) fn kernels(run: &mut Run<'_>) -> Result<()> {
    prepare(&run.workspace.root)?;
    let folder = run.workspace.root.join("metal");
    let lint = ["clippy", "--locked", "--package", "msl", "--package", "softmetal", "--all-targets"];
    run.cargo(&[lint.as_slice(), &["--", "-D", "warnings"]].concat())
        .within(&folder)
        .env("RUSTFLAGS", EMULATED)
        .check()?;
    let args = ["test", "--locked", "--package", "msl", "--no-fail-fast", "--test", "kernels"];
    emulated(run, &[args.as_slice(), &["--lib"]].concat(), &[])?;
    let runtime = run.tool("clang++-19", &["-print-file-name=libclang_rt.asan-x86_64.so"]).check()?;
    let (runtime, args) = (runtime.trim(), [args.as_slice(), &["--test", "sanitized"]].concat());
    ensure!(
        runtime.starts_with('/'),
        "clang has no runtime for AddressSanitizer: apt-get install libclang-rt-19-dev"
    );
    // The runtime is for the kernels; the tools that build the test have no use for being watched.
    let preload = format!(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=env LD_PRELOAD={runtime} ASAN_OPTIONS=detect_leaks=0"
    );
    let (name, value) = preload.split_once('=').unwrap_or_default();
    emulated(run, &args, &[(name, value), ("MSL_SANITIZED", "1")])
}

/// The rung `metal`: the backend and the contract suite against the software device.
pub(crate) fn suite(run: &mut Run<'_>) -> Result<()> {
    prepare(&run.workspace.root)?;
    let args = ["test", "--locked", "--package", "softmetal", "--package", "suite", "--no-fail-fast"];
    emulated(run, &args, &[("FOREBAY_TEST_DEVICES", "metal")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_line_is_changed_and_a_file_without_it_refused() {
        let text = format!("// above\n{LINE}\nextern \"C\" {{}}\n");
        assert_eq!(change(&text).unwrap(), format!("// above\n{CHANGED}\nextern \"C\" {{}}\n"));
        assert!(change("extern \"C\" {}\n").is_err());
        assert!(change(&format!("{LINE}\n{LINE}\n")).is_err());
    }

    #[test]
    fn programs_for_a_mac_are_known_by_their_first_words() {
        let program = [0xFEED_FACFu32, 0x0100_000C, 0, 2].map(u32::to_le_bytes).concat();
        assert!(is_program(&program));
        assert!(!is_program(&program[..12]) && !is_program(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"));
    }
}
