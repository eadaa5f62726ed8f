//! The test ladder: the one list of what `cargo xtask test` runs, in order, cheapest and broadest first.
//!
//! To add a rung, add one entry to [`RUNGS`]. A rung says what it needs that a machine with Rust and a C linker may
//! lack, and how to get it. A rung of tests that finds no test to run fails: nothing is left out in silence.
//! Next: `run.rs`, how a rung runs its tools.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{examples, package, run::Run};
use crate::{api, kernels, metal, neon, workspace::Workspace};

/// One rung of the ladder.
pub(crate) struct Rung {
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) about: &'static str,
    /// Seconds that it may take on two cores, built from nothing.
    pub(crate) budget: u64,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&mut Run<'_>) -> Result<()>,
}

/// Something that a machine may lack.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) present: fn() -> bool,
    /// The command that brings it.
    pub(crate) remedy: &'static str,
}

/// Variables through which tests find what cannot be kept here, and how to get it. A test that misses one says its name.
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("FOREBAY_FIXTURES", "export FOREBAY_FIXTURES=FOLDER, the folder with the reference files"),
    ("FOREBAY_SMOLLM2", "export FOREBAY_SMOLLM2=$(.ci/smollm2)"),
    (
        "FOREBAY_VOCABULARIES",
        "export FOREBAY_VOCABULARIES=FOLDER, with vocabularies and their .inp and .out files",
    ),
];

const RUSTFMT: Need = Need {
    what: "rustfmt",
    present: || answers("cargo", &["fmt", "--version"]),
    remedy: "rustup component add rustfmt",
};
const CLIPPY: Need = Need {
    what: "clippy",
    present: || answers("cargo", &["clippy", "--version"]),
    remedy: "rustup component add clippy",
};
const DENY: Need = Need {
    what: "cargo-deny",
    present: || answers("cargo", &["deny", "--version"]),
    remedy: "cargo install --locked cargo-deny@0.20.2",
};

const CHROMIUM: Need = Need {
    what: "chromium",
    present: || answers("chromium", &["--version"]),
    remedy: "apt-get install chromium",
};

const PYPI: Need = Need {
    what: "python3 with pip, and PyPI or the compiler that was fetched from there",
    present: || answers("python3", &["-m", "pip", "--version"]) && answers("c++", &["--version"]),
    remedy: "apt-get install python3-pip g++",
};

const APPLE: Need = Need {
    what: "Debian's Rust, with the source of its library",
    present: metal::has_debian,
    remedy: "apt-get install rustc-web cargo-web rust-web-src rust-web-clippy",
};
const CLANG: Need = Need {
    what: "clang 19, with its sanitizers",
    present: || answers("clang++-19", &["--version"]),
    remedy: "apt-get install clang-19 libclang-rt-19-dev",
};
const LLD: Need = Need {
    what: "lld 19",
    present: || answers("ld64.lld-19", &["--version"]),
    remedy: "apt-get install lld-19",
};

const ARM: Need = Need {
    what: "Debian's Rust with its library for 64-bit ARM, a linker for it and qemu",
    present: || {
        neon::has_library()
            && answers("aarch64-linux-gnu-gcc", &["--version"])
            && answers("qemu-aarch64", &["--version"])
    },
    remedy: ".ci/arm64",
};

/// How often loom may preempt a thread in one run; more finds no more here, and takes far longer.
pub(crate) const LOOM_PREEMPTIONS: &str = "3";

/// The devices that are there on every machine.
const DEVICES: (&str, &str) = ("FOREBAY_TEST_DEVICES", "null,cpu");

/// Turns the CUDA backend on, which the program has on by itself. It builds without NVIDIA's software, and what needs no card is
/// tested on every machine. Rungs that say `--workspace` and this share what they build.
pub(super) const CUDA: &str = "--features=testkit/cuda,bench/cuda";

