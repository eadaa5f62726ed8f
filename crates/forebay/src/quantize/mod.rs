//! Makes a smaller model file: every matrix in the type that a recipe gives it, everything else as it was.
//!
//! The file is read and written piece by piece, so that a model of any size takes the memory of a few rows. It never
//! runs a model. Next rooms: `recipe` for the types, `importance` for which columns count most and `sums` for finding
//! that out, `shapes` for files of random weights in
//! the shape of known models, `mlx` for folders as MLX has them and `mixed` for their recipes of two types.

mod importance;
mod job;
mod mixed;
mod mlx;
mod recipe;
mod shapes;
mod sums;

use std::{
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use forebay_tensor::DType;

pub use self::{
    importance::Importance,
    mixed::Mixed,
    mlx::{MlxOptions, mlx},
    recipe::{Facts, Recipe},
    shapes::Shape,
    sums::Sums,
};
use crate::{
    error::{Error, Result},
    formats::{
        gguf::{GgufWriter, Planned, Value},
        origin::{Origin, Part},
        weights::Warning,
    },
};
use job::Job;

/// How a model is made smaller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which type each matrix gets.
    pub recipe: Recipe,
    /// Which columns count most; none if all count the same.
    pub importance: Option<Importance>,
    /// Takes matrices that were quantised before, which makes them worse than a file from the original would be.
    pub again: bool,
    /// Gives every matrix the type of most.
    pub pure: bool,
    /// Threads that encode.
    pub threads: usize,
}

impl Options {
    /// A recipe, on one thread.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, importance: None, again: false, pure: false, threads: 1 }
    }

    /// With so many threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The tensor that is being written.
    pub tensor: &'a str,
    /// The type that it had, and the one it gets.
    pub types: (DType, DType),
    /// Bytes read so far, and of all.
    pub read: (u64, u64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes of tensors before, and after.
    pub bytes: (u64, u64),
    /// Tensors that got another type.
    pub changed: usize,
    /// Time it took.
    pub time: Duration,
    /// What a user should know of the model.
    pub warnings: Vec<Warning>,
}

