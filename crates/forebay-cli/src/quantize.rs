//! `forebay quantize`: makes a smaller file of a model, a GGUF file of a folder, or a folder for MLX.

use std::{fmt, ops::ControlFlow, path::PathBuf, str::FromStr};

use clap::Args;
use forebay::quantize::{self, Importance, Mixed, MlxOptions, Options, Recipe};
use forebay_tensor::{Affine, DType};

use crate::{cli::Failure, interrupt, progress::Progress};

/// What `quantize` takes.
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// The model: a GGUF file of floats, the first of several, or a folder as Hugging Face or MLX have it
    input: PathBuf,
    /// The file to write, or for types of MLX the folder; it appears when it is whole
    output: PathBuf,
    /// What matrices become, such as q4_k_m, q8_0 or iq4_xs, or for MLX mlx4, mlx8g32 or mixed_3_6; a wrong name lists all
    #[arg(long = "type", value_name = "TYPE")]
    target: Target,
    /// Which columns count most: a GGUF file of type imatrix
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Take a file that is quantised already, which gives a worse one than the original would
    #[arg(long)]
    requantize: bool,
    /// Give every matrix the type that the recipe has for most
    #[arg(long)]
    pure: bool,
    /// Threads; one for each core if not given
    #[arg(short, long)]
    threads: Option<usize>,
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// A GGUF file.
    Gguf(Recipe),
    /// A folder of MLX, of one type or two.
    Mlx(Types),
}

/// The types of a folder of MLX.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Types {
    One(DType),
    Two(Mixed),
}

impl FromStr for Target {
    type Err = forebay::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.to_ascii_lowercase();
        if let Some(mixed) = Mixed::named(name.trim_start_matches("mlx").trim_start_matches(['-', '_'])) {
            return Ok(Self::Mlx(Types::Two(mixed)));
        }
        let Some(mlx) = name.strip_prefix("mlx") else {
            return text.parse().map(Self::Gguf).map_err(|error| match error {
                forebay::Error::Option { name, wanted } => forebay::Error::Option {
                    name,
                    wanted: format!("{wanted}; or for MLX {}", types_of_mlx()),
                },
                error => error,
            });
        };
        let dtype = match mlx.trim_start_matches(['-', '_']) {
            "mxfp4" => Some(DType::MlxMxfp4),
            "mxfp8" => Some(DType::MlxMxfp8),
            "nvfp4" => Some(DType::MlxNvfp4),
            affine => {
                let (bits, group) = affine.split_once('g').unwrap_or((affine, "64"));
                let affine = bits.parse().ok().zip(group.parse().ok());
                affine.and_then(|(bits, group)| Affine::new(bits, group).ok()).map(DType::Affine)
            }
        };
        let wrong =
            || forebay::Error::Option { name: "type", wanted: format!("for MLX, {}", types_of_mlx()) };
        dtype.map(|dtype| Self::Mlx(Types::One(dtype))).ok_or_else(wrong)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(recipe) => recipe.fmt(f),
            Self::Mlx(Types::One(dtype)) => dtype.fmt(f),
            Self::Mlx(Types::Two(mixed)) => {
                f.pad(Mixed::names().find(|name| Mixed::named(name) == Some(*mixed)).unwrap_or_default())
            }
        }
    }
}

impl Types {
    /// How a folder of them is made.
    pub(crate) fn options(self) -> forebay::Result<MlxOptions> {
        match self {
            Self::One(dtype) => MlxOptions::new(dtype),
            Self::Two(mixed) => Ok(MlxOptions::mixed(mixed)),
        }
    }
}

/// The types and recipes of MLX, in words.
fn types_of_mlx() -> String {
    const TYPES: &str = "mlx and 2, 3, 4, 5, 6 or 8 bits, with g32 or g128 behind it for other groups than of 64, or mlx-mxfp4, \
                         mlx-mxfp8 or mlx-nvfp4";
    let mixed: Vec<&str> = Mixed::names().collect();
    format!("{TYPES}, or {} of two widths", mixed.join(", "))
}

/// Runs the command.
pub(crate) fn run(args: &QuantizeArgs) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores).max(1);
    let cancel = interrupt::cancel()?;
    let mut progress = Progress::of("quantizing");
    let watch = |at: quantize::Progress<'_>| {
        let (done, all) = at.read;
        progress.tell(|| {
            format!("{} %, {}: {} to {}", done * 100 / all.max(1), at.tensor, at.types.0, at.types.1)
        });
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let report = match args.target {
        Target::Gguf(recipe) => {
            let mut options = Options::new(recipe).threads(threads);
            options.importance = args.imatrix.as_deref().map(Importance::open).transpose()?;
            (options.again, options.pure) = (args.requantize, args.pure);
            quantize::gguf(&args.input, &args.output, &options, watch)?
        }
        Target::Mlx(types) => {
            if args.imatrix.is_some() || args.pure {
                let wrong = "types of MLX take neither --imatrix nor --pure; leave it out";
                return Err(Failure::Usage(wrong.to_owned()));
            }
            let mut options = types.options()?;
            (options.again, options.threads) = (args.requantize, threads);
            quantize::mlx(&args.input, &args.output, &options, watch)?
        }
    };
    drop(progress);
    let Some(report) = report else { return Err(Failure::Interrupted) };
    for warning in &report.warnings {
        eprintln!("forebay: {warning}");
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{}: {:.1} MiB of tensors instead of {:.1}, {} changed, in {:.1} s",
        args.output.display(),
        mib(report.bytes.1),
        mib(report.bytes.0),
        report.changed,
        report.time.as_secs_f64()
    );
    Ok(())
}
