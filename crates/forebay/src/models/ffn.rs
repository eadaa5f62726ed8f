//! The gated feed-forward network: a curve of one half times the other half.

use forebay_tensor::{
    Recorder,
    ops::{Gate, activate::Curve, gate::Gating},
};

use super::{Pass, Sizes, linear::Linear};
use crate::{error::Result, formats::weights::Weights};

/// The weights of one layer's network.
#[derive(Debug)]
pub struct GatedFfn {
    gate: Linear,
    up: Linear,
    down: Linear,
    curve: Curve,
}

impl GatedFfn {
    /// Takes the weights of a layer: a matrix each for gate and rest.
    ///
    /// # Errors
    /// Those of [`Weights::take_weight`].
    pub fn load(weights: &mut Weights, layer: usize, sizes: &Sizes, curve: Curve) -> Result<Self> {
        let shape = [sizes.ffn_width, sizes.width];
        let gate = Linear::load(weights, &format!("blk.{layer}.ffn_gate"), shape)?;
        let up = Linear::load(weights, &format!("blk.{layer}.ffn_up"), shape)?;
        Self::with(weights, layer, sizes, [gate, up], curve)
    }

    /// Takes the weights of a layer that has one matrix for gate and rest, in this order.
    ///
    /// # Errors
    /// Those of [`Weights::take_rows`].
    pub fn load_joined(weights: &mut Weights, layer: usize, sizes: &Sizes, curve: Curve) -> Result<Self> {
        let (half, all) = (sizes.ffn_width, 2 * sizes.ffn_width);
        let mut take =
            |rows| Linear::load_rows(weights, &format!("blk.{layer}.ffn_up"), [all, sizes.width], rows);
        let inputs = [take(0..half)?, take(half..all)?];
        Self::with(weights, layer, sizes, inputs, curve)
    }

    fn with(
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        [gate, up]: [Linear; 2],
        curve: Curve,
    ) -> Result<Self> {
        let down = Linear::load(weights, &format!("blk.{layer}.ffn_down"), [sizes.width, sizes.ffn_width])?;
        Ok(Self { gate, up, down, curve })
    }

    /// Records what the network adds to the hidden state: from `normed` to `change`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let b = pass.buffers;
        b.normed.round(ops, &[&self.gate.weight, &self.up.weight])?;
        self.gate.forward(ops, &b.normed, &b.gate)?;
        self.up.forward(ops, &b.normed, &b.up.floats)?;
        ops.record(&Gate { gate: &b.gate, up: &b.up.floats, gating: Gating::Curve(self.curve) })?;
        b.up.round(ops, &[&self.down.weight])?;
        self.down.forward(ops, &b.up, &b.change)
    }
}
