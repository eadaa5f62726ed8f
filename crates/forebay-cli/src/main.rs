//! The forebay program: one file a command. `cli` is the definition that help comes from.
//!
//! Standard output carries results and nothing else; everything else goes to standard error. Exit codes: 0 for
//! success, 1 for a failure, 2 for a wrong use, 130 if Ctrl-C ended it.
#![forbid(unsafe_code)]

mod bench;
mod chat;
mod cli;
mod demo;
mod devices;
mod embed;
mod imatrix;
mod inspect;
mod interrupt;
mod logits;
mod memory;
mod model;
mod perplexity;
mod progress;
mod prompt;
mod quantize;
mod resident;
mod run;
mod sampling;
mod shell;
mod size;
mod tokenize;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Imatrix(args) => imatrix::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(interrupt::INTERRUPTED),
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