/// The ladder.
pub(crate) const RUNGS: &[Rung] = &[
    Rung {
        name: "fmt",
        about: "the code is formatted",
        budget: 10,
        needs: &[RUSTFMT],
        run: |run| {
            run.cargo(&["fmt", "--all", "--check"]).check()?;
            let apart =
                ["fmt", "--check", "--package", "msl", "--package", "softmetal", "--package", "suite"];
            let folder = run.workspace.root.join("metal");
            run.cargo(&apart).within(&folder).check().map(drop)
        },
    },
    Rung {
        name: "tidy",
        about: "the rules of the house that no compiler checks",
        budget: 10,
        needs: &[],
        run: |run| run.cargo(&["xtask", "tidy"]).check().map(drop),
    },
    Rung {
        name: "deny",
        about: "licences, sources and duplicates of dependencies are those of deny.toml",
        budget: 10,
        needs: &[DENY],
        run: |run| run.cargo(&["deny", "check", "licenses", "bans", "sources"]).check().map(drop),
    },
    Rung {
        name: "clippy",
        about: "no warning in any target",
        budget: 90,
        needs: &[CLIPPY],
        run: |run| {
            let strict = ["--all-targets", "--", "-D", "warnings"];
            run.cargo(&[["clippy", "--workspace", CUDA].as_slice(), &strict].concat()).check()?;
            let without = ["clippy", "--package", "forebay-device", "--package", "testkit"];
            run.cargo(&[without.as_slice(), &strict].concat()).check().map(drop)
        },
    },
    Rung {
        name: "fuzz",
        about: "no warning in the fuzz targets; nothing is fuzzed",
        budget: 40,
        needs: &[CLIPPY],
        run: |run| {
            let place =
                ["clippy", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"];
            let strict = ["--no-default-features", "--bins", "--examples", "--", "-D", "warnings"];
            run.cargo(&[place.as_slice(), &strict].concat()).check().map(drop)
        },
    },
    Rung {
        name: "test",
        about: "unit and contract tests, on null and cpu",
        budget: 370,
        needs: &[],
        run: |run| {
            let files = test_files(run.workspace, |_| true);
            let mut args = vec!["test", "--workspace", CUDA, "--no-fail-fast", "--lib", "--bins"];
            args.extend(files.iter().flat_map(|name| ["--test", name]));
            run.cargo(&args).env(DEVICES.0, DEVICES.1).tests()
        },
    },
    Rung {
        name: "ui",
        about: "what must not compile is refused, in the stored words",
        budget: 40,
        needs: &[],
        run: |run| run.cargo(&["test", "--workspace", CUDA, "--test", "ui"]).tests(),
    },
    Rung {
        name: "doctest",
        about: "the examples in the documentation",
        budget: 40,
        needs: &[],
        run: |run| run.cargo(&["test", "--workspace", CUDA, "--doc", "--no-fail-fast"]).tests(),
    },
    Rung {
        name: "examples",
        about: "each example of a crate runs to its end",
        budget: 40,
        needs: &[],
        run: examples::check,
    },
    Rung {
        name: "rustdoc",
        about: "the documentation builds without a warning",
        budget: 30,
        needs: &[],
        run: |run| {
            run.cargo(&["doc", "--workspace", "--no-deps", "--exclude", "xtask"])
                .env("RUSTDOCFLAGS", "-D warnings")
                .check()
                .map(drop)
        },
    },
    Rung {
        name: "api",
        about: "the library offers what crates/forebay/api.txt says",
        budget: 15,
        needs: &[],
        run: api::check,
    },
    Rung {
        name: "page",
        about: "the page of a trace draws in a browser, also a long one",
        budget: 30,
        needs: &[CHROMIUM],
        run: |run| run.cargo(&["test", "--workspace", CUDA, "--test", "page"]).tests(),
    },
    Rung {
        name: "kernels",
        about: "every CUDA source compiles to what is packed beside it",
        budget: 30,
        needs: &[PYPI],
        run: kernels::rung,
    },
    Rung {
        name: "darwin",
        about: "no warning in the device layer, for Apple's target",
        budget: 60,
        needs: &[APPLE],
        run: metal::check_target,
    },
    Rung {
        name: "msl",
        about: "Metal kernels on the CPU, in any order, and their address spaces",
        budget: 20,
        needs: &[CLANG],
        run: metal::kernels,
    },
    Rung {
        name: "metal",
        about: "the contract suite on a software Metal device",
        budget: 75,
        needs: &[CLANG],
        run: metal::suite,
    },
    Rung {
        name: "macho",
        about: "the contract suite links for a Mac",
        budget: 75,
        needs: &[APPLE, LLD],
        run: metal::link,
    },
    Rung {
        name: "neon",
        about: "every op against its oracle on 64-bit ARM, emulated",
        budget: 110,
        needs: &[ARM],
        run: neon::conformance,
    },
    Rung {
        name: "loom",
        about: "every order of threads, as far as loom can try them",
        budget: 80,
        needs: &[],
        run: |run| {
            let place = ["--package", "forebay-device", "--lib", "--target-dir", "target/loom"];
            run.cargo(&[["test", "--release", "loom"].as_slice(), &place].concat())
                .env("RUSTFLAGS", "--cfg loom")
                .env("LOOM_MAX_PREEMPTIONS", LOOM_PREEMPTIONS)
                .tests()
        },
    },
    Rung {
        name: "asan",
        about: "the libraries' tests under AddressSanitizer, with leaks",
        budget: 300,
        needs: &[],
        run: sanitized,
    },
    Rung {
        name: "package",
        about: "each shipped crate packs, is small enough and carries its licences",
        budget: 20,
        needs: &[],
        run: package::check,
    },
];

/// Runs tests with the sanitizer compiled in, after it has found a planted fault.
fn sanitized(run: &mut Run<'_>) -> Result<()> {
    // The stable compiler carries the sanitizer, but takes the flag only when told to behave like a nightly one.
    const NIGHTLY: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
    const FLAG: &str = "-Zsanitizer=address";

    let version = run.tool("rustc", &["-vV"]).check()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let folder = run.workspace.root.join("target").join("asan");
    std::fs::create_dir_all(&folder)?;
    let program = folder.join("past_the_end");
    let out = program.to_string_lossy().into_owned();
    run.tool(
        "rustc",
        &["--edition=2024", FLAG, "--target", host, "xtask/planted/past_the_end.rs", "-o", &out],
    )
    .env(NIGHTLY.0, NIGHTLY.1)
    .check()?;
    run.tool(program, &[]).fails_with("ERROR: AddressSanitizer: heap-buffer-overflow")?;

    let watched = |run: &mut Run<'_>, packages: &[&str], rest: &[&str]| {
        let mut args = vec!["test", "--no-fail-fast", "--target", host, "--target-dir", "target/asan"];
        args.extend(packages.iter().flat_map(|package| ["--package", package]));
        run.cargo(&[&args, rest].concat())
            .env(NIGHTLY.0, NIGHTLY.1)
            .env("RUSTFLAGS", FLAG)
            .env(DEVICES.0, DEVICES.1)
            .tests()
    };
    // All that touches memory, and what uses it most. The kernels' own unit tests would build all kernels again for what
    // the conformance run in `testkit` does as well.
    const WHOLE: [&str; 3] = ["forebay-device", "testkit", "forebay"];
    const FILES_ONLY: [&str; 2] = ["forebay-tensor", "testkit"];
    let whole = test_files(run.workspace, |package| WHOLE.contains(&package));
    let files = test_files(run.workspace, |package| package == FILES_ONLY[0]);
    let named = |files: &[String]| -> Vec<String> {
        files.iter().flat_map(|name| ["--test".to_owned(), name.clone()]).collect()
    };
    let (whole, files) = (named(&whole), named(&files));
    let whole: Vec<&str> = ["--lib", "--bins"].into_iter().chain(whole.iter().map(String::as_str)).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    watched(run, &WHOLE, &whole)?;
    watched(run, &FILES_ONLY, &files)
}

/// The test files of some packages, but those that a rung of the same name runs.
fn test_files(workspace: &Workspace, of: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names: Vec<_> = workspace
        .targets("test", of)
        .map(|target| target.name.clone())
        .filter(|name| RUNGS.iter().all(|rung| rung.name != name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a tool is there and says so with success.
fn answers(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).args(args);
    command.output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_ladder_fits_in_its_time() {
        let mut names: Vec<_> = RUNGS.iter().map(|rung| rung.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RUNGS.len());
        let total: u64 = RUNGS.iter().map(|rung| rung.budget).sum();
        assert!(total <= 25 * 60, "the budgets add up to {total} s, more than 25 minutes");
    }

    #[test]
    fn a_tool_that_is_missing_or_fails_does_not_answer() {
        assert!(answers("true", &[]));
        assert!(!answers("false", &[]));
        assert!(!answers("no-such-program-anywhere", &[]));
    }
}
