//! Self-attention with grouped heads and rotary positions, as most families have it.

use forebay_tensor::{
    Recorder, Tensor,
    ops::{
        Append, Attention, Copy, Enter, Gate, Recall, activate::Curve, attention::Sight, gate::Gating, recall,
    },
};

use super::{
    Pass, Sizes,
    cache::{Keeps, KeysValues},
    linear::{Linear, Of, To},
    norm::Norm,
    rotary::Rotary,
};
use crate::{error::Result, formats::weights::Weights};

/// The weights of one layer's attention.
#[derive(Debug)]
pub struct SelfAttention {
    layer: usize,
    /// With a gate behind each head, where attention has gates.
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Norms of each head of queries and keys.
    head_norms: Option<[Norm; 2]>,
    scale: f32,
    sight: Sight,
    softcap: Option<f32>,
    sinks: Option<Tensor>,
}

impl SelfAttention {
    /// Takes the weights of a layer: a matrix each for queries, keys and values, or one for all, with biases where there are
    /// any. Where attention has gates, those of a head follow its queries.
    ///
    /// # Errors
    /// Those of [`Weights::take_weight`].
    pub fn load(weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        if weights.has(&format!("blk.{layer}.attn_qkv.weight")) {
            return Self::load_joined(weights, layer, sizes);
        }
        let mut take = |name: &str, rows: usize| {
            Linear::load(weights, &format!("blk.{layer}.{name}"), [rows, sizes.width])
        };
        let [queries, keys, values] = rows_of(sizes);
        let inputs = [take("attn_q", queries)?, take("attn_k", keys)?, take("attn_v", values)?];
        Self::with(weights, layer, sizes, inputs)
    }

    /// Takes the weights of a layer that has one matrix for queries, keys and values, in this order.
    ///
    /// # Errors
    /// Those of [`Weights::take_rows`].
    pub fn load_joined(weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        let [queries, keys, values] = rows_of(sizes);
        let (values_from, all) = (queries + keys, queries + keys + values);
        let mut take =
            |rows| Linear::load_rows(weights, &format!("blk.{layer}.attn_qkv"), [all, sizes.width], rows);
        let inputs = [take(0..queries)?, take(queries..values_from)?, take(values_from..all)?];
        Self::with(weights, layer, sizes, inputs)
    }

    fn with(
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        [query, key, value]: [Linear; 3],
    ) -> Result<Self> {
        let shape = [sizes.width, sizes.heads * sizes.value_width];
        let output = Linear::load(weights, &format!("blk.{layer}.attn_output"), shape)?;
        let scale = 1.0 / (sizes.head_width as f32).sqrt();
        let (head_norms, sight, softcap, sinks) = (None, Sight::Before, None, None);
        Ok(Self { layer, query, key, value, output, head_norms, scale, sight, softcap, sinks })
    }

    /// Takes the norms of each head of queries and keys.
    ///
    /// # Errors
    /// Those of [`Norm::load`].
    pub fn head_norms(
        mut self,
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        epsilon: f32,
    ) -> Result<Self> {
        let mut take =
            |name: &str| Norm::load(weights, &format!("blk.{layer}.{name}"), sizes.head_width, epsilon);
        self.head_norms = Some([take("attn_q_norm")?, take("attn_k_norm")?]);
        Ok(self)
    }

    /// Takes the score of each head that weighs in but brings no value.
    ///
    /// # Errors
    /// Those of [`Weights::take_f32`].
    pub fn sinks(mut self, weights: &mut Weights, layer: usize, sizes: &Sizes) -> Result<Self> {
        self.sinks = Some(weights.take_f32(&format!("blk.{layer}.attn_sinks.weight"), &[sizes.heads])?);
        Ok(self)
    }

    /// Multiplies scores by this instead of one over the root of a head's width.
    #[must_use]
    pub fn scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Sees other positions than all before.
    #[must_use]
    pub fn sight(mut self, sight: Sight) -> Self {
        self.sight = sight;
        self
    }

    /// Bends scores to stay below a cap.
    #[must_use]
    pub fn softcap(mut self, cap: Option<f32>) -> Self {
        self.softcap = cap;
        self
    }

    /// What it keeps of a position.
    pub fn keeps(&self) -> Keeps {
        match self.sight {
            Sight::Window(window) => Keeps::Window(window),
            _ => Keeps::All,
        }
    }

