//! What can be written on the command line, and what commands share: opening a model, lists of tokens, failures.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay::{
    Engine, EngineOptions,
    formats::weights::{Access, Precision},
};
use forebay_device::{Device, DeviceOptions};
use forebay_tensor::DType;

use crate::memory::{self, record::Keeping, size::Size};

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
    /// Make a smaller file of a model
    Quantize(crate::quantize::QuantizeArgs),
    /// See, replay and explain where memory goes
    Memory(memory::MemoryArgs),
}

/// What all commands take that run a model.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: a GGUF file, or the first of several
    model: PathBuf,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    keeping: Keeping,
}

/// How a model is run.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
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
    /// What products with quantised weights are computed in
    #[arg(long, value_enum, default_value_t = PrecisionName::Fast)]
    precision: PrecisionName,
    /// Read the file instead of mapping it
    #[arg(long)]
    no_mmap: bool,
    /// The most memory that the device may take, such as 512MiB; past it, requests fail
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Size>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeviceName {
    Cpu,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KvType {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8,
    #[value(name = "q4_0")]
    Q4,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionName {
    /// Integers: activations are rounded to 8 bits
    Fast,
    /// Floats of 32 bits
    Strict,
}

impl ModelArgs {
    /// Opens the model, lets `work` have it, and ends the trace of its memory, if one was asked for.
    pub(crate) fn with(&self, work: impl FnOnce(&Engine) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut options = self.how.device();
        options.trace = self.keeping.options();
        let device = Device::open(&options)?;
        let opened = self.how.open(&device, &self.model).map_err(Failure::from);
        let done = opened.and_then(|engine| work(&engine));
        self.keeping.end(&device, done)
    }
}

impl HowArgs {
    /// The device that was asked for.
    pub(crate) fn device(&self) -> DeviceOptions {
        let mut device = match self.device {
            DeviceName::Cpu => DeviceOptions::cpu(),
        };
        device.threads = self.threads;
        device.memory_limit = self.memory_limit.map_or(u64::MAX, |size| size.0);
        device
    }

    /// Opens a model on a device.
    pub(crate) fn open(&self, device: &Device, model: &Path) -> forebay::Result<Engine> {
        let kv = match self.kv {
            KvType::F32 => DType::F32,
            KvType::F16 => DType::F16,
            KvType::Bf16 => DType::BF16,
            KvType::Q8 => DType::Q8_0,
            KvType::Q4 => DType::Q4_0,
        };
        let access = if self.no_mmap { Access::Read } else { Access::Mapped };
        let precision = match self.precision {
            PrecisionName::Fast => Precision::Fast,
            PrecisionName::Strict => Precision::Strict,
        };
        let mut options = EngineOptions::default().kv(kv).access(access).precision(precision);
        options.context = self.ctx;
        Engine::open_on(device, model, &options)
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
