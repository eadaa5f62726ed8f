//! A model as it is, for whoever writes it anew: metadata and tensors as GGUF files have them, whatever it lies in.
//!
//! What folders lay out otherwise is turned here: the rows that positions turn in pairs, and the heads of delta networks. It
//! decodes rows and never encodes one. Next rooms: `checkpoint` and `tokens` for folders, `refold` for the way back, `quantize` for who writes.

mod refold;

use std::{
    borrow::Cow,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use forebay_tensor::{DType, quant::mlx::Planes};

use super::{
    checkpoint::{Checkpoint, Layout as Lies},
    folder::{Folder, Model},
    gguf::{self, Gguf, Metadata, Split, Value},
    mlx,
    source::Source,
    stored::{Change, Kind, Rows, Stored},
    tokens,
    weights::{Access, Warning},
};
use crate::error::{Error, Result};

pub(crate) use refold::Refolded;

/// A model to be written anew.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) metadata: Metadata,
    pub(crate) parts: Vec<Part>,
    /// The folder, where it is one.
    pub(crate) folder: Option<Folder>,
    pub(crate) warnings: Vec<Warning>,
    /// All files of tensors.
    pub(crate) files: Vec<PathBuf>,
    sources: Vec<Source>,
}

/// A tensor of it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Slowest dimension first.
    pub(crate) shape: Vec<usize>,
    stored: Stored,
    /// Which column each column comes from, where they change places.
    columns: Option<Arc<[usize]>>,
    woven: Option<Woven>,
}

/// Rows of another tensor, perhaps of another type, among those of a part.
#[derive(Clone, Debug)]
struct Woven {
    other: Stored,
    /// Runs of rows in their order: whether they are the other one's, the first, and how many.
    runs: Arc<[(bool, u64, u64)]>,
}

/// Keys of the scheme that tell how a folder lays out what GGUF files lay out in one way.
const OF_FOLDERS: [&str; 3] = ["rope.half_split", "ssm.grouped_heads", "general.rounded_twice"];

impl Origin {
    /// Opens what a path names.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match Model::find(path)? {
            Model::Gguf(path) => Self::of_gguf(&path),
            Model::Folder(folder) => Self::of_folder(folder),
        }
    }

    fn of_gguf(path: &Path) -> Result<Self> {
        let open = |path: &Path| Source::open(path, Access::Mapped, |bytes| Gguf::parse(path, bytes));
        let first = open(path)?;
        let files = gguf::part_paths(&first.0)?;
        let parts = match files.len() {
            0 | 1 => vec![first],
            _ => files.iter().map(|path| open(path)).collect::<Result<_>>()?,
        };
        let (ggufs, sources): (Vec<Gguf>, Vec<Source>) = parts.into_iter().unzip();
        let split = Split::join(ggufs)?;
        let part = |(part, tensor): (usize, &gguf::Tensor)| {
            let shape = tensor.shape().iter().map(|size| *size as usize).collect();
            Part {
                name: tensor.name().to_owned(),
                shape,
                stored: Stored::of_gguf(part, tensor),
                columns: None,
                woven: None,
            }
        };
        let metadata = split.parts()[0].metadata().clone();
        let files = split.parts().iter().map(|part| part.file().to_path_buf()).collect();
        let parts = split.tensors().map(part).collect();
        Ok(Self { metadata, parts, folder: None, warnings: Vec::new(), files, sources })
    }

    /// A GGUF file that is to be: its tensors have names, shapes and types, and no bytes to read.
    pub(crate) fn planned(
        file: &Path,
        metadata: Vec<(String, Value)>,
        tensors: &[gguf::Planned],
    ) -> Result<Self> {
        let file: Arc<Path> = file.into();
        let part = |tensor: &gguf::Planned| {
            let stored = Stored::planned(&file, tensor)?;
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            Ok(Part { name, shape, stored, columns: None, woven: None })
        };
        let parts = tensors.iter().map(part).collect::<Result<_>>()?;
        let metadata = Metadata::of_entries(file, metadata);
        let (warnings, files, sources) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { metadata, parts, folder: None, warnings, files, sources })
    }

    fn of_folder(folder: Folder) -> Result<Self> {
        let Checkpoint { metadata, sources, tensors, warnings, files, .. } =
            Checkpoint::open(&folder, Access::Mapped, Lies::Models)?;
        let mut parts: Vec<Part> =
            tensors.into_iter().map(|(name, stored)| Part::new(name, stored)).collect();
        // Layers in their order, with what stands before them first.
        parts.sort_by_key(|part| (layer_of(&part.name), part.name.clone()));
        let family = metadata.get::<&str>("general.architecture")?.to_owned();
        let layout = Layout { metadata: &metadata, family: &family, back: false };
        parts.iter_mut().try_for_each(|part| layout.turn(part))?;
        let rows = parts.iter().find(|part| part.name == "token_embd.weight").map_or(0, |part| part.shape[0]);
        let of_folder = |key: &str| OF_FOLDERS.iter().any(|end| key.ends_with(end));
        let own = metadata.iter().filter(|(key, _)| !of_folder(key));
        let mut entries: Vec<(String, Value)> =
            own.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        entries.insert(1, ("general.type".to_owned(), Value::text("model")));
        entries.insert(2, ("general.name".to_owned(), Value::text(&name_of(&folder, &family))));
        entries.extend(tokens::entries(&folder, rows)?);
        let metadata = Metadata::of_entries(metadata.file().clone(), entries);
        Ok(Self { metadata, parts, folder: Some(folder), warnings, files, sources })
    }

    /// Opens a folder with its tensors as folders of MLX have them; `around` is what their names begin with.
    pub(crate) fn for_mlx(folder: Folder, around: &str) -> Result<Self> {
        let Checkpoint { metadata, sources, tensors, naming, warnings, files, .. } =
            Checkpoint::open(&folder, Access::Mapped, Lies::Mlx)?;
        // What the configuration gives is in no file of theirs.
        let written = tensors.into_iter().filter(|(_, stored)| !matches!(stored.kind, Kind::Given(_)));
        let part = |(name, stored): (String, Stored)| {
            let mut shape: Vec<usize> = stored.shape.iter().map(|size| *size as usize).collect();
            if let ([_, one @ 1, taps], true) = (&mut shape[..], name.ends_with("conv1d.weight")) {
                std::mem::swap(one, taps);
            }
            let place = (layer_of(&name), name.clone());
            (
                place,
                Part {
                    name: naming.by_mlx(&name, &stored.name, around),
                    shape,
                    stored,
                    columns: None,
                    woven: None,
                },
            )
        };
        let mut parts: Vec<_> = written.map(part).collect();
        parts.sort_by(|(one, _), (other, _)| one.cmp(other));
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        Ok(Self { metadata, parts, folder: Some(folder), warnings, files, sources })
    }

    /// Bytes of all tensors.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(Part::bytes).sum()
    }
}

