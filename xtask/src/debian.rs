//! Debian's compiler, for targets whose library rustup's toolchain of this machine does not have.
//!
//! It is called beside that toolchain, with none of its variables. What it builds for is up to the rungs: `metal`, with
//! the library built from source, and `neon`, with the library that Debian built.

use std::path::Path;

use crate::ladder::{Run, Step};

/// Where Debian's tools are.
const FOLDER: &str = "/usr/bin";

/// Whether a file is there, named from where Debian installs.
pub(crate) fn has(path: &str) -> bool {
    Path::new("/usr").join(path).exists()
}

/// One of Debian's tools of cargo, about to run in the root of the workspace with these variables.
pub(crate) fn tool<'r, 'a>(
    run: &'r mut Run<'a>,
    tool: &str,
    variables: &[String],
    args: &[&str],
) -> Step<'r, 'a> {
    let mut all: Vec<String> =
        ["-u", "RUSTUP_TOOLCHAIN", "-u", "RUSTFLAGS", "-u", "CARGO", "-u", "RUSTC"].map(str::to_owned).into();
    all.push(format!("PATH={FOLDER}:/bin"));
    all.extend_from_slice(variables);
    all.push(format!("{FOLDER}/{tool}"));
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    run.tool("env", &all)
}
