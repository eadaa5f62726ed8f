//! `forebay inspect`: what is in a model file, what runs it, and whether it fits.
//!
//! Next rooms: `show` for how it is printed, `tensor` for a single one.

mod show;
mod tensor;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use clap::Args;
use forebay::{
    Fit as Layers, Needs, Outline,
    formats::{
        folder::{Folder, Model as Found},
        gguf::{self, Gguf, Metadata, Split},
        safetensors::{Index, Safetensors},
        weights::{Access, Precision, Weights},
    },
    generate::tokenizer::Tokenizer,
    models::{Sizes, cache::Keeps},
};
use forebay_device::{Device, DeviceOptions, MappedFile};
use forebay_tensor::{DType, Ops};

use crate::{cli::Failure, devices, model::HowArgs, resident};

/// What `inspect` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Whether it fits is told for the context of --ctx and the cache of --kv.

Examples:
  forebay inspect model.gguf --ctx 32768 --kv q8_0
  forebay inspect model.gguf --tensors
  forebay inspect model.gguf --tensor blk.0.attn_q.weight --dequantize --out q.safetensors")]
pub(crate) struct InspectArgs {
    /// The model: a GGUF file, the first of several, or a folder
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

/// A tensor of a file.
struct Listed {
    name: String,
    kind: String,
    /// Its type, if it is one of those that can be decoded.
    dtype: Option<DType>,
    shape: Vec<u64>,
    elements: u64,
    file: usize,
    range: Range<u64>,
}

/// A model that is looked into.
struct Model {
    path: PathBuf,
    /// What kind of files it is.
    format: String,
    metadata: Metadata,
    files: Vec<MappedFile>,
    tensors: Vec<Listed>,
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
    /// What the program has in memory besides, with its tokenizer; 0 where the system does not tell.
    program: u64,
    devices: Vec<Room>,
}

/// What there is room for on a device.
struct Room {
    name: String,
    memory: u64,
    /// The layers that fit, where not all do and the others could be elsewhere.
    layers: Option<Layers>,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    if let Some(name) = &args.tensor {
        return tensor::run(&Model::open(&args.model)?, name, args);
    }
    // Before anything else is looked at, so that the memory of the program is that of one that runs the model.
    let fit = fit(args);
    let model = Model::open(&args.model)?;
    let fit = fit.map(|fit| Fit { weights: model.bytes(), ..fit });
    let mut out = io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", show::json(&model, &fit, args.tensors))?);
    }
    show::text(&mut out, &model, &fit, args.tensors)
}

impl Model {
    fn open(path: &Path) -> Result<Self, Failure> {
        match Found::find(path)? {
            Found::Gguf(path) => Self::gguf(&path),
            Found::Folder(folder) => Self::folder(path, &folder),
        }
    }

    fn gguf(path: &Path) -> Result<Self, Failure> {
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
        let (files, ggufs): (Vec<_>, _) = parts.into_iter().unzip();
        let split = Split::join(ggufs)?;
        let listed = |(file, tensor): (usize, &gguf::Tensor)| {
            let kind = match tensor.dtype() {
                Ok(dtype) => dtype.name().to_owned(),
                Err(_) => format!("unknown type {}", tensor.kind()),
            };
            let (name, dtype, shape) =
                (tensor.name().to_owned(), tensor.dtype().ok(), tensor.shape().to_vec());
            Listed { name, kind, dtype, shape, elements: tensor.elements(), file, range: tensor.range() }
        };
        let first = &split.parts()[0];
        Ok(Self {
            path: path.to_owned(),
            format: format!("GGUF version {}", first.version()),
            metadata: first.metadata().clone(),
            tensors: split.tensors().map(listed).collect(),
            files,
        })
    }

