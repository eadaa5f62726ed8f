//! The pass over address spaces: a text is read as C++ for OpenCL, which has those of MSL under other names.
//!
//! It refuses pointers that change their space, pointers of functions that name none and are given one, and writes to
//! constants. It makes nothing that could be run.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::{compile::HEADERS, source};

const CLANG: &str = "clang-19";
/// No generic address space, as in MSL: a pointer means one space or no program.
const FLAGS: &[&str] = &[
    "-x",
    "cl",
    "-cl-std=clc++2021",
    "-cl-no-stdinc",
    "-Xclang",
    "-cl-ext=-__opencl_c_generic_address_space,-__opencl_c_pipes,-__opencl_c_program_scope_global_variables,\
     -__opencl_c_device_enqueue",
    "-fsyntax-only",
    "-Wall",
    "-Werror",
    "-Wno-unknown-attributes",
    // A shared variable is set by one thread and read by others.
    "-Wno-sometimes-uninitialized",
    "-Wno-unused-function",
    "-target",
    "spirv64",
    "-I",
    HEADERS,
    "-",
];

/// Checks a text.
///
/// # Errors
/// What clang says, with the lines of the text.
pub fn check_spaces(text: &str) -> Result<(), String> {
    source::entries(text)?;
    let mut command = Command::new(CLANG);
    command.args(FLAGS).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |error: std::io::Error| format!("{CLANG}: {error}");
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(source::to_opencl(text).as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
