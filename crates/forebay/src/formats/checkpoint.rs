//! The tensors of a folder, under the names of the scheme: which rows of which files each of them is.
//!
//! It joins what a checkpoint holds in pieces and divides what it holds as one, by moving ranges and never a byte. Next
//! rooms: `names` for what belongs where, `stored` for ranges, `weights` for who takes them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    config::{Config, Heads, Norms},
    folder::Folder,
    gguf::{Metadata, Value},
    mlx::{self, Quantization},
    names::{Belongs, Naming},
    safetensors::{Index, Safetensors, Shards},
    source::Source,
    stored::{Change, Kind, Rows, Stored},
    weights::{Access, Warning},
};
use crate::error::{Error, Result, SetFault};

/// A folder as it was found.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) metadata: Metadata,
    /// The file with the tensors, or that which names them, for messages.
    pub(super) file: Arc<Path>,
    pub(super) sources: Vec<Source>,
    /// The files that the sources are.
    pub(super) files: Vec<PathBuf>,
    pub(super) tensors: BTreeMap<String, Stored>,
    pub(super) naming: Naming,
    pub(super) warnings: Vec<Warning>,
}

/// How tensors shall lie that several systems lay out otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As models here expect them, which is mostly as GGUF files have them.
    Models,
    /// As the folders of MLX have them.
    Mlx,
}

const CONFIG: &str = "config.json";
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl Checkpoint {
    /// Opens the files of a folder.
    pub(super) fn open(folder: &Folder, access: Access, layout: Layout) -> Result<Self> {
        let json = folder.read(CONFIG)?;
        let quantization = Quantization::parse(folder.path(CONFIG), &json)?;
        let mut config = Config::parse(folder.path(CONFIG), &json)?;
        if let Some(template) = template(folder)? {
            config.entries.push(("tokenizer.chat_template".to_owned(), Value::text(&template)));
        }
        let Files { named: file, shards, sources, paths: files } = Files::open(folder, access)?;
        let weights = mlx::weights(&shards, quantization.as_ref())?;
        let by_mlx = config.norms_around_one == Norms::LessOneButByMlx && written_by_mlx(&shards);
        let less_one = match layout {
            Layout::Models => config.norms_around_one != Norms::Plain,
            // It adds the one when a model runs, but for the families whose folders it writes with the one.
            Layout::Mlx => config.norms_around_one == Norms::LessOneButByMlx,
        };
        let mut sorting = Sorting {
            naming: config.naming,
            heads: config.heads.filter(|_| layout == Layout::Models),
            less_one: less_one && !by_mlx,
            logarithms: layout == Layout::Mlx,
            tensors: BTreeMap::new(),
            experts: HashMap::new(),
            parts: BTreeSet::new(),
        };
        weights.iter().try_for_each(|weight| sorting.sort(weight))?;
        let parts = std::mem::take(&mut sorting.parts);
        let (naming, needs_output) = (config.naming, config.needs_output);
        let mut tensors = sorting.finish()?;
        if needs_output && !tensors.contains_key("output.weight") {
            return Err(Error::MissingTensor { file, tensor: naming.original("output.weight") });
        }
        if tensors.values().any(|tensor| matches!(tensor.kind, Kind::Planes { .. })) {
            // Engines of this format keep activations as they are, so that one rounding would be coarser than theirs.
            config.entries.push(("general.rounded_twice".to_owned(), Value::Bool(true)));
        }
        let config_file = config.file.clone();
        let (metadata, given) = config.metadata();
        for (name, numbers) in given {
            let tensor = Stored::given(&config_file, &name, &numbers);
            tensors.insert(name, tensor);
        }
        let warnings = match parts.is_empty() {
            true => Vec::new(),
            false => vec![Warning::OtherParts { file: file.clone(), parts: parts.into_iter().collect() }],
        };
        Ok(Self { metadata, file, sources, files, tensors, naming, warnings })
    }
}

