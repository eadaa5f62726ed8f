//! What can be written on the command line, and what commands share: opening a model, lists of tokens, failures.

use std::{io, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay::{Engine, EngineOptions, formats::weights::Access};
use forebay_device::DeviceOptions;
use forebay_tensor::DType;

/// Runs quantised language models.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a text, the most likely token each time
    Run(crate::run::RunArgs),
    /// Write the logits of every token of a list into a safetensors file
    Logits(crate::logits::LogitsArgs),
    /// Cut text into tokens, and back
    Tokenize(crate::tokenize::TokenizeArgs),
}

/// What all commands take that run a model.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: a GGUF file, or the first of several
    pub(crate) model: PathBuf,
    /// Where to run it
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Threads of the CPU; one for each core if not given
    #[arg(short, long)]
    threads: Option<usize>,
    /// Positions of the context; what the model was made for if not given, 4096 at most
    #[arg(long)]
    ctx: Option<usize>,
    /// Type of the cache of keys and values
    #[arg(long, value_enum, default_value_t = KvType::F16)]
    kv: KvType,
    /// Read the file instead of mapping it
    #[arg(long)]
    no_mmap: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeviceName {
    Cpu,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KvType {
    F32,
    F16,
}

impl ModelArgs {
    /// Opens the model.
    pub(crate) fn open(&self) -> Result<Engine, Failure> {
        let mut device = match self.device {
            DeviceName::Cpu => DeviceOptions::cpu(),
        };
        device.threads = self.threads;
        let kv = match self.kv {
            KvType::F32 => DType::F32,
            KvType::F16 => DType::F16,
        };
        let access = if self.no_mmap { Access::Read } else { Access::Mapped };
        let mut options = EngineOptions::default().device(device).kv(kv).access(access);
        options.context = self.ctx;
        Ok(Engine::open_with(&self.model, &options)?)
    }
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

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("cannot write the result: {error}")),
        }
    }
}
