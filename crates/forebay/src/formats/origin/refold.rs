//! A GGUF file as folders of MLX lay a model out: other names, rows where they were, norms as its classes expect them.
//!
//! What has no place in such a folder is an error; nothing is left out in silence. Next rooms: `config::back` for what is
//! said of the model, `tokens::folder` for the tokenizer, `quantize` for who writes.

use std::path::Path;

use forebay_tensor::DType;
use serde_json::Value as Json;

use super::{Layout, Origin, Part, Woven, layer_of};
use crate::{
    error::{Error, Result},
    formats::{
        config::{Described, Facts, Heads, describe},
        stored::Change,
        tokens,
    },
};

/// What a folder holds beside the tensors.
#[derive(Debug)]
pub(crate) struct Refolded {
    /// The tensors.
    pub(crate) origin: Origin,
    /// What floats become.
    pub(crate) float: DType,
    /// `config.json`.
    pub(crate) config: Json,
    /// The files of the tokenizer and of how text is generated, by name.
    pub(crate) files: Vec<(&'static str, Json)>,
}

/// Tensors that are said by the configuration.
const SAID: [&str; 3] = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

impl Refolded {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// Those of opening it; [`Error::Architecture`] and [`Error::Conversion`] for what no folder could say.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::of(Origin::of_gguf(path)?)
    }

    /// What a folder holds of a GGUF file, or of one that is to be.
    ///
    /// # Errors
    /// [`Error::Architecture`] and [`Error::Conversion`] for what no folder could say.
    pub(crate) fn of(mut origin: Origin) -> Result<Self> {
        let float = float_of(&origin.parts)?;
        let described = describe(&Facts {
            metadata: &origin.metadata,
            has: &|name| origin.parts.iter().any(|part| part.name == name),
            floats: &|name| match origin.parts.iter().find(|part| part.name == name) {
                Some(part) => {
                    let mut floats = vec![0.0; part.shape.iter().product()];
                    part.floats(&origin, 0..part.rows(), &mut floats)?;
                    Ok(Some(floats))
                }
                None => Ok(None),
            },
            rows: origin
                .parts
                .iter()
                .find(|part| part.name == "token_embd.weight")
                .map_or(0, |part| part.shape[0]),
            float: match float {
                DType::F32 => "float32",
                DType::F16 => "float16",
                _ => "bfloat16",
            },
        })?;
        let files = tokens::files(&origin.metadata)?;
        let parts = std::mem::take(&mut origin.parts);
        origin.parts = refold(&origin, parts, &described)?;
        Ok(Self { origin, float, config: described.json, files })
    }
}

/// The type that floats of a folder get: that of most matrices, or where those are quantised, bf16.
fn float_of(parts: &[Part]) -> Result<DType> {
    let mut bytes = [(DType::BF16, 0), (DType::F16, 0), (DType::F32, 0)];
    let mut quantised = false;
    for part in parts.iter().filter(|part| part.shape.len() > 1) {
        let found = part.dtype()?;
        quantised |= !found.is_plain();
        bytes.iter_mut().filter(|(dtype, _)| *dtype == found).for_each(|(_, bytes)| *bytes += part.bytes());
    }
    let [brain, half, single] = bytes.map(|(_, bytes)| bytes);
    Ok(match () {
        () if half > brain => DType::F16,
        // Beside quantised matrices there are small ones of f32 that say nothing of the others.
        () if brain == 0 && single > 0 && !quantised => DType::F32,
        () => DType::BF16,
    })
}

