//! Makes a smaller model file: every matrix in the type that a recipe gives it, everything else as it was.
//!
//! The file is read and written piece by piece, so that a model of any size takes the memory of a few rows. It never
//! runs a model. Next rooms: `recipe` for the types, `importance` for which columns count most and `sums` for
//! finding that out, `shapes` for
//! files of random weights in the shape of known models.

mod importance;
mod recipe;
mod shapes;
mod sums;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use forebay_device::MappedFile;
use forebay_tensor::{DType, quant};

pub use self::{
    importance::Importance,
    recipe::{Facts, Recipe},
    shapes::Shape,
    sums::Sums,
};
use crate::{
    error::{Error, Result},
    formats::gguf::{self, Gguf, GgufWriter, Metadata, Planned, Split, Tensor, Value},
};

/// Elements that a thread works on at a time.
const PIECE: usize = 1 << 20;

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
    /// The tensor that comes next.
    pub tensor: &'a str,
    /// The type that it had, and the one it gets.
    pub types: (DType, DType),
    /// Bytes read so far, and of all.
    pub read: (u64, u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes of tensors before, and after.
    pub bytes: (u64, u64),
    /// Tensors that got another type.
    pub changed: usize,
    /// Time it took.
    pub time: Duration,
}

/// Makes a smaller GGUF file of one that holds floats.
///
/// ```no_run
/// use forebay::quantize::{self, Options};
///
/// let options = Options::new("q4_k_m".parse()?).threads(8);
/// let report = quantize::gguf("model-bf16.gguf", "model-q4_k_m.gguf", &options, |_| ())?;
/// println!("{} bytes instead of {}", report.bytes.1, report.bytes.0);
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// Those of reading and writing files; [`Error::Option`] for a file that is quantised already, for one that would
/// overwrite itself, and for a type that cannot do without importance.
pub fn gguf(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &Options,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Report> {
    let begun = Instant::now();
    let output = output.as_ref();
    let source = Source::open(input.as_ref())?;
    source.refuse_own_place(output)?;
    let plan = source.plan(options)?;
    let metadata = source.metadata();
    let (file_type, version) = (Value::U32(options.recipe.number()), Value::U32(2));
    let kept = metadata.iter().filter(|(key, _)| !REPLACED.contains(key));
    let entries = kept.chain([(REPLACED[0], &file_type), (REPLACED[1], &version)]);
    let tensors: Vec<Planned> = plan.iter().map(|(_, planned)| planned.clone()).collect();
    let mut writer = GgufWriter::create(output, entries, &tensors)?;

    let all = plan.iter().map(|((_, tensor), _)| len(tensor)).sum();
    let mut report = Report { bytes: (0, 0), changed: 0, time: Duration::ZERO };
    for ((part, tensor), planned) in &plan {
        let types = (tensor.dtype()?, planned.dtype);
        progress(Progress { tensor: tensor.name(), types, read: (report.bytes.0, all) });
        let step = Step { tensor, planned, options };
        step.write(&source.maps[*part], &mut writer)?;
        report.bytes.0 += len(tensor);
        report.bytes.1 += planned.dtype.row_bytes(tensor.elements() as usize)? as u64;
        report.changed += usize::from(types.0 != types.1);
    }
    writer.finish()?;
    Ok(Report { time: begun.elapsed(), ..report })
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

fn len(tensor: &Tensor) -> u64 {
    tensor.range().end - tensor.range().start
}

/// The files of a model.
struct Source {
    files: Split,
    maps: Vec<MappedFile>,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let open = |path: &Path| -> Result<(Gguf, MappedFile)> {
            let map = MappedFile::open(path)?;
            Ok((Gguf::parse(path, map.bytes())?, map))
        };
        let first = open(path)?;
        let paths = gguf::part_paths(&first.0)?;
        let parts = match paths.len() {
            0 | 1 => vec![first],
            _ => paths.iter().map(|path| open(path)).collect::<Result<_>>()?,
        };
        let (ggufs, maps): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        Ok(Self { files: Split::join(ggufs)?, maps })
    }

    fn metadata(&self) -> &Metadata {
        self.files.parts()[0].metadata()
    }

    /// Writing over what is being read would lose it.
    fn refuse_own_place(&self, output: &Path) -> Result<()> {
        let Ok(output) = output.canonicalize() else { return Ok(()) };
        let own =
            self.files.parts().iter().any(|part| part.file().canonicalize().is_ok_and(|path| path == output));
        match own {
            true => Err(Error::Option { name: "output", wanted: "another file than the input".to_owned() }),
            false => Ok(()),
        }
    }

    fn facts(&self, importance: bool) -> Result<Facts> {
        let metadata = self.metadata();
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
            tied: self.files.find("output.weight").is_none(),
            importance,
        })
    }

    /// Every tensor, and what becomes of it.
    fn plan(&self, options: &Options) -> Result<Vec<((usize, &Tensor), Planned)>> {
        let facts = self.facts(options.importance.is_some())?;
        let mut plan = Vec::new();
        for (part, tensor) in self.files.tensors() {
            let shape: Vec<usize> = tensor.shape().iter().map(|&size| size as usize).collect();
            let (name, found) = (tensor.name(), tensor.dtype()?);
            let dtype = options.recipe.choose(name, &shape, &facts, options.pure).unwrap_or(found);
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
            plan.push(((part, tensor), Planned { name: name.to_owned(), dtype, shape }));
        }
        Ok(plan)
    }
}

