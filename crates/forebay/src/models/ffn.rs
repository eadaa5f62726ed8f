//! The gated feed-forward network: a curve of one half times the other half.

use forebay_tensor::{
    Recorder, Weight,
    ops::{activate::Curve, gate::Gating},
};

use super::{
    Pass, Sizes,
    linear::{Linear, Of, To},
};
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
        Self::load_as(weights, layer, sizes, curve, "")
    }

    /// Takes the weights of a layer whose names have an ending.
    ///
    /// # Errors
    /// Those of [`Weights::take_weight`].
    pub fn load_as(
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        curve: Curve,
        ending: &str,
    ) -> Result<Self> {
        let Sizes { width, ffn_width, .. } = *sizes;
        let mut take =
            |name: &str, shape| Linear::load(weights, &format!("blk.{layer}.{name}{ending}"), shape);
        let (gate, up) = (take("ffn_gate", [ffn_width, width])?, take("ffn_up", [ffn_width, width])?);
        Ok(Self { gate, up, down: take("ffn_down", [width, ffn_width])?, curve })
    }

    /// Takes the weights of a layer that has one matrix for gate and rest, in this order.
    ///
    /// # Errors
    /// Those of [`Weights::take_rows`].
    pub fn load_joined(weights: &mut Weights, layer: usize, sizes: &Sizes, curve: Curve) -> Result<Self> {
        let (half, all) = (sizes.ffn_width, 2 * sizes.ffn_width);
        let mut take =
            |rows| Linear::load_rows(weights, &format!("blk.{layer}.ffn_up"), [all, sizes.width], rows);
        let (gate, up) = (take(0..half)?, take(half..all)?);
        let down = Linear::load(weights, &format!("blk.{layer}.ffn_down"), [sizes.width, sizes.ffn_width])?;
        Ok(Self { gate, up, down, curve })
    }

    /// The weights that multiply the network's input.
    pub fn readers(&self) -> [&Weight; 2] {
        [&self.gate.weight, &self.up.weight]
    }

    /// Records what the network makes of its input.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>, of: Of<'_>, to: To<'_>) -> Result<()> {
        let b = pass.buffers;
        of.gated(ops, b, [&self.gate, &self.up], Gating::Curve(self.curve))?;
        self.down.take(ops, b, &b.up, to)
    }
}