fn refold(origin: &Origin, parts: Vec<Part>, described: &Described) -> Result<Vec<Part>> {
    let family = origin.metadata.get::<&str>("general.architecture")?;
    let layout = Layout { metadata: &origin.metadata, family, back: true };
    let mut refolded: Vec<(usize, Part)> = Vec::new();
    // Gates that wait for what they share a matrix with.
    let mut joined: Vec<Part> = Vec::new();
    for mut part in parts {
        let layer = layer_of(&part.name);
        // The layers at the end guess further tokens, which folders for text have no place for.
        if SAID.contains(&&*part.name) || layer > described.layers as usize {
            continue;
        }
        layout.turn(&mut part)?;
        if described.heads.is_some() && is_of_heads(&part.name) {
            joined.push(part);
            continue;
        }
        part.stored.change = change(&part.name, described);
        part.reshape();
        let theirs = described.naming.find(&part.name);
        let known = theirs.is_some() || part.name.contains("_exps.");
        if !known {
            return Err(cannot(origin, format!("the tensor {} has no name in folders", part.name)));
        }
        part.name = described.naming.by_mlx(&part.name, &theirs.unwrap_or_default(), described.around);
        refolded.push((layer, part));
    }
    if let Some(heads) = described.heads {
        for pair in pairs(origin, joined)? {
            let layer = layer_of(&pair[0].name);
            let mut part = join(origin, pair, heads)?;
            let theirs = described.naming.heads(&(layer - 1).to_string());
            part.name = described.naming.by_mlx("", &theirs, described.around);
            refolded.push((layer, part));
        }
    }
    refolded.sort_by(|(a, one), (b, other)| (a, &one.name).cmp(&(b, &other.name)));
    Ok(refolded.into_iter().map(|(_, part)| part).collect())
}

fn cannot(origin: &Origin, what: String) -> Error {
    Error::Conversion { file: origin.metadata.file().clone(), what }
}

/// What makes of a tensor what folders hold.
fn change(name: &str, described: &Described) -> Change {
    let module = name.rsplit('.').nth(1).unwrap_or(name);
    match () {
        () if described.norms_less_one && module.ends_with("norm") => Change::TakeOne,
        () if name.ends_with(".ssm_a") => Change::LogOfNegative,
        () => Change::Nothing,
    }
}

impl Part {
    /// Gives it the axes of one element that folders have and files leave out.
    fn reshape(&mut self) {
        if self.name.ends_with(".ssm_conv1d.weight") {
            self.shape.retain(|size| *size != 1);
            self.shape.push(1);
        } else if self.name.ends_with(".ffn_gate_inp_shexp.weight") && self.shape.len() == 1 {
            self.shape.insert(0, 1);
        }
    }
}

fn is_of_heads(name: &str) -> bool {
    name.ends_with(".attn_qkv.weight") || name.ends_with(".attn_gate.weight")
}

/// Queries, keys and values of each layer, and its gate.
fn pairs(origin: &Origin, parts: Vec<Part>) -> Result<Vec<[Part; 2]>> {
    let (inputs, gates): (Vec<Part>, Vec<Part>) =
        parts.into_iter().partition(|part| part.name.ends_with(".attn_qkv.weight"));
    let counts = (inputs.len(), gates.len());
    let of = |input: Part| {
        let layer = layer_of(&input.name);
        let gate = gates.iter().find(|gate| layer_of(&gate.name) == layer)?.clone();
        Some([input, gate])
    };
    let pairs: Option<Vec<[Part; 2]>> = inputs.into_iter().map(of).collect();
    let lacks = || cannot(origin, "a delta network that lacks its gate, or has nothing but that".to_owned());
    pairs.filter(|_| counts.0 == counts.1).ok_or_else(lacks)
}

/// One matrix with the rows of each head side by side: for queries, keys and values, and the gate.
fn join(origin: &Origin, [inputs, gate]: [Part; 2], heads: Heads) -> Result<Part> {
    let Heads { keys, values, key_width, value_width } = heads;
    let share = values / keys * value_width;
    let sizes = [inputs.stored.rows(), gate.stored.rows()];
    if sizes != [keys * (2 * key_width + share), keys * share] || inputs.width() != gate.width() {
        let what = format!("{} and its gate are not of the size that the metadata says", inputs.name);
        return Err(cannot(origin, what));
    }
    let of = |head: u64| {
        let all = keys * key_width;
        [
            (false, head * key_width, key_width),
            (false, all + head * key_width, key_width),
            (false, 2 * all + head * share, share),
            (true, head * share, share),
        ]
    };
    let woven = Woven { other: gate.stored, runs: (0..keys).flat_map(of).collect() };
    let shape = vec![(sizes[0] + sizes[1]) as usize, inputs.width()];
    Ok(Part { shape, woven: Some(woven), ..inputs })
}