/// Whether a type is so coarse that a file is useless unless the columns that count are known.
fn needs_importance(dtype: DType) -> bool {
    matches!(dtype, DType::IQ1_S | DType::IQ1_M | DType::IQ2_XXS | DType::IQ2_XS)
}

/// One tensor on its way.
struct Step<'a> {
    tensor: &'a Tensor,
    planned: &'a Planned,
    options: &'a Options,
}

impl Step<'_> {
    fn write(&self, map: &MappedFile, writer: &mut GgufWriter) -> Result<()> {
        let range = self.tensor.range();
        let (start, end) = (range.start as usize, range.end as usize);
        let bytes = &map.bytes()[start..end];
        let (from, to) = (self.tensor.dtype()?, self.planned.dtype);
        if from == to {
            for (number, piece) in bytes.chunks(PIECE).enumerate() {
                writer.bytes(piece)?;
                map.forget(start..start + number * PIECE);
            }
            return Ok(());
        }
        let width = self.planned.shape.last().copied().unwrap_or(1);
        let rows = self.tensor.elements() as usize / width;
        let importance = self.options.importance.as_ref().and_then(|all| all.of(&self.planned.name, width));
        let (row_in, row_out) = (from.row_bytes(width)?, to.row_bytes(width)?);
        let piece = (PIECE / width).max(1);
        let matrix =
            self.planned.shape[..self.planned.shape.len() - 1].iter().rev().take(1).product::<usize>();
        let mut done = 0;
        while done < rows {
            let count = (piece * self.options.threads).min(rows - done);
            let mut out = vec![0; count * row_out];
            thread::scope(|scope| -> Result<()> {
                let work = out.chunks_mut(piece * row_out).enumerate().map(|(number, out)| {
                    let first = done + number * piece;
                    let bytes = &bytes[first * row_in..(first + out.len() / row_out) * row_in];
                    scope.spawn(move || -> Result<()> {
                        let mut floats = vec![0.0; width];
                        for (number, (row, out)) in
                            bytes.chunks(row_in).zip(out.chunks_mut(row_out)).enumerate()
                        {
                            quant::decode(from, row, &mut floats)?;
                            let columns =
                                importance.map(|all| all.of((first + number) / matrix.max(1), width));
                            quant::encode(to, &floats, columns, out).map_err(|source| self.spoilt(source))?;
                        }
                        Ok(())
                    })
                });
                let work: Vec<_> = work.collect();
                work.into_iter()
                    .try_for_each(|work| work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })?;
            writer.bytes(&out)?;
            done += count;
            map.forget(start..start + done * row_in);
        }
        Ok(())
    }

    /// Says which tensor an encoder could not take.
    fn spoilt(&self, source: forebay_tensor::Error) -> Error {
        let file = self.tensor.file().clone();
        Error::Unsupported { file, what: format!("{}: {source}", self.planned.name) }
    }
}

#[cfg(test)]
mod tests;
