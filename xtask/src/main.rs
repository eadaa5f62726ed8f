//! The project's own chores, run as `cargo xtask COMMAND`.
//!
//! This file only reads the command line and picks a command; each command is a module. What a test run consists
//! of is the list in `ladder/rungs.rs`. Nothing here is shipped, and nothing shipped depends on it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to whoever runs it")]

mod api;
mod debian;
mod gpu_bench;
mod gpu_test;
mod kernels;
mod ladder;
mod metal;
mod mutants;
mod neon;
mod process;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--rung NAME]... [--leave-out NAME]... [--strict [--may-lack TEXT]...] [--verbose] [--list]
      Runs the rungs of the test ladder and prints one table.
        --rung NAME       run only this rung; may be repeated
        --leave-out NAME  run all but this rung; may be repeated
        --strict          fail too if a rung or a test lacks what it needs
        --may-lack TEXT   accept tests that were left out for a reason with this text in it
        --verbose         show what the tools print while they run
        --list            print the rungs, their budgets and what they need, and run nothing
  api
      Writes crates/forebay/api.txt anew, the names that the library offers.
  gpu-bench
      Builds the program for NVIDIA cards, and prints the command that makes files of random weights where a card is,
      measures models on it, and writes a record.
  gpu-test
      Builds the contract suite and the program for NVIDIA cards, gathers some reference files of FOREBAY_FIXTURES, and
      prints the command that runs all of it where a card is.
  kernels [--check]
      Compiles the CUDA sources that changed, and packs what comes out beside them.
        --check           only say whether what is packed was made of the sources as they are; needs no compiler
  metal
      Makes the copy of objc2-metal that the workspace `metal/` builds with, under `target/`.
  tidy
      Checks the rules of the house that no compiler checks: who uses whom, unsafe, names, sizes, text.
  mutants [--only NAME]...
      Applies each mutation of mutants/ to a copy of the tree; the tests it names must fail.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((command, rest)) => match command.as_str() {
            "test" => ladder::command(rest),
            "api" => api::command(rest),
            "gpu-bench" => gpu_bench::command(rest),
            "gpu-test" => gpu_test::command(rest),
            "kernels" => kernels::command(rest),
            "metal" => metal::command(rest),
            "mutants" => mutants::command(rest),
            "tidy" => tidy::command(rest),
            "help" | "--help" | "-h" => {
                print!("{USAGE}");
                Ok(true)
            }
            other => Err(anyhow::anyhow!("there is no command {other:?}\n\n{USAGE}")),
        },
        None => Err(anyhow::anyhow!("a command is missing\n\n{USAGE}")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
