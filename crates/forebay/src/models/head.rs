//! The end of a model: the last norm, and the logits of the last rows.

use forebay_tensor::{Recorder, Weight, ops::Softcap};

use super::{
    Pass, Sizes,
    linear::{Linear, To},
    norm::Norm,
};
use crate::{error::Result, formats::weights::Weights};

/// The last norm, and a row for each token of the vocabulary.
#[derive(Debug)]
pub struct Head {
    norm: Norm,
    output: Linear,
    softcap: Option<f32>,
}

impl Head {
    /// Takes the weights; where the file has none for the output, the embedding serves for both, which is taken once more
    /// unless it is on the same device.
    ///
    /// # Errors
    /// Those of [`Weights::take_weight`].
    pub fn load(
        weights: &mut Weights,
        sizes: &Sizes,
        embedding: Option<&Weight>,
        epsilon: f32,
    ) -> Result<Self> {
        let shape = [sizes.vocabulary, sizes.width];
        let output = match (weights.has("output.weight"), embedding) {
            (true, _) => weights.take_weight("output.weight", shape)?,
            (false, Some(embedding)) => embedding.clone(),
            (false, None) => weights.take_weight("token_embd.weight", shape)?,
        };
        let norm = Norm::load(weights, "output_norm", sizes.width, epsilon)?;
        Ok(Self { norm, output: output.into(), softcap: None })
    }

    /// Bends logits to stay below a cap.
    #[must_use]
    pub fn softcap(mut self, cap: Option<f32>) -> Self {
        self.softcap = cap;
        self
    }

    /// Records the logits of the last rows of the hidden state.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        let last = b.rows() - b.logits.shape()[0]..b.rows();
        let (hidden, normed) = (b.hidden.narrow(0, last.clone())?, b.normed.rows(last)?);
        self.norm.forward(ops, &hidden, &normed.floats)?;
        self.output.take(ops, b, &normed, To::Out(&b.logits))?;
        match self.softcap {
            Some(cap) => Ok(ops.record(&Softcap { x: &b.logits, cap })?),
            None => Ok(()),
        }
    }
}
