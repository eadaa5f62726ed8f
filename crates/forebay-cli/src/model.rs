//! What all commands take that run a model, and opening it.
//!
//! One positional argument may be a model or a prompt; which of both is decided here, for all commands alike.
//! Next room: `demo`, the model that is run when none is named.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Mutex,
};

use clap::{Args, ValueEnum};
use forebay::{
    Engine, EngineOptions,
    formats::weights::{Access, Precision, Progress},
    generate::step::Sequence,
};
use forebay_device::{BackendKind, Device, DeviceOptions};
use forebay_tensor::{DType, Note};

use crate::{cli::Failure, demo::Demo, memory::record::Keeping, progress, size::Size};

/// A model that has to be named, and how it is run.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: a GGUF file, the first of several, or a folder
    model: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
}

impl ModelArgs {
    /// Opens the model, lets `work` have it, and ends the trace of its memory, if one was asked for.
    pub(crate) fn with(&self, work: impl FnOnce(&Engine) -> Result<(), Failure>) -> Result<(), Failure> {
        self.open.with(&Model::File(self.model.clone()), work)
    }
}

/// How a model is run, and what is written down about it.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    keeping: Keeping,
}

impl OpenArgs {
    /// As [`ModelArgs::with`].
    pub(crate) fn with(
        &self,
        model: &Model,
        work: impl FnOnce(&Engine) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut options = self.how.device();
        options.trace = self.keeping.options();
        let device = Device::open(&options)?;
        let opened = match model {
            Model::File(path) => self.how.open(&device, path).map_err(Failure::from),
            Model::Demo(demo) => demo.open(&device, &self.how.options()),
        };
        let done = opened.and_then(|engine| work(&engine));
        self.keeping.end(&device, done)
    }
}

/// How a model is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(crate) struct HowArgs {
    /// Where to run it: cpu, cuda, cuda:N for card N, or metal
    #[arg(long, default_value_t, value_name = "DEVICE")]
    device: DeviceName,
    /// How many of the last layers are there, with the output behind them; the others are on the CPU. All if not given
    #[arg(long, value_name = "LAYERS")]
    gpu_layers: Option<usize>,
    /// Threads of the CPU; one for each core if not given
    #[arg(short, long)]
    threads: Option<usize>,
    /// Positions of the context; what the model was made for if not given, 4096 at most
    #[arg(long, value_name = "TOKENS")]
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
    /// Say on standard error which kernel serves each op
    #[arg(long)]
    explain: bool,
}

impl HowArgs {
    /// The device that was asked for.
    pub(crate) fn device(&self) -> DeviceOptions {
        let mut device = DeviceOptions::new(self.device.kind).ordinal(self.device.ordinal);
        device.threads = self.threads;
        device.memory_limit = self.memory_limit.map_or(u64::MAX, |size| size.0);
        device
    }

    /// How to open a model.
    pub(crate) fn options(&self) -> EngineOptions {
        let access = if self.no_mmap { Access::Read } else { Access::Mapped };
        let precision = match self.precision {
            PrecisionName::Fast => Precision::Fast,
            PrecisionName::Strict => Precision::Strict,
        };
        let mut options = EngineOptions::default().kv(self.kv()).access(access).precision(precision);
        (options.context, options.gpu_layers) = (self.ctx, self.gpu_layers);
        options.device.threads = self.threads;
        options
    }

    /// The device by its name, if it is told how much memory to take.
    pub(crate) fn limited(&self) -> Option<String> {
        self.memory_limit.map(|size| format!("{} within {size}", self.device))
    }

    /// Opens a model on a device, with progress for whoever looks, and says what a user should know of it.
    pub(crate) fn open(&self, device: &Device, model: &Path) -> forebay::Result<Engine> {
        let progress = Mutex::new(progress::Progress::of("loading"));
        let told = Progress::new(move |done, all| {
            if let Ok(mut progress) = progress.lock() {
                progress.tell(|| format!("{} of {}", Size(done), Size(all)));
            }
        });
        let engine = Engine::open_on(device, model, &self.options().progress(told))?;
        if self.gpu_layers.is_some() && self.device.kind == BackendKind::Cpu {
            eprintln!(
                "forebay: --gpu-layers without a card: all layers are on the CPU; --device cuda names one"
            );
        }
        for warning in engine.warnings() {
            eprintln!("forebay: {warning}");
        }
        if self.explain {
            explain(&mut engine.sequence()?)?;
        }
        Ok(engine)
    }

    /// Whether kernels are to be explained.
    pub(crate) fn explains(&self) -> bool {
        self.explain
    }

    /// The context that was asked for.
    pub(crate) fn context(&self) -> Option<usize> {
        self.ctx
    }

    /// The type of the cache.
    pub(crate) fn kv(&self) -> DType {
        match self.kv {
            KvType::F32 => DType::F32,
            KvType::F16 => DType::F16,
            KvType::Bf16 => DType::BF16,
            KvType::Q8 => DType::Q8_0,
            KvType::Q4 => DType::Q4_0,
        }
    }
}

