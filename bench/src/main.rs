//! Runners that measure forebay and write records to standard output; `bench` alone lists them.

mod frag;
mod traces;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1);
    let done = match name.as_deref() {
        Some("frag") => frag::run(&mut std::io::stdout().lock()),
        _ => Err(std::io::Error::other("usage: bench frag   (memory reserved over memory live, by policy)")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