/// What a model is called: as its folder.
fn name_of(folder: &Folder, family: &str) -> String {
    let root = folder.path("");
    let root = root.canonicalize().unwrap_or(root);
    let name = root.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    // Readers of the files know by this word that special tokens of such models swallow spaces.
    let says = name.to_lowercase().contains("phi-3") || name.to_lowercase().contains("phi3");
    if family == "phi3" && !says { format!("Phi-3 {name}") } else { name }
}

/// The layer that a tensor belongs to, counted from one; 0 for what is in none.
fn layer_of(name: &str) -> usize {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    layer.and_then(|(layer, _)| layer.parse::<usize>().ok()).map_or(0, |layer| layer + 1)
}

impl Part {
    fn new(name: String, stored: Stored) -> Self {
        let shape: Vec<usize> = stored.shape.iter().map(|size| *size as usize).collect();
        // Experts are rows of an axis of their own, and matrices may have one row; else axes of one element say nothing.
        let matrix = name.ends_with("_exps.weight") || (shape.len() == 2 && !name.ends_with("_shexp.weight"));
        let squeezed = || {
            let shape: Vec<usize> = shape.iter().copied().filter(|size| *size != 1).collect();
            if shape.is_empty() { vec![1] } else { shape }
        };
        Self {
            name,
            shape: if matrix { shape.clone() } else { squeezed() },
            stored,
            columns: None,
            woven: None,
        }
    }

    /// The type that it has.
    ///
    /// # Errors
    /// [`Error::UnknownType`].
    pub(crate) fn dtype(&self) -> Result<DType> {
        let own = Self::dtype_of(&self.stored)?;
        match &self.woven {
            // Whether it was quantised is what the type is asked for.
            Some(woven) if own.is_plain() => Self::dtype_of(&woven.other),
            _ => Ok(own),
        }
    }

    fn dtype_of(stored: &Stored) -> Result<DType> {
        stored.known()?;
        Ok(match stored.kind {
            Kind::Plain(dtype) => dtype,
            // Those are the same blocks, written otherwise.
            Kind::Planes { dtype: DType::MlxMxfp4, .. } => DType::MXFP4,
            Kind::Planes { dtype, .. } => dtype,
            _ => DType::F32,
        })
    }