/// Tells which kernels serve the ops of a pass, for one token and for many.
fn explain(sequence: &mut Sequence) -> forebay::Result<()> {
    let many = sequence.context().min(64);
    let mut counts: BTreeMap<(&str, String), [usize; 2]> = BTreeMap::new();
    for (column, rows) in [1, many].into_iter().enumerate() {
        for Note { op, kernel, .. } in sequence.explain(rows)? {
            counts.entry((op, kernel)).or_default()[column] += 1;
        }
    }
    eprintln!("{:<14} {:<40} {:>9} {:>10}", "op", "kernel", "one token", "many");
    for ((op, kernel), [one, many]) in counts {
        eprintln!("{op:<14} {kernel:<40} {one:>9} {many:>10}");
    }
    Ok(())
}

/// A device as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceName {
    kind: BackendKind,
    ordinal: usize,
}

impl Default for DeviceName {
    fn default() -> Self {
        Self { kind: BackendKind::Cpu, ordinal: 0 }
    }
}

impl FromStr for DeviceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, ordinal) = text.split_once(':').unwrap_or((text, "0"));
        let kind = match name {
            "cpu" => BackendKind::Cpu,
            "cuda" => BackendKind::Cuda,
            "metal" => BackendKind::Metal,
            _ => return Err("devices are cpu, cuda, cuda:N and metal"),
        };
        let ordinal = ordinal.parse().map_err(|_| "the number of a card is 0 or more, as in cuda:1")?;
        if ordinal > 0 && kind != BackendKind::Cuda {
            return Err("only cards have numbers, as in cuda:1");
        }
        Ok(Self { kind, ordinal })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ordinal {
            0 => f.write_str(self.kind.name()),
            ordinal => write!(f, "{}:{ordinal}", self.kind.name()),
        }
    }
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

/// What is run.
#[derive(Debug, PartialEq)]
pub(crate) enum Model {
    /// A file, or a folder.
    File(PathBuf),
    /// The model of this program itself.
    Demo(Demo),
}

impl Model {
    /// The model that was named, or that of this program.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        path.map_or(Self::Demo(Demo), |path| Self::File(path.to_owned()))
    }

    /// What two positional arguments are, of which both may be missing: a model and a prompt, or one of both.
    ///
    /// One argument is a model if such a file is there or if it looks like one, and a prompt for the demo model if not.
    pub(crate) fn and_prompt(
        first: Option<&str>,
        second: Option<&str>,
    ) -> Result<(Self, Option<String>), Failure> {
        let Some(first) = first else { return Ok((Self::Demo(Demo), None)) };
        if second.is_none() && !Path::new(first).exists() {
            if !looks_like_model(first) {
                return Ok((Self::Demo(Demo), Some(first.to_owned())));
            }
            return Err(Failure::Failed(format!(
                "there is no file {first:?}; a model is a file, or a folder"
            )));
        }
        Ok((Self::File(first.into()), second.map(str::to_owned)))
    }
}

/// Whether a text can hardly be meant as anything but a model: it ends like the name of one, or is a path without spaces.
fn looks_like_model(text: &str) -> bool {
    let endings = [".gguf", ".safetensors", ".json", ".bin"];
    let starts = ["./", "../", "~/", "/"];
    let named = endings.iter().any(|ending| text.to_ascii_lowercase().ends_with(ending));
    let one_word = !text.contains(char::is_whitespace);
    named || (one_word && (starts.iter().any(|start| text.starts_with(start)) || text.contains('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_argument_is_a_model_or_a_prompt() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let of = |first, second| Model::and_prompt(first, second).unwrap();
        assert_eq!(of(None, None), (Model::Demo(Demo), None));
        assert_eq!(of(Some("ROMEO:"), None), (Model::Demo(Demo), Some("ROMEO:".to_owned())));
        assert_eq!(of(Some("either / or"), None), (Model::Demo(Demo), Some("either / or".to_owned())));
        assert_eq!(of(Some("-"), None), (Model::Demo(Demo), Some("-".to_owned())));
        assert_eq!(of(Some(folder), None), (Model::File(folder.into()), None));
        assert_eq!(of(Some("m.gguf"), Some("x")), (Model::File("m.gguf".into()), Some("x".to_owned())));
        for path in ["m.gguf", "My Model.GGUF", "./model", "models/llama", "/none/model", "model.safetensors"]
        {
            assert!(Model::and_prompt(Some(path), None).is_err(), "{path}");
        }
    }

    #[test]
    fn devices_are_named_by_kind_and_number() {
        for (text, kind, ordinal) in [
            ("cpu", BackendKind::Cpu, 0),
            ("cuda", BackendKind::Cuda, 0),
            ("cuda:3", BackendKind::Cuda, 3),
            ("metal", BackendKind::Metal, 0),
        ] {
            let name: DeviceName = text.parse().unwrap();
            assert_eq!((name, name.to_string()), (DeviceName { kind, ordinal }, text.to_owned()));
        }
        for wrong in ["", "gpu", "cpu:1", "metal:1", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
