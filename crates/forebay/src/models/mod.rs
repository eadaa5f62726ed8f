//! Language models: one file a family, reading like its paper, on blocks that families share.
//!
//! A model records its ops into one stage; it never submits, waits or picks a token. Blocks: `attention`, `ffn`, and
//! the `kv` cache; `activations` are the buffers between ops. Next room: `generate::step`, which runs models.

pub mod activations;
pub mod attention;
pub mod ffn;
pub mod kv;
pub mod llama;

use forebay_tensor::{Recorder, Tensor};

use self::{activations::Activations, kv::KvCache};
use crate::{
    error::{Error, Result},
    formats::weights::Weights,
};

/// The families, as GGUF files name them.
const KNOWN: &str = "llama";

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
    /// Width inside the feed-forward network.
    pub ffn_width: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Positions that the model was made for.
    pub context: usize,
}

/// What a model computes in one stage.
#[derive(Debug)]
pub struct Pass<'a> {
    /// u32, `[rows]`: the tokens.
    pub ids: &'a Tensor,
    /// u32, `[rows]`: their positions.
    pub positions: &'a Tensor,
    /// Keys and values of what came before; these tokens' are added.
    pub kv: &'a KvCache,
    /// Buffers of so many rows.
    pub buffers: &'a Activations,
}

/// A language model on a device.
pub trait Model: Send + Sync {
    /// Its sizes.
    fn sizes(&self) -> &Sizes;

    /// Records the pass: the logits of the last rows end up in `pass.buffers.logits`, as many rows as it has.
    ///
    /// # Errors
    /// Those of recording.
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
        "llama" => Ok(Box::new(llama::Llama::load(weights)?)),
        found => Err(Error::Architecture {
            file: weights.file().clone(),
            found: found.to_owned(),
            known: KNOWN.to_owned(),
        }),
    }
}
