//! The forebay program: one file a command. `cli` is the definition that help comes from.
//!
//! Standard output carries results and nothing else; everything else goes to standard error. Exit codes: 0 for
//! success, 1 for a failure, 2 for a wrong use.
#![forbid(unsafe_code)]

mod cli;
mod logits;
mod memory;
mod quantize;
mod run;
mod tokenize;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Memory(args) => memory::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("forebay: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("forebay: {error}");
            ExitCode::from(1)
        }
    }
}
