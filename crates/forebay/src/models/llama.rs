//! Llama: a decoder of layers that each add attention and a gated network to the hidden state, with a norm before both.
//!
//! Files of Llama 1 to 3 and of Mistral carry this name. Scaling of positions comes as a factor for all frequencies or,
//! from Llama 3 on, as one for each.

use forebay_tensor::{
    Recorder, Tensor, Weight,
    ops::{
        Add, Embed, Matmul, RmsNorm,
        angles::{Frequencies, Scaling},
        rope::Pairs,
    },
};

use super::{
    Model, Pass, Sizes,
    attention::{Rotary, SelfAttention},
    ffn::GatedFfn,
};
use crate::{
    error::{Error, Result},
    formats::{gguf::Metadata, weights::Weights},
};

/// A model of this family.
#[derive(Debug)]
pub struct Llama {
    sizes: Sizes,
    epsilon: f32,
    rotary: Rotary,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Weight,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    attention: SelfAttention,
    ffn_norm: Tensor,
    ffn: GatedFfn,
}

impl Model for Llama {
    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        let epsilon = self.epsilon;
        self.rotary.angles(ops, pass)?;
        ops.record(&Embed { table: &self.embedding, ids: pass.ids, out: &b.hidden })?;
        for (layer, cache) in self.layers.iter().zip(pass.kv.layers()) {
            ops.record(&RmsNorm {
                x: &b.hidden,
                weight: Some(&layer.attention_norm),
                epsilon,
                out: Some(&b.normed.floats),
            })?;
            layer.attention.forward(ops, pass, &self.rotary, cache)?;
            ops.record(&Add { x: &b.hidden, y: &b.change })?;

            ops.record(&RmsNorm {
                x: &b.hidden,
                weight: Some(&layer.ffn_norm),
                epsilon,
                out: Some(&b.normed.floats),
            })?;
            layer.ffn.forward(ops, pass)?;
            ops.record(&Add { x: &b.hidden, y: &b.change })?;
        }
        let last = b.rows() - b.logits.shape()[0]..b.rows();
        let (hidden, normed) = (b.hidden.narrow(0, last.clone())?, b.normed.rows(last)?);
        ops.record(&RmsNorm { x: &hidden, weight: Some(&self.norm), epsilon, out: Some(&normed.floats) })?;
        normed.round(ops, &[&self.output])?;
        ops.record(&Matmul { weight: &self.output, x: normed.of(&self.output), out: &b.logits })?;
        Ok(())
    }
}

impl Llama {
    /// Takes the weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a feature that cannot be run yet, and those of weights and metadata.
    pub fn load(mut weights: Weights) -> Result<Self> {
        let (sizes, scaling) = read_sizes(weights.metadata())?;
        let epsilon = weights.metadata().get("llama.attention.layer_norm_rms_epsilon")?;
        let base = weights.metadata().find("llama.rope.freq_base")?.unwrap_or(10_000.0);
        let scaling = match weights.has("rope_freqs.weight") {
            true => Scaling::Factors(weights.take_f32("rope_freqs.weight", &[sizes.rotated / 2])?.to_vec()?),
            false => scaling,
        };

        let Sizes { width, vocabulary, .. } = sizes;
        let embedding = weights.take_weight("token_embd.weight", [vocabulary, width])?;
        let output = match weights.has("output.weight") {
            true => weights.take_weight("output.weight", [vocabulary, width])?,
            false => embedding.clone(),
        };
        let layers =
            (0..sizes.layers).map(|i| Layer::load(&mut weights, i, &sizes)).collect::<Result<Vec<_>>>()?;
        // Sizes are what the file's tensors have from here on, so the table is no larger than they are.
        let table = Frequencies::new(base, sizes.rotated, &scaling);
        let rotary = Rotary::new(weights.device(), &table, Pairs::Interleaved)?;
        let norm = weights.take_f32("output_norm.weight", &[width])?;
        let model = Self { sizes, epsilon, rotary, embedding, layers, norm, output };
        weights.finish()?;
        Ok(model)
    }
}

impl Layer {
    fn load(weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        let norm = |name: &str| format!("blk.{layer}.{name}.weight");
        Ok(Self {
            attention_norm: weights.take_f32(&norm("attn_norm"), &[sizes.width])?,
            attention: SelfAttention::load(weights, layer, sizes)?,
            ffn_norm: weights.take_f32(&norm("ffn_norm"), &[sizes.width])?,
            ffn: GatedFfn::load(weights, layer, sizes)?,
        })
    }
}

/// Sizes, and how frequencies are stretched unless the file holds a factor for each.
fn read_sizes(metadata: &Metadata) -> Result<(Sizes, Scaling)> {
    let unsupported = |what: String| Error::Unsupported { file: metadata.file().clone(), what };
    let size = |key: &str, default: Option<u32>| -> Result<usize> {
        let key = format!("llama.{key}");
        let found = match default {
            Some(default) => metadata.find::<u32>(&key)?.unwrap_or(default),
            None => metadata.get::<u32>(&key)?,
        };
        match found {
            0 => {
                let (file, found) = (metadata.file().clone(), "0".to_owned());
                Err(Error::KeyValue { file, key, found, wanted: "a number above 0" })
            }
            found => Ok(found as usize),
        }
    };
    if metadata.find::<u32>("llama.expert_count")?.unwrap_or(0) > 0 {
        return Err(unsupported("routed experts in the llama family".to_owned()));
    }
    let (width, heads) = (size("embedding_length", None)?, size("attention.head_count", None)?);
    let head_width = size("attention.key_length", Some((width / heads) as u32))?;
    let sizes = Sizes {
        layers: size("block_count", None)?,
        width,
        heads,
        kv_heads: size("attention.head_count_kv", Some(heads as u32))?,
        head_width,
        rotated: size("rope.dimension_count", Some(head_width as u32))?,
        value_width: size("attention.value_length", Some(head_width as u32))?,
        ffn_width: size("feed_forward_length", None)?,
        vocabulary: match metadata.find::<u32>("llama.vocab_size")? {
            Some(_) => size("vocab_size", None)?,
            None => metadata.get::<crate::formats::gguf::Strings<'_>>("tokenizer.ggml.tokens")?.len(),
        },
        context: size("context_length", None)?,
    };
    if sizes.rotated > head_width {
        let (file, key) = (metadata.file().clone(), "llama.rope.dimension_count".to_owned());
        let found = sizes.rotated.to_string();
        return Err(Error::KeyValue { file, key, found, wanted: "at most the width of a head" });
    }
    let scaling = match metadata.find::<&str>("llama.rope.scaling.type")? {
        None | Some("none") => Scaling::None,
        Some("linear") => Scaling::Linear(metadata.get("llama.rope.scaling.factor")?),
        Some(other) => return Err(unsupported(format!("rope scaling {other:?}"))),
    };
    Ok((sizes, scaling))
}
