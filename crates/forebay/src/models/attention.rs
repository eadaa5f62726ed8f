//! Self-attention with grouped heads and rotary positions, as most families have it.

use forebay_device::Device;
use forebay_tensor::{
    Recorder, Tensor, Weight,
    ops::{Angles, Append, Attention, Matmul, Rope, angles::Frequencies, rope::Pairs},
};

use super::{Pass, Sizes, kv::LayerCache};
use crate::{error::Result, formats::weights::Weights};

/// Rotary positions: the same for all layers.
#[derive(Clone, Debug)]
pub struct Rotary {
    frequencies: Tensor,
    magnitude: f32,
    pairs: Pairs,
}

impl Rotary {
    /// Puts a table onto a device.
    ///
    /// # Errors
    /// What the device says.
    pub fn new(device: &Device, table: &Frequencies, pairs: Pairs) -> Result<Self> {
        let frequencies = Tensor::from_slice(device, &[table.radians.len()], &table.radians)?;
        Ok(Self { frequencies, magnitude: table.magnitude, pairs })
    }

    /// Records the angles of a pass, which all its layers use.
    ///
    /// # Errors
    /// Those of recording.
    pub fn angles(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let magnitude = self.magnitude;
        ops.record(&Angles {
            magnitude,
            ..Angles::new(pass.positions, &self.frequencies, &pass.buffers.angles)
        })?;
        Ok(())
    }
}

/// The weights of one layer's attention.
#[derive(Debug)]
pub struct SelfAttention {
    query: Weight,
    key: Weight,
    value: Weight,
    output: Weight,
    scale: f32,
}

impl SelfAttention {
    /// Takes the weights of a layer.
    ///
    /// # Errors
    /// Those of [`Weights::take`].
    pub fn load(weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        let mut take = |name: &str, rows: usize, columns: usize| {
            weights.take_weight(&format!("blk.{layer}.{name}.weight"), [rows, columns])
        };
        let Sizes { width, heads, kv_heads, head_width, value_width, .. } = *sizes;
        Ok(Self {
            query: take("attn_q", heads * head_width, width)?,
            key: take("attn_k", kv_heads * head_width, width)?,
            value: take("attn_v", kv_heads * value_width, width)?,
            output: take("attn_output", width, heads * value_width)?,
            scale: 1.0 / (head_width as f32).sqrt(),
        })
    }

    /// Records what the layer's attention adds to the hidden state: from `normed` to `change`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(
        &self,
        ops: &mut Recorder<'_, '_>,
        pass: &Pass<'_>,
        rotary: &Rotary,
        cache: &LayerCache,
    ) -> Result<()> {
        let (b, positions) = (pass.buffers, pass.positions);
        b.normed.round(ops, &[&self.query, &self.key, &self.value])?;
        for (weight, out) in [(&self.query, &b.queries), (&self.key, &b.keys), (&self.value, &b.values)] {
            ops.record(&Matmul { weight, x: b.normed.of(weight), out: &flat(out)? })?;
        }
        for x in [&b.queries, &b.keys] {
            ops.record(&Rope { x, angles: &b.angles, pairs: rotary.pairs })?;
        }
        ops.record(&Append { x: &b.keys, positions, cache: &cache.keys, ring: false })?;
        ops.record(&Append { x: &b.values, positions, cache: &cache.values, ring: false })?;
        let attended = heads_of(&b.attended.floats, &b.queries)?;
        ops.record(&Attention {
            parts: Some(&b.parts),
            ..Attention::new(&b.queries, &cache.keys, &cache.values, positions, self.scale, &attended)
        })?;
        b.attended.round(ops, &[&self.output])?;
        ops.record(&Matmul { weight: &self.output, x: b.attended.of(&self.output), out: &b.change })?;
        Ok(())
    }
}

/// The rows of what attention gives, head by head.
fn heads_of(flat: &Tensor, queries: &Tensor) -> Result<Tensor> {
    let [rows, heads] = [flat.shape()[0], queries.shape()[1]];
    Ok(flat.reshape(&[rows, heads, flat.shape()[1] / heads])?)
}

/// All heads of a position as one row.
fn flat(heads: &Tensor) -> Result<Tensor> {
    let [rows, count, width] = [heads.shape()[0], heads.shape()[1], heads.shape()[2]];
    Ok(heads.reshape(&[rows, count * width])?)
}
