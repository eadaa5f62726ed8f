//! `forebay inspect`: what is in a model file, what runs it, and whether it fits.
//!
//! Next rooms: `show` for how it is printed, `tensor` for a single one.

mod show;
mod tensor;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use forebay::{
    Engine, Needs,
    formats::{
        gguf::{self, Gguf, Split, Tensor},
        weights::{Access, Precision},
    },
    models::{Sizes, cache::Keeps},
};
use forebay_device::MappedFile;

use crate::{cli::Failure, devices, model::HowArgs};

/// What `inspect` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Whether it fits is told for the context of --ctx and the cache of --kv.

Examples:
  forebay inspect model.gguf --ctx 32768 --kv q8_0
  forebay inspect model.gguf --tensors
  forebay inspect model.gguf --tensor blk.0.attn_q.weight --dequantize --out q.safetensors")]
pub(crate) struct InspectArgs {
    /// The model: a GGUF file, or the first of several
    model: PathBuf,
    /// Tell of every tensor
    #[arg(long)]
    tensors: bool,
    /// Tell of this tensor only
    #[arg(long, value_name = "NAME", conflicts_with = "tensors")]
    tensor: Option<String>,
    /// Turn the tensor into floats of 32 bits
    #[arg(long, requires = "out")]
    dequantize: bool,
    /// The safetensors file that the floats go to
    #[arg(long, value_name = "FILE", requires = "tensor", requires = "dequantize")]
    out: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// A model that is looked into.
struct Model {
    files: Vec<MappedFile>,
    split: Split,
}

/// Tensors of one type.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    tensors: usize,
    elements: u64,
    bytes: u64,
}

/// Whether a model fits, and why.
struct Fit {
    sizes: Sizes,
    /// Layers that keep keys and values of all positions, of a window, and states.
    keeps: [usize; 3],
    context: usize,
    weights: u64,
    needs: Needs,
    /// Devices by name, with their memory.
    devices: Vec<(String, u64)>,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let model = Model::open(&args.model)?;
    if let Some(name) = &args.tensor {
        return tensor::run(&model, name, args);
    }
    let fit = fit(&model, args);
    let mut out = io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", show::json(&model, &fit, args.tensors))?);
    }
    show::text(&mut out, &model, &fit, args.tensors)
}

impl Model {
    fn open(path: &Path) -> Result<Self, Failure> {
        let open = |path: &Path| -> forebay::Result<(MappedFile, Gguf)> {
            let file = MappedFile::open(path)?;
            let gguf = Gguf::parse(path, file.bytes())?;
            Ok((file, gguf))
        };
        let mut parts = vec![open(path)?];
        let paths = gguf::part_paths(&parts[0].1)?;
        if paths.len() > 1 {
            parts = paths.iter().map(|path| open(path)).collect::<forebay::Result<_>>()?;
        }
        let (files, ggufs) = parts.into_iter().unzip();
        Ok(Self { files, split: Split::join(ggufs)? })
    }

    fn first(&self) -> &Gguf {
        &self.split.parts()[0]
    }

    fn bytes(&self) -> u64 {
        self.split.tensors().map(|(_, tensor)| length(tensor)).sum()
    }

    fn elements(&self) -> u64 {
        self.split.tensors().map(|(_, tensor)| tensor.elements()).sum()
    }

    /// Tensors by type, the largest share first.
    fn kinds(&self) -> Vec<(String, Kind)> {
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        for (_, tensor) in self.split.tensors() {
            let kind = kinds.entry(type_name(tensor)).or_default();
            kind.tensors += 1;
            kind.elements += tensor.elements();
            kind.bytes += length(tensor);
        }
        let mut kinds: Vec<(String, Kind)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.bytes));
        kinds
    }
}

/// Bytes of a tensor in the file.
fn length(tensor: &Tensor) -> u64 {
    tensor.range().end - tensor.range().start
}

fn type_name(tensor: &Tensor) -> String {
    tensor.dtype().map_or_else(|_| format!("unknown type {}", tensor.kind()), |dtype| dtype.name().to_owned())
}

/// What the model takes to run, or why that cannot be told.
fn fit(model: &Model, args: &InspectArgs) -> Result<Fit, String> {
    // In floats and mapped, a model is put together without reading its matrices.
    let how = args.how.options().precision(Precision::Strict).access(Access::Mapped);
    let told = |error: forebay::Error| error.to_string();
    let engine = Engine::open_with(&args.model, &how).map_err(told)?;
    let options = engine.sequence_options();
    let (context, sizes) = (options.context, *engine.model().sizes());
    let needs = Needs::of(engine.model(), &options).map_err(told)?;
    let mut keeps = [0; 3];
    for kept in engine.model().keeps() {
        match kept {
            Keeps::All => keeps[0] += 1,
            Keeps::Window(_) => keeps[1] += 1,
            Keeps::States(_) => keeps[2] += 1,
        }
    }
    let devices = devices::all().into_iter().map(|(name, caps)| (name, caps.memory)).collect();
    Ok(Fit { sizes, keeps, context, weights: model.bytes(), needs, devices })
}

impl Fit {
    fn all(&self) -> u64 {
        self.weights + self.needs.cache + self.needs.activations
    }
}
