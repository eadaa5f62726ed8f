//! Makes a folder as MLX has them: weights packed in groups with a scale for each, everything else as the source has it.
//!
//! Of experts that lie apart it makes one tensor, and norms and convolutions get the form that MLX wants. The folder is written
//! beside its place and moved there when it is whole. Next rooms: `formats::origin` for what is read, `formats::safetensors` for
//! the files.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use forebay_tensor::{
    Affine, DType,
    quant::{
        self,
        mlx::{PlaneBytes, PlanesMut, encode, plane_bytes},
    },
};
use serde_json::{Map, Value as Json, json};

use super::{
    Progress, Report,
    mixed::{Mixed, layer},
};
use crate::{
    error::{Error, Fault, FormatError, Place, Result},
    formats::{
        folder::{Folder, Model},
        origin::{Origin, Part, Refolded},
        safetensors::writer::{Entry, Writer},
        write::dtype_name,
    },
};

/// Elements that a thread works on at a time.
const PIECE: usize = 1 << 20;
/// Bytes of tensors in a file, unless one alone has more.
const SHARD: u64 = 5 << 30;
/// Files of a folder that say how text becomes tokens and how a model generates; they are copied.
const COPIED: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];
/// Modules that choose experts, which few bits would spoil.
const ROUTERS: [&str; 3] = [".mlp.gate", ".mlp.router", ".mlp.shared_expert_gate"];

/// How a folder of MLX is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MlxOptions {
    /// The type of matrices, or of most: one of MLX.
    pub dtype: DType,
    /// A recipe that gives some matrices another type.
    pub mixed: Option<Mixed>,
    /// Takes matrices that were quantised before.
    pub again: bool,
    /// Threads that encode.
    pub threads: usize,
}

impl MlxOptions {
    /// A type, on one thread.
    ///
    /// # Errors
    /// [`Error::Option`] for a type that is none of MLX's.
    pub fn new(dtype: DType) -> Result<Self> {
        match dtype {
            DType::Affine(_) | DType::MlxMxfp4 | DType::MlxMxfp8 | DType::MlxNvfp4 => {
                Ok(Self { dtype, mixed: None, again: false, threads: 1 })
            }
            _ => Err(Error::Option { name: "type", wanted: "a type of MLX, such as mlx4".to_owned() }),
        }
    }

    /// A recipe of two types, on one thread.
    pub fn mixed(mixed: Mixed) -> Self {
        Self { dtype: mixed.most, mixed: Some(mixed), again: false, threads: 1 }
    }

    /// The type of a module's matrix in a model of so many layers.
    fn of(&self, module: &str, layers: usize) -> DType {
        self.mixed.map_or(self.dtype, |mixed| mixed.of(module, layers))
    }
}