    /// Records what the layer's attention adds to the hidden state.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(
        &self,
        ops: &mut Recorder<'_, '_>,
        pass: &Pass<'_>,
        rotary: &Rotary,
        norm: &Norm,
        to: To<'_>,
    ) -> Result<()> {
        let (b, positions, cache) = (pass.buffers, pass.positions, pass.cache.keys_values(self.layer)?);
        let queries = b.gates.as_ref().map_or(&b.queries, |gates| &gates.joined);
        let inputs = [flat(queries)?, flat(&b.keys)?, flat(&b.values)?];
        Of::Hidden(norm).maps(ops, b, &[&self.query, &self.key, &self.value], &inputs.each_ref())?;
        if let Some(gates) = &b.gates {
            let width = b.queries.shape()[2];
            let part = |columns| gates.joined.narrow(2, columns);
            ops.record(&Copy { x: &part(0..width)?, out: &b.queries })?;
            ops.record(&Copy { x: &part(width..2 * width)?, out: &gates.gate })?;
        }
        let attended = heads_of(&b.attended.floats, &b.queries)?;
        let enter = self.entering(pass, cache, rotary);
        let recall = Recall {
            sight: self.sight,
            softcap: self.softcap,
            sinks: self.sinks.as_ref(),
            room: b.arrivals.as_ref().map(|arrivals| recall::Room { records: &b.parts, arrivals }),
            early: b.gates.is_none() && self.output.is_one_launch(&b.attended),
            ..Recall::new(enter, self.scale, &attended)
        };
        if ops.serve(&recall) {
            ops.record(&recall)?;
        } else {
            self.enter(ops, pass, rotary, &enter)?;
            ops.record(&Attention {
                places: pass.places,
                sight: self.sight,
                softcap: self.softcap,
                sinks: self.sinks.as_ref(),
                parts: Some(&b.parts),
                ..Attention::new(&b.queries, &cache.keys, &cache.values, positions, self.scale, &attended)
            })?;
        }
        if let Some(gates) = &b.gates {
            ops.record(&Gate { gate: &gates.gate, up: &attended, gating: Gating::Curve(Curve::Sigmoid) })?;
        }
        self.output.take(ops, b, &b.attended, to)
    }
}

impl SelfAttention {
    /// What comes between the maps and attention: norms of heads, their turns, and what the cache keeps.
    fn entering<'a>(&'a self, pass: &'a Pass<'_>, cache: &'a KeysValues, rotary: &Rotary) -> Enter<'a> {
        let b = pass.buffers;
        Enter {
            q: &b.queries,
            k: &b.keys,
            v: &b.values,
            norms: self.head_norms.as_ref().map(|norms| norms.each_ref().map(Norm::scaling)),
            angles: &b.angles,
            pairs: rotary.pairs(),
            positions: pass.positions,
            places: pass.places,
            keys: &cache.keys,
            values: &cache.values,
            ring: cache.ring,
        }
    }

    /// Records it, as one op where there is one.
    fn enter(
        &self,
        ops: &mut Recorder<'_, '_>,
        pass: &Pass<'_>,
        rotary: &Rotary,
        enter: &Enter<'_>,
    ) -> Result<()> {
        if ops.serve(enter) {
            return Ok(ops.record(enter)?);
        }
        let (b, Enter { positions, places, keys, values, ring, .. }) = (pass.buffers, *enter);
        if let Some([queries, keys]) = &self.head_norms {
            queries.in_place(ops, &b.queries)?;
            keys.in_place(ops, &b.keys)?;
        }
        rotary.forward(ops, pass, &b.queries)?;
        rotary.forward(ops, pass, &b.keys)?;
        ops.record(&Append { x: &b.keys, positions, places, cache: keys, ring })?;
        Ok(ops.record(&Append { x: &b.values, positions, places, cache: values, ring })?)
    }
}

/// Rows of the matrices for queries, keys and values.
fn rows_of(sizes: &Sizes) -> [usize; 3] {
    let Sizes { heads, kv_heads, head_width, value_width, gated, .. } = *sizes;
    [heads * head_width * if gated { 2 } else { 1 }, kv_heads * head_width, kv_heads * value_width]
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
