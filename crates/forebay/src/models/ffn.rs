//! The feed-forward network with a SiLU gate.

use forebay_tensor::{
    Recorder, Weight,
    ops::{Gate, Matmul, activate::Curve, gate::Gating},
};

use super::{Pass, Sizes};
use crate::{error::Result, formats::weights::Weights};

/// The weights of one layer's network.
#[derive(Debug)]
pub struct GatedFfn {
    gate: Weight,
    up: Weight,
    down: Weight,
}

impl GatedFfn {
    /// Takes the weights of a layer.
    ///
    /// # Errors
    /// Those of [`Weights::take`].
    pub fn load(weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        let mut take = |name: &str, rows: usize, columns: usize| {
            weights.take_weight(&format!("blk.{layer}.{name}.weight"), [rows, columns])
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
        b.normed.round(ops, &[&self.gate, &self.up])?;
        ops.record(&Matmul { weight: &self.gate, x: b.normed.of(&self.gate), out: &b.gate })?;
        ops.record(&Matmul { weight: &self.up, x: b.normed.of(&self.up), out: &b.up.floats })?;
        ops.record(&Gate { gate: &b.gate, up: &b.up.floats, gating: Gating::Curve(Curve::Silu) })?;
        b.up.round(ops, &[&self.down])?;
        ops.record(&Matmul { weight: &self.down, x: b.up.of(&self.down), out: &b.change })?;
        Ok(())
    }
}