/// Makes a GGUF file of a model: of a GGUF file that holds floats, or of a folder as Hugging Face or MLX have it. Whoever is told
/// how far it has come may break off; then nothing is left behind, and nothing is reported.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use forebay::quantize::{self, Options};
///
/// let options = Options::new("q4_k_m".parse()?).threads(8);
/// let watch = |_: quantize::Progress<'_>| ControlFlow::Continue(());
/// if let Some(report) = quantize::gguf("models/mine", "mine-q4_k_m.gguf", &options, watch)? {
///     println!("{} bytes instead of {}", report.bytes.1, report.bytes.0);
/// }
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// Those of reading and writing files; [`Error::Option`] for a file that is quantised already, for one that would
/// overwrite itself, and for a type that cannot do without importance; [`Error::Conversion`] for what no such file can say.
pub fn gguf(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &Options,
    mut progress: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Option<Report>> {
    let begun = Instant::now();
    let output = output.as_ref();
    let origin = Origin::open(input.as_ref())?;
    refuse_own_place(&origin, output)?;
    let plan = plan(&origin, options)?;
    let (file_type, version) = (Value::U32(options.recipe.number()), Value::U32(2));
    let kept = origin.metadata.iter().filter(|(key, _)| !REPLACED.contains(key));
    let entries = kept.chain([(REPLACED[0], &file_type), (REPLACED[1], &version)]);
    let tensors: Vec<Planned> = plan.iter().map(|(_, planned)| planned.clone()).collect();
    let mut writer = GgufWriter::create(output, entries, &tensors)?;

    let all = origin.bytes();
    let mut report =
        Report { bytes: (0, 0), changed: 0, time: Duration::ZERO, warnings: origin.warnings.clone() };
    for (part, planned) in &plan {
        let types = (part.dtype()?, planned.dtype);
        let importance = options
            .importance
            .as_ref()
            .and_then(|all| all.of(&part.name, part.shape.last().copied().unwrap_or(0)));
        let job = Job { origin: &origin, part, to: planned.dtype, importance, threads: options.threads };
        let before = report.bytes.0;
        let told = job.write(&mut |bytes| writer.bytes(bytes), &mut |done| {
            progress(Progress { tensor: &part.name, types, read: (before + done, all) })
        })?;
        if told.is_break() {
            return Ok(None);
        }
        report.bytes.0 += part.bytes();
        report.bytes.1 += planned.dtype.row_bytes(part.shape.iter().product())? as u64;
        report.changed += usize::from(types.0 != types.1);
    }
    writer.finish()?;
    Ok(Some(Report { time: begun.elapsed(), ..report }))
}

/// Keys that a file gets anew, and those that are no longer so: how tensors were aligned, and that it is a part of several.
const REPLACED: [&str; 6] = [
    "general.file_type",
    "general.quantization_version",
    "general.alignment",
    "split.no",
    "split.count",
    "split.tensors.count",
];

/// Writing over what is being read would lose it.
fn refuse_own_place(origin: &Origin, output: &Path) -> Result<()> {
    let Ok(output) = output.canonicalize() else { return Ok(()) };
    let own = origin.files.iter().any(|file| file.canonicalize().is_ok_and(|path| path == output));
    match own {
        true => Err(Error::Option { name: "output", wanted: "another file than the input".to_owned() }),
        false => Ok(()),
    }
}

/// What a recipe has to know.
fn facts(origin: &Origin, importance: bool) -> Result<Facts> {
    let metadata = &origin.metadata;
    let family = metadata.get::<&str>("general.architecture")?;
    // Some families have a number for each layer; the first stands for all.
    let number = |key: &str| match metadata.value(&format!("{family}.{key}")) {
        Some(Value::Array(_)) => metadata
            .find::<Vec<u32>>(&format!("{family}.{key}"))
            .map(|list| list.unwrap_or_default().first().copied().unwrap_or(0) as usize),
        _ => Ok(metadata.find::<u32>(&format!("{family}.{key}"))?.unwrap_or(0) as usize),
    };
    let (heads, keys) = (number("attention.head_count")?, number("attention.head_count_kv")?);
    Ok(Facts {
        layers: number("block_count")?,
        heads_for_one: heads / keys.max(1),
        experts: number("expert_count")?,
        tied: !origin.parts.iter().any(|part| part.name == "output.weight"),
        importance,
    })
}

/// Every tensor, and what becomes of it.
fn plan<'a>(origin: &'a Origin, options: &Options) -> Result<Vec<(&'a Part, Planned)>> {
    let facts = facts(origin, options.importance.is_some())?;
    let mut plan = Vec::new();
    for part in &origin.parts {
        let (name, shape, found) = (&part.name, &part.shape, part.dtype()?);
        let small = if origin.folder.is_some() { DType::F32 } else { found };
        let chosen = options.recipe.choose(name, shape, &facts, options.pure);
        let dtype = match chosen {
            // Models that were trained in these blocks lose by any other type.
            Some(_) if found == DType::MXFP4 && !options.again => found,
            Some(dtype) => dtype,
            None => small,
        };
        if dtype != found && !found.is_plain() && !options.again {
            return Err(Error::Option {
                name: "input",
                wanted: format!(
                    "a file of floats; {name} is {found} already (quantising it again makes it worse)"
                ),
            });
        }
        if needs_importance(dtype) && options.importance.is_none() {
            return Err(Error::Option {
                name: "imatrix",
                wanted: format!(
                    "given for {}: {name} would be {dtype}, which is no good without",
                    options.recipe
                ),
            });
        }
        plan.push((part, Planned { name: name.clone(), dtype, shape: shape.clone() }));
    }
    Ok(plan)
}

/// Whether a type is so coarse that a file is useless unless the columns that count are known.
fn needs_importance(dtype: DType) -> bool {
    matches!(dtype, DType::IQ1_S | DType::IQ1_M | DType::IQ2_XXS | DType::IQ2_XS)
}

#[cfg(test)]
mod tests;
