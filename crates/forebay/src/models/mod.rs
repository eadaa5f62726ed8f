//! Language models: one file a family, reading like its paper, on blocks that families share.
//!
//! A model records its ops into one stage; it never submits, waits or picks a token. Families: `llama`, `qwen2`, `qwen3`,
//! `qwen3moe`, `gptoss` and `phi3`, which share a plain `decoder`, and `qwen3next` and `qwen35`, which take theirs from
//! `hybrid`; `gemma2` and `gemma3`, which share `gemma`. Blocks: `attention` and `delta` networks, `ffn` and `moe`, of
//! `linear` maps and `norm`s; `rotary` positions; the `head`; the `cache`; `keys`, the numbers of a family.
//! `activations` are the buffers between ops; a `witness` sees what weights are multiplied with. Next room: `generate::step`, which runs models.

pub mod activations;
pub mod attention;
pub mod cache;
pub mod decoder;
pub mod delta;
pub mod ffn;
pub mod gemma;
pub mod gemma2;
pub mod gemma3;
pub mod gptoss;
pub mod head;
mod hybrid;
mod keys;
pub mod linear;
pub mod llama;
pub mod moe;
pub mod norm;
pub mod phi3;
pub mod qwen2;
pub mod qwen3;
pub mod qwen35;
pub mod qwen3moe;
pub mod qwen3next;
pub mod rotary;
pub mod witness;

use std::ops::Range;

use forebay_tensor::{Recorder, Tensor};

use self::{
    activations::Activations,
    cache::{Cache, Keeps},
    delta::DeltaSizes,
    moe::ExpertSizes,
};
use crate::{
    error::{Error, Result},
    formats::{placement::Leg, weights::Weights},
};

/// The families, as GGUF files name them.
const KNOWN: &str = "gemma2, gemma3, gpt-oss, llama (also Mistral), phi3, qwen2, qwen3, qwen35, qwen35moe, qwen3moe and \
                     qwen3next";

/// The sizes that decide what a model needs besides its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// Layers.
    pub layers: usize,
    /// Width of the hidden state.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a head of queries and keys.
    pub head_width: usize,
    /// Columns of a head that are turned by their position.
    pub rotated: usize,
    /// Width of a head of values.
    pub value_width: usize,
    /// Whether attention has a gate for each of its results.
    pub gated: bool,
    /// Width inside the feed-forward network that every position goes through; 0 where there is none.
    pub ffn_width: usize,
    /// Experts that positions are routed to, where there are some.
    pub experts: Option<ExpertSizes>,
    /// Delta networks, where some layers have one in place of attention.
    pub delta: Option<DeltaSizes>,
    /// Whether rows that are rounded for a weight are rounded twice, so that little is lost.
    pub rounded_twice: bool,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Positions that the model was made for.
    pub context: usize,
}

impl Sizes {
    /// The most columns that a matrix of a layer gives.
    pub(crate) fn widest(&self) -> usize {
        let queries = self.heads * self.head_width * if self.gated { 2 } else { 1 };
        let values = self.kv_heads * self.head_width.max(self.value_width);
        let experts = self.experts.map_or(0, |experts| {
            // What is left of both roundings of all experts of a row has room for one rounding of a row of this width.
            let chosen = experts.used * experts.width.max(self.width);
            experts.count.max(chosen.div_ceil(2))
        });
        let delta = self.delta.map_or(0, |delta| delta.channels().into_iter().max().unwrap_or(0));
        let rates = self.delta.map_or(0, |delta| 2 * delta.value_heads);
        [self.width, queries, values, self.ffn_width, experts, delta, rates].into_iter().max().unwrap_or(0)
    }

    /// Rows and columns of matrices of a layer that none is larger than, for each width that they have.
    pub(crate) fn matrices(&self) -> [[usize; 2]; 4] {
        let answers = self.delta.map_or(0, |delta| delta.channels()[2]);
        let attended = self.heads * self.value_width;
        [
            [self.widest(), self.width],
            [self.width, attended],
            [self.width, self.ffn_width],
            [self.width, answers],
        ]
    }
}

/// What a model computes in one stage: the layers that the cache is of, with the embedding before the first layer and the
/// output behind the last one.
#[derive(Debug)]
pub struct Pass<'a> {
    /// u32, `[rows]`: the tokens.
    pub ids: &'a Tensor,
    /// u32, `[rows]`: their positions.
    pub positions: &'a Tensor,
    /// u32, `[rows]`: the text of each token, where the cache is of several texts that take one token each.
    pub places: Option<&'a Tensor>,
    /// What layers kept of what came before; what they keep of these tokens is added.
    pub cache: &'a Cache,
    /// Buffers of so many rows.
    pub buffers: &'a Activations,
}

impl Pass<'_> {
    /// Which leg of a model it goes through, and the layers of that.
    pub(crate) fn leg(&self, legs: &[Leg]) -> Result<(usize, Range<usize>)> {
        let layers = self.cache.layers();
        let leg = legs.iter().position(|leg| leg.layers == layers);
        Ok((leg.ok_or(Error::OtherModel { what: "cache" })?, layers))
    }
}

/// A language model on its devices.
pub trait Model: Send + Sync {
    /// Its sizes.
    fn sizes(&self) -> &Sizes;

    /// What each layer keeps of a position.
    fn keeps(&self) -> Vec<Keeps>;

    /// Its devices, in the order in which a text goes through them: at least one, and every layer is on one of them.
    fn legs(&self) -> &[Leg];

    /// Records the pass through one leg. The first one takes in tokens, the others the hidden state of the one before. Behind the
    /// last one, the logits of the last rows end up in `pass.buffers.logits`, as many rows as it has.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if the cache is not that of a leg, and those of recording.
    fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()>;
}

/// The model that these weights belong to.
///
/// # Errors
/// [`Error::Architecture`] for a family that is not known, [`Error::Unsupported`] for a feature that cannot be run yet,
/// and those of weights that are missing, too many or of other shapes.
pub fn load(weights: Weights) -> Result<Box<dyn Model>> {
    let name = weights.metadata().get::<&str>("general.architecture")?;
    match name {
        "gemma2" => Ok(Box::new(gemma2::load(weights)?)),
        "gemma3" => Ok(Box::new(gemma3::load(weights)?)),
        "gpt-oss" => Ok(Box::new(gptoss::load(weights)?)),
        "llama" => Ok(Box::new(llama::load(weights)?)),
        "phi3" => Ok(Box::new(phi3::load(weights)?)),
        "qwen2" => Ok(Box::new(qwen2::load(weights)?)),
        "qwen3" => Ok(Box::new(qwen3::load(weights)?)),
        "qwen35" => Ok(Box::new(qwen35::load(weights)?)),
        "qwen35moe" => Ok(Box::new(qwen35::load_routed(weights)?)),
        "qwen3moe" => Ok(Box::new(qwen3moe::load(weights)?)),
        "qwen3next" => Ok(Box::new(qwen3next::load(weights)?)),
        found => Err(Error::Architecture {
            file: weights.file().clone(),
            found: found.to_owned(),
            known: KNOWN.to_owned(),
        }),
    }
}

#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;