/// The template of conversations, where the folder has one.
fn template(folder: &Folder) -> Result<Option<String>> {
    if let Some(bytes) = folder.find("chat_template.jinja")? {
        return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        // Whoever needs more of the file tells what is wrong with it.
        let Some(bytes) = folder.find(name)? else { continue };
        let Ok(json) = serde_json::from_slice::<Json>(&bytes) else { continue };
        let template = match &json["chat_template"] {
            Json::Array(several) => {
                let usual = several.iter().find(|one| one["name"] == "default").or(several.first());
                usual.and_then(|one| one["template"].as_str())
            }
            one => one.as_str(),
        };
        if let Some(template) = template {
            return Ok(Some(template.to_owned()));
        }
    }
    Ok(None)
}

/// The files with tensors.
struct Files {
    /// The file, or that which names them, for messages.
    named: Arc<Path>,
    shards: Shards,
    sources: Vec<Source>,
    paths: Vec<PathBuf>,
}

impl Files {
    fn open(folder: &Folder, access: Access) -> Result<Self> {
        let open = |path: &Path| Source::open(path, access, |bytes| Safetensors::parse(path, bytes));
        let whole = folder.path(WHOLE);
        if whole.exists() {
            let (parsed, source) = open(&whole)?;
            let shards = Shards::join(vec![parsed], None)?;
            return Ok(Self {
                named: whole.as_path().into(),
                shards,
                sources: vec![source],
                paths: vec![whole],
            });
        }
        let Some(json) = folder.find(INDEX)? else { return Err(folder.lacks(WHOLE)) };
        let index = Index::parse(folder.path(INDEX), &json)?;
        let (mut parsed, mut sources, mut paths) = (Vec::new(), Vec::new(), Vec::new());
        for path in index.files() {
            if !path.exists() {
                let fault = SetFault::Missing { named_by: index.file().clone() };
                return Err(Error::Set { file: path.into(), fault });
            }
            let (part, source) = open(path)?;
            parsed.push(part);
            sources.push(source);
            paths.push(path.to_path_buf());
        }
        let shards = Shards::join(parsed, Some(&index))?;
        Ok(Self { named: index.file().clone(), shards, sources, paths })
    }
}

/// Whether convolutions have their taps in the middle, as MLX has them; it adds to norms what others leave out.
fn written_by_mlx(shards: &Shards) -> bool {
    shards.tensors().any(|(_, tensor)| {
        tensor.name().ends_with("conv1d.weight") && matches!(tensor.shape(), [_, taps, 1] if *taps > 1)
    })
}

/// Tensors on their way to where they belong.
struct Sorting {
    naming: Naming,
    heads: Option<Heads>,
    less_one: bool,
    /// Whether rates of decay stay logarithms.
    logarithms: bool,
    tensors: BTreeMap<String, Stored>,
    experts: HashMap<String, BTreeMap<u64, Stored>>,
    parts: BTreeSet<&'static str>,
}

impl Sorting {
    fn sort(&mut self, weight: &mlx::Weight<'_>) -> Result<()> {
        let belongs = self.naming.of(weight.name);
        let mut stored = Stored::of_weight(weight)?;
        let two = |stored: &Stored| -> Option<Stored> {
            match stored.shape.len() {
                // Biases have an element where matrices have a row.
                2 => Some(stored.clone().by_element()),
                3 => Some(stored.clone()),
                _ => None,
            }
        };
        match belongs {
            Belongs::Whole(name) => {
                stored.change = self.change(&name);
                self.add(name, stored)
            }
            Belongs::Expert(name, number) => {
                let file = stored.file.clone();
                match self.experts.entry(name.clone()).or_default().insert(number, stored) {
                    None => Ok(()),
                    Some(other) => Err(twice(file, weight.name, &other)),
                }
            }
            Belongs::Halves(names) => {
                self.divide(names, two(&stored), &stored, |half, each| (half * each / 2, each / 2, 1))
            }
            Belongs::Turns(names) => {
                self.divide(names, two(&stored), &stored, |half, each| (half, each / 2, 2))
            }
            Belongs::Heads(names) => self.by_heads(names, stored),
            Belongs::Part(part) => {
                self.parts.insert(part);
                Ok(())
            }
            Belongs::Nothing => Ok(()),
            Belongs::Unknown => self.add(weight.name.to_owned(), stored),
        }
    }

