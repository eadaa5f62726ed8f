//! The plain decoder: layers that each add attention and a gated network to the hidden state, with a norm before both.
//!
//! Llama's, and that of the families that changed only what is inside those blocks.

use forebay_tensor::{
    Recorder, Weight,
    ops::{Add, Embed},
};

use super::{
    Model, Pass, Sizes, attention::SelfAttention, ffn::GatedFfn, head::Head, norm::Norm, rotary::Rotary,
};
use crate::{error::Result, formats::weights::Weights};

/// A plain decoder.
#[derive(Debug)]
pub struct Decoder {
    sizes: Sizes,
    rotary: Rotary,
    embedding: Weight,
    layers: Vec<Layer>,
    head: Head,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: SelfAttention,
    ffn_norm: Norm,
    ffn: GatedFfn,
}

impl Decoder {
    /// Takes the weights that all of these families have; `blocks` takes those inside a layer.
    ///
    /// # Errors
    /// Those of weights that are missing, too many or of other shapes.
    pub fn load(
        mut weights: Weights,
        sizes: Sizes,
        epsilon: f32,
        rotary: Rotary,
        blocks: impl Fn(&mut Weights, usize) -> Result<(SelfAttention, GatedFfn)>,
    ) -> Result<Self> {
        let Sizes { width, vocabulary, .. } = sizes;
        let embedding = weights.take_weight("token_embd.weight", [vocabulary, width])?;
        let head = Head::load(&mut weights, &sizes, &embedding, epsilon)?;
        let layer = |layer| {
            let mut norm =
                |name: &str| Norm::load(&mut weights, &format!("blk.{layer}.{name}"), width, epsilon);
            let (attention_norm, ffn_norm) = (norm("attn_norm")?, norm("ffn_norm")?);
            let (attention, ffn) = blocks(&mut weights, layer)?;
            Ok(Layer { attention_norm, attention, ffn_norm, ffn })
        };
        let layers = (0..sizes.layers).map(layer).collect::<Result<_>>()?;
        weights.finish()?;
        Ok(Self { sizes, rotary, embedding, layers, head })
    }
}

impl Model for Decoder {
    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        self.rotary.angles(ops, pass)?;
        ops.record(&Embed { table: &self.embedding, ids: pass.ids, out: &b.hidden })?;
        for (layer, cache) in self.layers.iter().zip(pass.kv.layers()) {
            layer.attention_norm.forward(ops, &b.hidden, &b.normed.floats)?;
            layer.attention.forward(ops, pass, &self.rotary, cache)?;
            ops.record(&Add { x: &b.hidden, y: &b.change })?;

            layer.ffn_norm.forward(ops, &b.hidden, &b.normed.floats)?;
            layer.ffn.forward(ops, pass)?;
            ops.record(&Add { x: &b.hidden, y: &b.change })?;
        }
        self.head.forward(ops, pass)
    }
}