    /// Bytes that it takes in its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.stored.len() + self.woven.as_ref().map_or(0, |woven| woven.other.len())
    }

    /// Rows, which are what it is read by.
    pub(crate) fn rows(&self) -> usize {
        let others = self.woven.as_ref().map_or(0, |woven| woven.other.rows());
        (self.stored.rows() + others) as usize
    }

    /// Elements of a row.
    pub(crate) fn width(&self) -> usize {
        self.shape.iter().product::<usize>() / self.rows().max(1)
    }

    /// Whether its bytes can be written as they are, but for the order of blocks.
    pub(crate) fn is_as_written(&self) -> bool {
        let plain = match self.stored.kind {
            Kind::Plain(_) => true,
            Kind::Planes { dtype, .. } => dtype == DType::MlxMxfp4,
            _ => false,
        };
        plain && self.stored.change == Change::Nothing && self.columns.is_none() && self.woven.is_none()
    }

    /// The bytes of some rows, of its type; only where they [are as written](Self::is_as_written).
    pub(crate) fn raw<'a>(&self, origin: &'a Origin, rows: Range<usize>) -> Result<Cow<'a, [u8]>> {
        let part = self.stored.part(rows.start as u64, rows.len() as u64);
        let Kind::Planes { dtype, scale_type } = part.kind else { return part.bytes(&origin.sources, 0) };
        let [codes, scales] = [0, 1].map(|plane| part.bytes(&origin.sources, plane));
        let (codes, scales) = (codes?, scales?);
        let mut out = vec![0; rows.len() * self.dtype()?.row_bytes(self.width())?];
        let planes = Planes { codes: &codes, scales: &scales, biases: &[], scale_type };
        mlx::write_rows(dtype, &planes, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// Codes and scales of some rows, where they are of a type of MLX without biases, or the same blocks in rows.
    pub(crate) fn planes<'a>(&self, origin: &'a Origin, rows: Range<usize>) -> Result<[Cow<'a, [u8]>; 2]> {
        let part = self.stored.part(rows.start as u64, rows.len() as u64);
        if let Kind::Plain(_) = part.kind {
            return Ok(mlx::planes_of_mxfp4(&part.bytes(&origin.sources, 0)?).map(Cow::Owned));
        }
        Ok([part.bytes(&origin.sources, 0)?, part.bytes(&origin.sources, 1)?])
    }

    /// The elements of some rows.
    pub(crate) fn floats(&self, origin: &Origin, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        match &self.woven {
            Some(woven) => woven.floats(&self.stored, origin, rows, out)?,
            None => self.stored.part(rows.start as u64, rows.len() as u64).decode(&origin.sources, out)?,
        }
        if let Some(columns) = &self.columns {
            for row in out.chunks_exact_mut(columns.len()) {
                let before = row.to_vec();
                row.iter_mut().zip(&**columns).for_each(|(x, from)| *x = before[*from]);
            }
        }
        Ok(())
    }

    /// Lets the pages behind the first rows go.
    pub(crate) fn forget(&self, origin: &Origin, rows: usize) {
        // Rows of two tensors are not read in the order of either.
        if self.woven.is_some() && rows < self.rows() {
            return;
        }
        if let Some(woven) = &self.woven {
            woven.other.forget(&origin.sources, woven.other.rows());
        }
        self.stored.forget(&origin.sources, rows as u64);
    }

    /// The same with its rows in another order.
    fn reorder(&mut self, order: impl IntoIterator<Item = Rows>) {
        let stored = match self.shape.len() {
            // Elements stand where matrices have rows.
            1 => self.stored.clone().by_element(),
            _ => self.stored.clone(),
        };
        // Where the last axis has one element, what counts as a row is stored as several.
        let each = stored.rows() / (self.shape[0] as u64).max(1);
        let order = order.into_iter().map(|Rows { first, count, step }| match each {
            1 => Rows { first, count, step },
            each => Rows { first: first * each, count: count * each, step },
        });
        self.stored = stored.pick(self.stored.shape.clone(), order);
    }
}

impl Woven {
    /// The elements of some rows of the two.
    fn floats(&self, stored: &Stored, origin: &Origin, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let width = out.len() / rows.len().max(1);
        let (mut before, mut rest) = (0, out);
        let wanted = rows.start as u64..rows.end as u64;
        for (others, first, count) in self.runs.iter().copied() {
            let (from, to) = (wanted.start.max(before), wanted.end.min(before + count));
            if from < to {
                let (part, after) = rest.split_at_mut((to - from) as usize * width);
                let source = if others { &self.other } else { stored };
                source.part(first + from - before, to - from).decode(&origin.sources, part)?;
                rest = after;
            }
            before += count;
        }
        Ok(())
    }
}