/// Makes a folder for MLX of one with floats, as Hugging Face has it, or of a GGUF file. Whoever is told how far it has come may break
/// off; then nothing is left behind, and nothing is reported.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use forebay::quantize::{self, MlxOptions, Progress};
///
/// let options = MlxOptions::new("mlx_4g64".parse()?)?;
/// quantize::mlx("models/mine", "models/mine-4bit", &options, |_: Progress<'_>| ControlFlow::Continue(()))?;
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// Those of reading and writing files; [`Error::Option`] for a model that is quantised already, and where there is something at the
/// place of the output; [`Error::Conversion`] for what no folder can say.
pub fn mlx(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &MlxOptions,
    mut progress: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Option<Report>> {
    let begun = Instant::now();
    let input = Input::open(input.as_ref())?;
    let (origin, plan) = (&input.origin, input.plan(options)?);
    let mut report =
        Report { bytes: (0, 0), changed: 0, time: begun.elapsed(), warnings: origin.warnings.clone() };
    let all = origin.bytes();
    let written = input.write(output.as_ref(), options.dtype, &plan, |plan, first, writer| {
        let before = report.bytes.0;
        let mut told = |done| {
            let types = (plan.found, plan.dtype());
            progress(Progress { tensor: &plan.part.name, types, read: (before + done, all) })
        };
        let went = plan.write(origin, options.threads, first, writer, &mut told)?;
        report.bytes.0 += plan.part.bytes();
        report.changed += usize::from(matches!(plan.becomes, Becomes::Packed { .. }));
        Ok(went)
    })?;
    let Some(bytes) = written else { return Ok(None) };
    (report.bytes.1, report.time) = (bytes, begun.elapsed());
    Ok(Some(report))
}

/// What a folder is made of.
pub(super) struct Input {
    origin: Origin,
    config: Json,
    /// What floats become; none where they stay what they are.
    float: Option<DType>,
    /// Files that are written as they are.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Input {
    fn open(path: &Path) -> Result<Self> {
        let folder = match Model::find(path)? {
            Model::Folder(folder) => folder,
            Model::Gguf(file) => return Ok(Self::of(Refolded::open(&file)?)),
        };
        let config = config(&folder)?;
        // Where a model has parts, its language model lies in one.
        let around = if config["text_config"].is_object() { "language_model." } else { "" };
        let mut files = Vec::new();
        for name in COPIED {
            files.extend(folder.find(name)?.map(|bytes| (name, bytes)));
        }
        Ok(Self { origin: Origin::for_mlx(folder, around)?, config, float: None, files })
    }

    pub(super) fn of(Refolded { origin, float, config, files }: Refolded) -> Self {
        let files = files.into_iter().map(|(name, json)| (name, text(&json).into_bytes())).collect();
        Self { origin, config, float: Some(float), files }
    }

    /// What each tensor becomes.
    pub(super) fn plan(&self, options: &MlxOptions) -> Result<Vec<Plan<'_>>> {
        let parts = &self.origin.parts;
        let layers = parts.iter().filter_map(|part| layer(&part.name)).max().map_or(0, |last| last + 1);
        parts.iter().map(|part| Plan::of(part, self.float, options, layers)).collect()
    }

    /// Writes a folder with most matrices of a type, and says how many bytes its tensors have. `fill` writes the tensors
    /// of a plan, the first of which has this number in the file, and may break off.
    pub(super) fn write(
        &self,
        place: &Path,
        dtype: DType,
        plan: &[Plan<'_>],
        mut fill: impl FnMut(&Plan<'_>, usize, &mut Writer) -> Result<ControlFlow<()>>,
    ) -> Result<Option<u64>> {
        let beside = Beside::new(place)?;
        let shards = shards(plan);
        let (mut index, mut bytes) = (BTreeMap::new(), 0);
        for (number, plans) in shards.iter().enumerate() {
            let name = match shards.len() {
                1 => "model.safetensors".to_owned(),
                count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
            };
            let entries: Vec<Entry> = plans.iter().flat_map(|plan| plan.entries.iter().cloned()).collect();
            index.extend(entries.iter().map(|entry| (entry.name.clone(), name.clone())));
            bytes += entries.iter().map(|entry| entry.bytes).sum::<u64>();
            let mut writer = Writer::create(&beside.path(&name), &entries, &[("format", "mlx")])?;
            let mut first = 0;
            for plan in plans {
                if fill(plan, first, &mut writer)?.is_break() {
                    return Ok(None);
                }
                first += plan.entries.len();
            }
            writer.finish()?;
        }
        let (mut config, quantization) = (self.config.clone(), quantization(dtype, plan));
        (config["quantization"], config["quantization_config"]) = (quantization.clone(), quantization);
        beside.put("config.json", &config)?;
        let total = json!({ "total_size": bytes });
        beside.put("model.safetensors.index.json", &json!({ "metadata": total, "weight_map": index }))?;
        for (name, bytes) in &self.files {
            beside.write(name, bytes)?;
        }
        beside.finish()?;
        Ok(Some(bytes))
    }
}

/// JSON as files have it.
fn text(json: &Json) -> String {
    format!("{json:#}\n")
}

/// `config.json`, less what it says of how the source is packed.
fn config(folder: &Folder) -> Result<Json> {
    let file: Arc<Path> = folder.path("config.json").into();
    let json = serde_json::from_slice::<Map<String, Json>>(&folder.read("config.json")?);
    let mut table = json.map_err(|error| {
        let fault = Fault::Json { detail: error.to_string() };
        FormatError { file, place: Place::Header, offset: 0, fault }
    })?;
    table.retain(|key, _| key != "quantization" && key != "quantization_config");
    Ok(table.into())
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// Planes of a type.
    Packed { dtype: DType, scale_type: DType },
    /// The planes that it is.
    Kept { dtype: DType },
    /// Elements of a plain type.
    Plain { dtype: DType },
}

/// A tensor, and those that it becomes.
pub(super) struct Plan<'a> {
    pub(super) part: &'a Part,
    found: DType,
    becomes: Becomes,
    pub(super) entries: Vec<Entry>,
}

impl<'a> Plan<'a> {
    fn of(part: &'a Part, float: Option<DType>, options: &MlxOptions, layers: usize) -> Result<Self> {
        let found = part.dtype()?;
        let becomes = Becomes::of(part, found, float, options, layers)?;
        let elements: usize = part.shape.iter().product();
        let (outer, width) = part.shape.split_at(part.shape.len().saturating_sub(1));
        let width = width.first().copied().unwrap_or(1);
        let of = |ending: &str, kind, last: usize, bytes: usize| {
            let stem = part.name.strip_suffix(".weight").unwrap_or(&part.name);
            let shape = outer.iter().copied().chain([last]).collect();
            Entry { name: format!("{stem}{ending}"), kind, shape, bytes: bytes as u64 }
        };
        let entries = match becomes {
            Becomes::Plain { dtype } => {
                let (kind, bytes) = (dtype_name(dtype)?, dtype.row_bytes(elements)? as u64);
                vec![Entry { name: part.name.clone(), kind, shape: part.shape.clone(), bytes }]
            }
            Becomes::Packed { dtype, scale_type } => {
                let PlaneBytes { codes, scales, biases } = plane_bytes(dtype, scale_type, elements)?;
                let (words, groups) = (dtype.row_bytes(width)? / 4, width / dtype.block_elements());
                let side = dtype_name(scale_type)?;
                let mut entries =
                    vec![of(".weight", "U32", words, codes), of(".scales", side, groups, scales)];
                if biases > 0 {
                    entries.push(of(".biases", side, groups, biases));
                }
                entries
            }
            Becomes::Kept { dtype } => {
                let PlaneBytes { codes, scales, .. } = plane_bytes(dtype, DType::U8, elements)?;
                let (words, groups) = (dtype.row_bytes(width)? / 4, width / dtype.block_elements());
                vec![of(".weight", "U32", words, codes), of(".scales", "U8", groups, scales)]
            }
        };
        Ok(Self { part, found, becomes, entries })
    }

    /// The type that it gets.
    pub(super) fn dtype(&self) -> DType {
        match self.becomes {
            Becomes::Packed { dtype, .. } | Becomes::Kept { dtype } | Becomes::Plain { dtype } => dtype,
        }
    }

    /// The type of its scales, where it is packed anew.
    pub(super) fn scale_type(&self) -> Option<DType> {
        match self.becomes {
            Becomes::Packed { scale_type, .. } => Some(scale_type),
            _ => None,
        }
    }

    /// Writes all bytes to the tensors of a file from this one on. `told` may break off.
    fn write(
        &self,
        origin: &Origin,
        threads: usize,
        first: usize,
        writer: &mut Writer,
        told: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (part, rows) = (self.part, self.part.rows());
        let piece = (PIECE / part.width().max(1)).max(1);
        let mut done = 0;
        while done < rows {
            if told(part.bytes() / rows as u64 * done as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let next = (done + piece * threads).min(rows);
            match self.becomes {
                Becomes::Plain { dtype } if part.is_as_written() && dtype == self.found => {
                    writer.bytes(first, &part.raw(origin, done..next)?)?;
                }
                Becomes::Plain { dtype } => {
                    let mut floats = vec![0.0; (next - done) * part.width()];
                    part.floats(origin, done..next, &mut floats)?;
                    let mut out = vec![0; dtype.row_bytes(floats.len())?];
                    quant::encode(dtype, &floats, None, &mut out)?;
                    writer.bytes(first, &out)?;
                }
                Becomes::Kept { .. } => {
                    let [codes, scales] = part.planes(origin, done..next)?;
                    writer.bytes(first, &codes)?;
                    writer.bytes(first + 1, &scales)?;
                }
                Becomes::Packed { dtype, scale_type } => {
                    let packing = Packing { origin, part, dtype, scale_type };
                    for (plane, bytes) in packing.planes(done, next, piece)?.iter().enumerate() {
                        if !bytes.is_empty() {
                            writer.bytes(first + plane, bytes)?;
                        }
                    }
                }
            }
            done = next;
            part.forget(origin, done);
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Becomes {
    fn of(
        part: &Part,
        found: DType,
        float: Option<DType>,
        options: &MlxOptions,
        layers: usize,
    ) -> Result<Self> {
        let module = part.name.strip_suffix(".weight").filter(|module| {
            let small = module.ends_with("norm") || module.ends_with("conv1d");
            part.shape.len() >= 2 && !small
        });
        let scale_type = match float {
            // Rates of decay are exponents, which lose by rounding.
            Some(_) if part.name.ends_with(".A_log") => DType::F32,
            Some(float) => float,
            None if found.is_plain() => found,
            None => DType::BF16,
        };
        if !found.is_plain() {
            if found == DType::MXFP4 && !options.again {
                return Ok(Self::Kept { dtype: DType::MlxMxfp4 });
            }
            if !options.again {
                let name = &part.name;
                let wanted = format!(
                    "a model of floats; {name} is {found} already (quantising it again makes it worse)"
                );
                return Err(Error::Option { name: "input", wanted });
            }
        }
        let Some(module) = module else { return Ok(Self::Plain { dtype: scale_type }) };
        let dtype = match ROUTERS.iter().any(|router| module.ends_with(router)) {
            true => DType::Affine(Affine::new(8, 64)?),
            false => options.of(module, layers),
        };
        let width = part.shape.last().copied().unwrap_or(0);
        if !width.is_multiple_of(dtype.block_elements()) {
            return Ok(Self::Plain { dtype: scale_type });
        }
        let scale_type = if matches!(dtype, DType::Affine(_)) { scale_type } else { DType::U8 };
        Ok(Self::Packed { dtype, scale_type })
    }
}

/// Rows on their way into planes.
struct Packing<'a> {
    origin: &'a Origin,
    part: &'a Part,
    dtype: DType,
    scale_type: DType,
}

impl Packing<'_> {
    /// Codes, scales and biases of some rows, packed a piece each by threads.
    fn planes(&self, first: usize, end: usize, piece: usize) -> Result<[Vec<u8>; 3]> {
        let width = self.part.width();
        let of = |rows: usize| plane_bytes(self.dtype, self.scale_type, rows * width);
        let (all, each) = (of(end - first)?, of(piece)?);
        let mut planes = [all.codes, all.scales, all.biases].map(|bytes| vec![0; bytes]);
        let [codes, scales, biases] = &mut planes;
        thread::scope(|scope| -> Result<()> {
            // Chunks of no bytes are none.
            let mut biases = biases.chunks_mut(each.biases.max(1));
            let pieces = codes.chunks_mut(each.codes).zip(scales.chunks_mut(each.scales)).enumerate();
            let work = pieces.map(|(number, (codes, scales))| {
                let biases = biases.next().unwrap_or_default();
                let rows = first + number * piece..(first + (number + 1) * piece).min(end);
                scope.spawn(move || -> Result<()> {
                    let mut floats = vec![0.0; rows.len() * width];
                    self.part.floats(self.origin, rows, &mut floats)?;
                    let planes = PlanesMut { codes, scales, biases, scale_type: self.scale_type };
                    Ok(encode(self.dtype, &floats, planes)?)
                })
            });
            let work: Vec<_> = work.collect();
            work.into_iter()
                .try_for_each(|work| work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(planes)
    }
}

/// What `config.json` says of the types: that of most, and those of modules that have another.
fn quantization(dtype: DType, plan: &[Plan<'_>]) -> Json {
    let settings = |dtype: DType| {
        let group = dtype.block_elements();
        let (bits, mode) = match dtype {
            DType::MlxMxfp4 => (4, "mxfp4"),
            DType::MlxMxfp8 => (8, "mxfp8"),
            DType::MlxNvfp4 => (4, "nvfp4"),
            _ => (dtype.block_bytes() * 8 / group, "affine"),
        };
        json!({ "group_size": group, "bits": bits, "mode": mode })
    };
    let mut table = settings(dtype);
    for Plan { part, becomes, .. } in plan {
        if let Becomes::Packed { dtype: own, .. } | Becomes::Kept { dtype: own } = becomes
            && *own != dtype
        {
            let module = part.name.strip_suffix(".weight").unwrap_or(&part.name);
            table[module] = settings(*own);
        }
    }
    table
}

/// Tensors by file.
fn shards<'p, 'a>(plan: &'p [Plan<'a>]) -> Vec<Vec<&'p Plan<'a>>> {
    let (mut shards, mut filled) = (vec![Vec::new()], 0);
    for plan in plan {
        let bytes: u64 = plan.entries.iter().map(|entry| entry.bytes).sum();
        if filled > 0 && filled + bytes > SHARD {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(plan);
        }
    }
    shards
}

/// A folder that is written beside its place, and gone unless it is finished.
struct Beside {
    place: PathBuf,
    beside: PathBuf,
    finished: bool,
}

impl Beside {
    fn new(place: &Path) -> Result<Self> {
        if place.exists() {
            let wanted = format!("a place where nothing is yet, and {} is there", place.display());
            return Err(Error::Option { name: "output", wanted });
        }
        let mut beside = place.as_os_str().to_owned();
        beside.push(".part");
        let beside = PathBuf::from(beside);
        fs::create_dir(&beside).map_err(|source| failed(&beside, source))?;
        Ok(Self { place: place.to_owned(), beside, finished: false })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.beside.join(name)
    }

    fn put(&self, name: &str, json: &Json) -> Result<()> {
        self.write(name, text(json).as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, bytes).map_err(|source| failed(&path, source))
    }

    fn finish(mut self) -> Result<()> {
        fs::rename(&self.beside, &self.place).map_err(|source| failed(&self.place, source))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.finished {
            // Whoever gave up has their own error to tell.
            let _ = fs::remove_dir_all(&self.beside);
        }
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Io { file: path.into(), action: "write", source: Arc::new(source) }
}
