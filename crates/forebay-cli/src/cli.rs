//! What can be written on the command line, and how commands fail. Help, completions and the man page come from here.
//!
//! Next rooms: `model` for what commands share that run one, `sampling` for how tokens are chosen; the rest is a file a command.

use std::io;

use clap::{Parser, Subcommand};

use crate::memory;

/// Runs quantised language models.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    about,
    after_help = "\
Examples:
  forebay run model.gguf \"Why is the sky blue?\"     answer, or continue a text
  forebay chat model.gguf                           a conversation
  forebay inspect model.gguf                        what is in a file, and whether it fits
  forebay bench model.gguf                          how fast it is here

Results go to standard output, everything else to standard error. Exit codes: 0 for success, 1 for a failure, \
2 for a wrong use, 130 if Ctrl-C ended it."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt, or continue a text
    Run(Box<crate::run::RunArgs>),
    /// Talk with a model
    Chat(Box<crate::chat::ChatArgs>),
    /// Write the logits of every token of a list into a safetensors file
    Logits(crate::logits::LogitsArgs),
    /// Cut text into tokens, and back
    Tokenize(crate::tokenize::TokenizeArgs),
    /// Make a smaller file of a model
    Quantize(crate::quantize::QuantizeArgs),
    /// Find out which columns of a model count most, for quantize
    Imatrix(crate::imatrix::ImatrixArgs),
    /// Print a text as a list of numbers
    Embed(crate::embed::EmbedArgs),
    /// Tell how well a model predicts a text, and how far it is from another
    Perplexity(crate::perplexity::PerplexityArgs),
    /// Look into a model file, and tell whether it fits
    Inspect(crate::inspect::InspectArgs),
    /// Measure how fast a model runs here
    Bench(crate::bench::BenchArgs),
    /// List what models can run on here
    Devices(crate::devices::DevicesArgs),
    /// See, replay and explain where memory goes
    Memory(memory::MemoryArgs),
    /// Print the completions of a shell
    Completions(crate::shell::CompletionsArgs),
    /// Print the manual as a man page
    Man(crate::shell::ManArgs),
}

/// How a command ends when it does not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for something that cannot be.
    Usage(String),
    /// It could not do what it was asked for.
    Failed(String),
    /// Nobody reads the result any more, which is the reader's choice.
    Closed,
    /// Ctrl-C ended it, after it gave what there was.
    Interrupted,
}

impl From<forebay::Error> for Failure {
    fn from(error: forebay::Error) -> Self {
        match error {
            forebay::Error::Option { .. }
            | forebay::Error::Device(forebay_device::Error::Option { .. })
            | forebay::Error::TokenId { .. }
            | forebay::Error::EmptyPrompt => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<forebay_device::Error> for Failure {
    fn from(error: forebay_device::Error) -> Self {
        forebay::Error::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("cannot write the result: {error}")),
        }
    }
}