/// How a folder's tensors have to be turned, or those of a file back.
struct Layout<'a> {
    metadata: &'a Metadata,
    family: &'a str,
    back: bool,
}

impl Layout<'_> {
    fn size(&self, key: &str) -> Result<u64> {
        self.metadata.get(&format!("{}.{key}", self.family))
    }

    fn turn(&self, part: &mut Part) -> Result<()> {
        let module = part.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let Some(module) = module.map(|(_, module)| module.split('.').next().unwrap_or_default().to_owned())
        else {
            return Ok(());
        };
        match (self.family, &*module) {
            ("llama", "attn_q") => self.pairs(part, "attention.head_count"),
            ("llama", "attn_k") => self.pairs(part, "attention.head_count_kv"),
            ("qwen35" | "qwen35moe", module) => self.heads(part, module),
            _ => Ok(()),
        }
    }

    /// Columns that turn together are half a head apart in folders, and neighbours in files of this family.
    fn pairs(&self, part: &mut Part, heads: &str) -> Result<()> {
        let (heads, rows) = (self.size(heads)?, part.shape[0] as u64);
        let width = self.even(part, rows, heads)?;
        let half = width / 2;
        let turned = self.metadata.find::<u64>(&format!("{}.rope.dimension_count", self.family))?;
        if width % 2 > 0 || turned.is_some_and(|turned| turned != width) {
            return Err(self.cannot(part, "heads of which not all columns are turned"));
        }
        match self.back {
            false => part.reorder((0..heads * half).map(|pair| {
                let first = pair / half * width + pair % half;
                Rows { first, count: 2, step: half }
            })),
            true => part.reorder((0..heads * 2).map(|side| {
                let first = side / 2 * width + side % 2;
                Rows { first, count: half, step: 2 }
            })),
        }
        Ok(())
    }

    /// Heads of values that share one of keys stand side by side in folders, and take keys by turns in files of these families.
    fn heads(&self, part: &mut Part, module: &str) -> Result<()> {
        let [keys, values, all] =
            [self.size("ssm.group_count")?, self.size("ssm.time_step_rank")?, self.size("ssm.inner_size")?];
        let (share, each) = (values / keys.max(1), all / values.max(1));
        let before = 2 * keys * self.size("ssm.state_size")?;
        // The head that comes to each place.
        let order: Vec<u64> = match self.back {
            false => (0..share).flat_map(|turn| (0..keys).map(move |key| key * share + turn)).collect(),
            true => (0..keys).flat_map(|key| (0..share).map(move |turn| turn * keys + key)).collect(),
        };
        let (before, each) = match module {
            "attn_qkv" | "ssm_conv1d" => (before, each),
            "attn_gate" => (0, each),
            "ssm_alpha" | "ssm_beta" | "ssm_a" | "ssm_dt" => (0, 1),
            "ssm_out" => {
                if part.shape.last() != Some(&(all as usize)) {
                    return Err(self.cannot(part, "heads of another size than the configuration says"));
                }
                let columns =
                    order.iter().flat_map(|head| (head * each..(head + 1) * each).map(|at| at as usize));
                part.columns = Some(columns.collect());
                return Ok(());
            }
            _ => return Ok(()),
        };
        // Layers of attention have a matrix of one of these names, too.
        if part.shape[0] as u64 != before + values * each {
            return Err(self.cannot(part, "heads of another size than the configuration says"));
        }
        let first = Rows { first: 0, count: before, step: 1 };
        let heads = order.iter().map(|head| Rows { first: before + head * each, count: each, step: 1 });
        part.reorder([first].into_iter().filter(|rows| rows.count > 0).chain(heads));
        Ok(())
    }

    fn even(&self, part: &Part, rows: u64, heads: u64) -> Result<u64> {
        match rows.checked_div(heads) {
            Some(width) if width * heads == rows && width > 0 => Ok(width),
            _ => Err(self.cannot(part, "rows that are not the same for all heads")),
        }
    }

    fn cannot(&self, part: &Part, what: &str) -> Error {
        let file = self.metadata.file().clone();
        Error::Conversion { file, what: format!("{} has {what}", part.name) }
    }
}

#[cfg(test)]
mod tests;