    /// What has to be done to the elements of a tensor.
    fn change(&self, name: &str) -> Change {
        match name.rsplit('.').nth(1).unwrap_or(name) {
            norm if self.less_one && norm.ends_with("norm") && norm != "ssm_norm" => Change::AddOne,
            _ if name.ends_with(".ssm_a") && !self.logarithms => Change::NegativeExp,
            _ => Change::Nothing,
        }
    }

    fn add(&mut self, name: String, stored: Stored) -> Result<()> {
        let (file, theirs) = (stored.file.clone(), stored.name.clone());
        match self.tensors.insert(name, stored) {
            None => Ok(()),
            Some(other) => Err(twice(file, &theirs, &other)),
        }
    }

    /// Divides the rows of each expert in two; `rows` says which of so many are a half's: first, count and step.
    fn divide(
        &mut self,
        names: [String; 2],
        divided: Option<Stored>,
        stored: &Stored,
        rows: impl Fn(u64, u64) -> (u64, u64, u64),
    ) -> Result<()> {
        let even = divided.filter(|divided| divided.shape[1].is_multiple_of(2));
        // Whoever asks for the halves says which are missing; this one is reported as not used.
        let Some(whole) = even else { return self.add(stored.name.to_string(), stored.clone()) };
        for (half, name) in (0..).zip(names) {
            let [experts, each] = [whole.shape[0], whole.shape[1]];
            let mut shape = whole.shape.clone();
            shape[1] = each / 2;
            let (first, count, step) = rows(half, each);
            let picked = (0..experts).map(|expert| Rows { first: expert * each + first, count, step });
            self.add(name, whole.pick(shape, picked))?;
        }
        Ok(())
    }

    /// Divides rows that lie head by head: queries, keys and values of all heads in this order, and gates.
    fn by_heads(&mut self, names: [String; 2], stored: Stored) -> Result<()> {
        let Some(Heads { keys, values, key_width, value_width }) = self.heads else {
            return self.add(stored.name.to_string(), stored);
        };
        let share = values / keys * value_width;
        let (head, [all, width]) = match stored.shape[..] {
            [all, width] => (2 * key_width + 2 * share, [all, width]),
            _ => return self.add(stored.name.to_string(), stored),
        };
        if all != keys * head {
            return self.add(stored.name.to_string(), stored);
        }
        let part = |first: u64, count: u64| {
            (0..keys).map(move |key| Rows { first: key * head + first, count, step: 1 })
        };
        let [inputs, gate] = names;
        let rows = part(0, key_width).chain(part(key_width, key_width)).chain(part(2 * key_width, share));
        let shape = vec![keys * (2 * key_width + share), width];
        self.add(inputs, stored.pick(shape, rows))?;
        self.add(gate, stored.pick(vec![keys * share, width], part(2 * key_width + share, share)))
    }

    /// All tensors, those of experts joined.
    fn finish(mut self) -> Result<BTreeMap<String, Stored>> {
        for (name, parts) in std::mem::take(&mut self.experts) {
            let first = parts.values().next().cloned();
            let whole = parts.keys().copied().eq(0..parts.len() as u64);
            let joined = if whole { Stored::stack(parts.into_values().collect()) } else { None };
            match (joined, first) {
                (Some(joined), _) => self.add(name, joined)?,
                // Experts that are missing or differ: the first stands for what cannot be used.
                (None, Some(first)) => self.add(first.name.to_string(), first)?,
                (None, None) => {}
            }
        }
        Ok(self.tensors)
    }
}

fn twice(file: Arc<Path>, name: &str, other: &Stored) -> Error {
    let fault = SetFault::Duplicate { tensor: name.to_owned(), other: other.file.clone() };
    Error::Set { file, fault }
}

#[cfg(test)]
mod tests;
