//! The plain decoder: layers that each add what other positions tell and what a network makes of it to the hidden state,
//! with a norm before both.
//!
//! Llama's, and that of the families that changed only what is inside those blocks.

use forebay_tensor::{
    Recorder, Weight,
    ops::{Add, Embed},
};

use super::{
    Model, Pass, Sizes,
    attention::SelfAttention,
    cache::Keeps,
    delta::DeltaNet,
    ffn::GatedFfn,
    head::Head,
    linear::{Of, To},
    moe::RoutedFfn,
    norm::Norm,
    rotary::{Rotary, Rotation},
};
use crate::{
    error::Result,
    formats::{placement::Leg, weights::Weights},
};

/// A plain decoder.
#[derive(Debug)]
pub struct Decoder {
    sizes: Sizes,
    legs: Vec<Leg>,
    /// One for each leg.
    rotaries: Vec<Rotary>,
    embedding: Weight,
    layers: Vec<Layer>,
    head: Head,
}

#[derive(Debug)]
struct Layer {
    mixer_norm: Norm,
    mixer: Mixer,
    ffn_norm: Norm,
    ffn: Ffn,
}

/// The block that looks at other positions.
#[derive(Debug)]
pub enum Mixer {
    /// Attention.
    Attention(Box<SelfAttention>),
    /// A delta network.
    Delta(Box<DeltaNet>),
}

/// The block that looks at one position only.
#[derive(Debug)]
pub enum Ffn {
    /// One network for all positions.
    Gated(Box<GatedFfn>),
    /// Experts.
    Routed(Box<RoutedFfn>),
}

/// What a family puts into a layer.
#[derive(Debug)]
pub struct Blocks {
    mixer: Mixer,
    ffn_norm: &'static str,
    ffn: Ffn,
}

impl From<SelfAttention> for Mixer {
    fn from(attention: SelfAttention) -> Self {
        Self::Attention(attention.into())
    }
}

impl From<DeltaNet> for Mixer {
    fn from(delta: DeltaNet) -> Self {
        Self::Delta(delta.into())
    }
}

impl From<GatedFfn> for Ffn {
    fn from(ffn: GatedFfn) -> Self {
        Self::Gated(ffn.into())
    }
}

impl From<RoutedFfn> for Ffn {
    fn from(ffn: RoutedFfn) -> Self {
        Self::Routed(ffn.into())
    }
}

impl Blocks {
    /// The two blocks of a layer.
    pub fn new(mixer: impl Into<Mixer>, ffn: impl Into<Ffn>) -> Self {
        Self { mixer: mixer.into(), ffn_norm: "ffn_norm", ffn: ffn.into() }
    }

    /// The norm between them goes by another name.
    #[must_use]
    pub fn ffn_norm(mut self, name: &'static str) -> Self {
        self.ffn_norm = name;
        self
    }
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
        rotation: Rotation,
        blocks: impl Fn(&mut Weights, usize) -> Result<Blocks>,
    ) -> Result<Self> {
        let Sizes { width, vocabulary, .. } = sizes;
        let legs = weights.lay_out(sizes.layers)?;
        let rotaries = weights.on_each(&legs, |weights| rotation.on(weights))?;
        let embedding = weights.take_weight("token_embd.weight", [vocabulary, width])?;
        let layer = |weights: &mut Weights, layer| {
            let Blocks { mixer, ffn_norm, ffn } = blocks(weights, layer)?;
            let mut norm = |name: &str| Norm::load(weights, &format!("blk.{layer}.{name}"), width, epsilon);
            Ok(Layer { mixer_norm: norm("attn_norm")?, mixer, ffn_norm: norm(ffn_norm)?, ffn })
        };
        let layers = weights.take_layers(&legs, layer)?;
        let embedding_there = (legs.len() == 1).then_some(&embedding);
        let head = Head::load(&mut weights, &sizes, embedding_there, epsilon)?;
        weights.finish()?;
        Ok(Self { sizes, legs, rotaries, embedding, layers, head })
    }
}

impl Model for Decoder {
    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn keeps(&self) -> Vec<Keeps> {
        let keeps = |layer: &Layer| match &layer.mixer {
            Mixer::Attention(attention) => attention.keeps(),
            Mixer::Delta(delta) => delta.keeps(),
        };
        self.layers.iter().map(keeps).collect()
    }

    fn legs(&self) -> &[Leg] {
        &self.legs
    }

    fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        let (leg, layers) = pass.leg(&self.legs)?;
        let rotary = &self.rotaries[leg];
        rotary.angles(ops, pass)?;
        if layers.start == 0 {
            ops.record(&Embed { table: &self.embedding, ids: pass.ids, out: &b.hidden })?;
        }
        for layer in &self.layers[layers.clone()] {
            let Layer { mixer_norm, mixer, ffn_norm, ffn } = layer;
            match mixer {
                Mixer::Attention(attention) => {
                    attention.forward(ops, pass, rotary, mixer_norm, To::Hidden)?;
                }
                Mixer::Delta(delta) => {
                    mixer_norm.forward(ops, &b.hidden, &b.normed.floats)?;
                    delta.forward(ops, pass)?;
                }
            }
            match ffn {
                Ffn::Gated(ffn) => ffn.forward(ops, pass, Of::Hidden(ffn_norm), To::Hidden)?,
                Ffn::Routed(ffn) => {
                    ffn_norm.forward(ops, &b.hidden, &b.normed.floats)?;
                    ffn.forward(ops, pass)?;
                    ops.record(&Add { x: &b.hidden, y: &b.change })?;
                }
            }
        }
        if layers.end == self.layers.len() { self.head.forward(ops, pass) } else { Ok(()) }
    }
}
