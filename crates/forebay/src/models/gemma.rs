//! The decoder of Gemma 2 and 3: norms before and after every block, a scaled embedding, and windows in most layers.

use forebay_tensor::{
    Recorder, Weight,
    ops::{Add, Embed, Scale, activate::Curve},
};

use super::{
    Model, Pass, Sizes,
    attention::SelfAttention,
    cache::Keeps,
    ffn::GatedFfn,
    head::Head,
    linear::{Of, To},
    norm::Norm,
    rotary::{Rotary, Rotation},
};
use crate::{
    error::Result,
    formats::{placement::Leg, weights::Weights},
};

/// A decoder of these families.
#[derive(Debug)]
pub struct Gemma {
    sizes: Sizes,
    legs: Vec<Leg>,
    /// Those of the model for each leg.
    rotaries: Vec<Vec<Rotary>>,
    embedding: Weight,
    layers: Vec<Layer>,
    head: Head,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: SelfAttention,
    /// Which of the model's positions.
    rotary: usize,
    attention_after: Norm,
    ffn_norm: Norm,
    ffn: GatedFfn,
    ffn_after: Norm,
}

impl Gemma {
    /// Takes the weights that both families have; `attention` takes those of a layer's attention, and says which of the
    /// positions it goes by.
    ///
    /// # Errors
    /// Those of weights that are missing, too many or of other shapes.
    pub fn load(
        mut weights: Weights,
        sizes: Sizes,
        epsilon: f32,
        softcap: Option<f32>,
        rotations: &[Rotation],
        attention: impl Fn(&mut Weights, usize) -> Result<(SelfAttention, usize)>,
    ) -> Result<Self> {
        let Sizes { width, vocabulary, .. } = sizes;
        let legs = weights.lay_out(sizes.layers)?;
        let on = |weights: &Weights| rotations.iter().map(|rotation| rotation.on(weights)).collect();
        let rotaries = weights.on_each(&legs, on)?;
        let embedding = weights.take_weight("token_embd.weight", [vocabulary, width])?;
        let layer = |weights: &mut Weights, layer| {
            let mut norm = |name: &str| Norm::load(weights, &format!("blk.{layer}.{name}"), width, epsilon);
            let (attention_norm, attention_after) = (norm("attn_norm")?, norm("post_attention_norm")?);
            let (ffn_norm, ffn_after) = (norm("ffn_norm")?, norm("post_ffw_norm")?);
            let (attention, rotary) = attention(weights, layer)?;
            let ffn = GatedFfn::load(weights, layer, &sizes, Curve::GeluTanh)?;
            Ok(Layer { attention_norm, attention, rotary, attention_after, ffn_norm, ffn, ffn_after })
        };
        let layers = weights.take_layers(&legs, layer)?;
        let embedding_there = (legs.len() == 1).then_some(&embedding);
        let head = Head::load(&mut weights, &sizes, embedding_there, epsilon)?.softcap(softcap);
        weights.finish()?;
        Ok(Self { sizes, legs, rotaries, embedding, layers, head })
    }
}

impl Model for Gemma {
    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn keeps(&self) -> Vec<Keeps> {
        self.layers.iter().map(|layer| layer.attention.keeps()).collect()
    }

    fn legs(&self) -> &[Leg] {
        &self.legs
    }

    fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        let (leg, layers) = pass.leg(&self.legs)?;
        if layers.start == 0 {
            ops.record(&Embed { table: &self.embedding, ids: pass.ids, out: &b.hidden })?;
            ops.record(&Scale { x: &b.hidden, factor: (self.sizes.width as f32).sqrt() })?;
        }
        let mut turned = None;
        for layer in &self.layers[layers.clone()] {
            let rotary = &self.rotaries[leg][layer.rotary];
            if turned.replace(layer.rotary) != Some(layer.rotary) {
                rotary.angles(ops, pass)?;
            }
            let change = To::Out(&b.change);
            layer.attention.forward(ops, pass, rotary, &layer.attention_norm, change)?;
            layer.attention_after.in_place(ops, &b.change)?;
            ops.record(&Add { x: &b.hidden, y: &b.change })?;

            layer.ffn.forward(ops, pass, Of::Hidden(&layer.ffn_norm), change)?;
            layer.ffn_after.in_place(ops, &b.change)?;
            ops.record(&Add { x: &b.hidden, y: &b.change })?;
        }
        if layers.end == self.layers.len() { self.head.forward(ops, pass) } else { Ok(()) }
    }
}

/// What scores are multiplied by: one over the root of a head's width, but in the largest model of each family, which
/// has `largest` layers, of the share of the hidden state that a head has.
pub(super) fn scale(sizes: &Sizes, largest: usize) -> f32 {
    let width = if sizes.layers == largest { sizes.width / sizes.heads } else { sizes.head_width };
    1.0 / (width as f32).sqrt()
}
