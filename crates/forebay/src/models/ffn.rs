//! The feed-forward network with a SiLU gate.

use forebay_tensor::{
    Recorder, Tensor,
    ops::{Gate, Matmul, activate::Curve, gate::Gating},
};

use super::{Pass, Sizes};
use crate::{error::Result, formats::weights::Weights};

/// The weights of one layer's network.
#[derive(Debug)]
pub struct GatedFfn {
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

impl GatedFfn {
    /// Takes the weights of a layer.
    ///
    /// # Errors
    /// Those of [`Weights::take`].
    pub fn load(weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        let mut take = |name: &str, rows: usize, columns: usize| {
            weights.take(&format!("blk.{layer}.{name}.weight"), &[rows, columns])
        };
        Ok(Self {
            gate: take("ffn_gate", sizes.ffn_width, sizes.width)?,
            up: take("ffn_up", sizes.ffn_width, sizes.width)?,
            down: take("ffn_down", sizes.width, sizes.ffn_width)?,
        })
    }

    /// Records what the network adds to the hidden state: from `normed` to `change`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        ops.record(&Matmul { weight: &self.gate, x: &b.normed, out: &b.gate })?;
        ops.record(&Matmul { weight: &self.up, x: &b.normed, out: &b.up })?;
        ops.record(&Gate { gate: &b.gate, up: &b.up, gating: Gating::Curve(Curve::Silu) })?;
        ops.record(&Matmul { weight: &self.down, x: &b.up, out: &b.change })?;
        Ok(())
    }
}
