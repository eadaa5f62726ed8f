//! The rung `neon`: ops against their oracles on 64-bit ARM, which an emulator stands in for.
//!
//! Debian's compiler builds the conformance run of `testkit`, with the library that Debian built for that machine. It
//! shows that the level NEON gives the bits of every other level. It shows no speed, and no instruction that the emulator
//! gets wrong.
//! Next: `debian.rs`, how the compiler is called; `.ci/arm64`, how the library gets here.

use anyhow::{Result, ensure};

use crate::{debian, ladder::Run};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The emulator keeps a book of every page that a program takes, also of address space that it never touches; a pool
/// takes less of it when there is no more.
const RUNNER: &str = "qemu-aarch64 -L /usr/aarch64-linux-gnu -R 8G";

/// Whether the library for ARM is beside Debian's compiler.
pub(crate) fn has_library() -> bool {
    debian::has("bin/cargo") && debian::has("lib/rustlib/aarch64-unknown-linux-gnu/lib")
}

/// Runs the rung; each op counts as a test.
pub(crate) fn conformance(run: &mut Run<'_>) -> Result<()> {
    let variables = [
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc".to_owned(),
        format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER={RUNNER}"),
        "CARGO_PROFILE_DEV_DEBUG=false".to_owned(),
        "FOREBAY_TEST_DEVICES=cpu".to_owned(),
    ];
    let build =
        ["run", "--locked", "--target", TARGET, "--target-dir", "target/neon", "--package", "testkit"];
    // One worker runs everything: several would wait for each other at the emulator's pace.
    let program = ["--bin", "conformance", "--", "test", "--threads", "1"];
    let output = debian::tool(run, "cargo", &variables, &[build.as_slice(), &program].concat()).check()?;
    let done = output.lines().filter(|line| line.starts_with("cpu_1 ") && line.ends_with(" results")).count();
    (0..done).for_each(|_| run.count(true));
    ensure!(done > 0, "no op was compared");
    Ok(())
}
