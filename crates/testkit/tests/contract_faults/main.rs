//! Bad input and faults: each ends in the error that names it, nothing leaks, and everything else goes on.
//!
//! `input` hands in what cannot be, `nothing` what has no size; `calls` lets every driver call fail once, `panics` kernels;
//! `endings` drops everything in every order while work is under way, which AddressSanitizer watches.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod calls;
mod endings;
mod input;
mod nothing;
mod panics;

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::run("", &[input::TESTS, nothing::TESTS, calls::TESTS, panics::TESTS, endings::TESTS])
}