    /// A folder, by the names that its files use; its metadata is what a GGUF file of the same model would say.
    fn folder(path: &Path, folder: &Folder) -> Result<Self, Failure> {
        let device = Device::open(&DeviceOptions::cpu())?;
        let weights = Weights::open(path, &device, Access::Mapped, Precision::Strict)?;
        let mut names: Vec<PathBuf> = match folder.find("model.safetensors.index.json")? {
            Some(json) => {
                let file = folder.path("model.safetensors.index.json");
                Index::parse(file, &json)?.files().map(Path::to_owned).collect()
            }
            None => vec![folder.path("model.safetensors")],
        };
        names.sort();
        let (mut files, mut tensors) = (Vec::new(), Vec::new());
        for path in names {
            let mapped = MappedFile::open(&path).map_err(forebay::Error::from)?;
            for tensor in Safetensors::parse(&path, mapped.bytes())?.tensors() {
                tensors.push(Listed {
                    name: tensor.name().to_owned(),
                    kind: tensor.kind().to_lowercase(),
                    dtype: tensor.dtype().ok(),
                    shape: tensor.shape().to_vec(),
                    elements: tensor.elements(),
                    file: files.len(),
                    range: tensor.range(),
                });
            }
            files.push(mapped);
        }
        let (path, metadata) = (path.to_owned(), weights.metadata().clone());
        Ok(Self { path, format: "safetensors".to_owned(), metadata, files, tensors })
    }

    fn bytes(&self) -> u64 {
        self.tensors.iter().map(Listed::bytes).sum()
    }

    fn elements(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.elements).sum()
    }

    /// Tensors by type, the largest share first.
    fn kinds(&self) -> Vec<(&str, Kind)> {
        let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
        for tensor in &self.tensors {
            let kind = kinds.entry(&tensor.kind).or_default();
            kind.tensors += 1;
            kind.elements += tensor.elements;
            kind.bytes += tensor.bytes();
        }
        let mut kinds: Vec<(&str, Kind)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.bytes));
        kinds
    }
}

impl Listed {
    /// Bytes in the file.
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// What the model takes to run, or why that cannot be told.
fn fit(args: &InspectArgs) -> Result<Fit, String> {
    let told = |error: forebay::Error| error.to_string();
    let how = args.how.options();
    let outline = Outline::of(&args.model, &how).map_err(told)?;
    let mut keeps = [0; 3];
    for kept in &outline.keeps {
        match kept {
            Keeps::All => keeps[0] += 1,
            Keeps::Window(_) => keeps[1] += 1,
            Keeps::States(_) => keeps[2] += 1,
        }
    }
    // What a run takes besides: its device with all kernels, and the tokenizer.
    let device = Device::open(&how.device).map_err(|error| error.to_string())?;
    let ops = Ops::open(&device).map_err(|error| error.to_string())?;
    let tokenizer = Tokenizer::open(&args.model).map_err(told)?;
    let program = resident::now().unwrap_or(0);
    drop((tokenizer, ops, device));
    let mut devices = devices::all();
    if let Some(name) = args.how.limited() {
        devices.push((name, Device::open(&args.how.device()).map_err(|error| error.to_string())?));
    }
    let room = |(name, device): (String, Device)| -> Result<Room, String> {
        let limit = if Some(&name) == args.how.limited().as_ref() {
            args.how.device().memory_limit
        } else {
            u64::MAX
        };
        let mut layers = None;
        if !device.caps().unified || limit < u64::MAX {
            let fit = Layers::of(&args.model, &device, &args.how.options()).map_err(told)?;
            layers = (fit.layers < fit.of).then_some(fit);
        }
        Ok(Room { name, memory: device.caps().memory.min(limit), layers })
    };
    let devices = devices.into_iter().map(room).collect::<Result<_, _>>()?;
    let Outline { sizes, context, needs, .. } = outline;
    Ok(Fit { sizes, keeps, context, weights: 0, needs, program, devices })
}

impl Fit {
    fn fits(&self, room: &Room) -> bool {
        room.layers.is_none() && self.all() <= room.memory
    }

    fn all(&self) -> u64 {
        self.weights + self.needs.cache + self.needs.activations + self.program
    }
}
