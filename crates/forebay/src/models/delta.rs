//! The gated delta network: instead of keys and values it keeps one matrix a head, which forgets a little at every position
//! and is corrected towards the new value.
//!
//! Queries, keys and values each go through a short convolution along time, as if they were matrices of their own.

use std::ops::Range;

use forebay_tensor::{
    Recorder, Tensor,
    ops::{
        Activate, Add, CausalConv, Copy, GatedDelta, GatedNorm, L2Norm, Mul, activate::Curve,
        gated_delta::Heads,
    },
};

use super::{
    Pass, Sizes,
    activations::DeltaBuffers,
    cache::Keeps,
    linear::{Linear, To},
};
use crate::{
    error::{Error, Result},
    formats::weights::Weights,
};

/// The sizes of delta networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaSizes {
    /// Inputs that a convolution looks at.
    pub taps: usize,
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values, a multiple of those of keys.
    pub value_heads: usize,
    /// Width of a head of queries and keys.
    pub key_width: usize,
    /// Width of a head of values.
    pub value_width: usize,
}

impl DeltaSizes {
    /// Columns of queries, keys and values.
    pub fn channels(&self) -> [usize; 3] {
        let keys = self.key_heads * self.key_width;
        [keys, keys, self.value_heads * self.value_width]
    }
}

/// How a family's files lay out what differs between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaLayout {
    /// Which head of keys a head of values uses.
    pub heads: Heads,
    /// Corrections and decays come from one matrix: for each head of keys, the corrections of its heads of values, then
    /// their decays.
    pub joined: bool,
}

/// The weights of one layer's delta network.
#[derive(Debug)]
pub struct DeltaNet {
    layer: usize,
    sizes: DeltaSizes,
    heads: Heads,
    /// Of queries, keys and values.
    inputs: [Convolved; 3],
    gate: Linear,
    rates: Rates,
    /// For each head of values, what its decays are multiplied by, and what is added before.
    decay: [Tensor; 2],
    norm: Tensor,
    epsilon: f32,
    output: Linear,
}

/// A linear map whose results go through a convolution.
#[derive(Debug)]
struct Convolved {
    linear: Linear,
    taps: Tensor,
}

/// Where corrections and decays come from.
#[derive(Debug)]
enum Rates {
    /// Corrections, then decays.
    Apart(Box<[Linear; 2]>),
    Joined(Box<Linear>),
}

impl DeltaNet {
    /// Takes the weights of a layer.
    ///
    /// # Errors
    /// Those of [`Weights::take_rows`] and [`Weights::take_f32`].
    pub fn load(
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        layout: DeltaLayout,
        epsilon: f32,
    ) -> Result<Self> {
        let delta = sizes.delta.ok_or(Error::OtherModel { what: "sizes" })?;
        let DeltaSizes { taps, value_heads, value_width, .. } = delta;
        let [keys, _, values] = delta.channels();
        let all = 2 * keys + values;
        let name = |name: &str| format!("blk.{layer}.{name}");

        let kernel = weights.take_f32(&name("ssm_conv1d.weight"), &[all, taps])?;
        let mut input = |rows: Range<usize>| -> Result<Convolved> {
            let taps = kernel.narrow(0, rows.clone())?;
            let shape = [all, sizes.width];
            Ok(Convolved { linear: Linear::load_rows(weights, &name("attn_qkv"), shape, rows)?, taps })
        };
        let inputs = [input(0..keys)?, input(keys..2 * keys)?, input(2 * keys..all)?];
        let mut take = |of: &str, rows| Linear::load(weights, &name(of), [rows, sizes.width]);
        let gate = take("attn_gate", values)?;
        let rates = match layout.joined {
            true => Rates::Joined(take("ssm_ba", 2 * value_heads)?.into()),
            false => Rates::Apart([take("ssm_beta", value_heads)?, take("ssm_alpha", value_heads)?].into()),
        };
        let decay = [
            weights.take_f32(&name("ssm_a"), &[value_heads])?,
            weights.take_f32(&name("ssm_dt.bias"), &[value_heads])?,
        ];
        let norm = weights.take_f32(&name("ssm_norm.weight"), &[value_width])?;
        let output = Linear::load(weights, &name("ssm_out"), [sizes.width, values])?;
        let heads = layout.heads;
        Ok(Self { layer, sizes: delta, heads, inputs, gate, rates, decay, norm, epsilon, output })
    }

    /// What it keeps of a position.
    pub fn keeps(&self) -> Keeps {
        Keeps::States(self.sizes)
    }

    /// Records what the network adds to the hidden state, from `normed`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let (b, d, states) = (pass.buffers, pass.buffers.delta()?, pass.cache.states(self.layer)?);
        let [queries, keys, values] = &self.inputs;
        let [one, other] = self.rates.readers();
        let readers = [&queries.linear, &keys.linear, &values.linear, &self.gate, one, other];
        b.normed.round(ops, &readers.map(|linear| &linear.weight))?;
        for (i, Convolved { linear, taps }) in self.inputs.iter().enumerate() {
            let (x, state, out) = (&d.before[i], &states.inputs[i], flat(&d.heads[i])?);
            linear.forward(ops, &b.normed, x)?;
            ops.record(&CausalConv { x, weight: taps, bias: None, state, silu: true, out: &out })?;
        }
        let [q, k, v] = &d.heads;
        for x in [q, k] {
            ops.record(&L2Norm { x, epsilon: self.epsilon })?;
        }

        self.rates.forward(ops, pass, d, &self.sizes)?;
        ops.record(&Activate { x: &d.corrections, curve: Curve::Sigmoid })?;
        let [factor, bias] = &self.decay;
        ops.record(&Add { x: &d.decays, y: bias })?;
        ops.record(&Activate { x: &d.decays, curve: Curve::Softplus })?;
        ops.record(&Mul { x: &d.decays, y: factor })?;

        let answers = d.answers.floats.reshape(v.shape())?;
        let scale = 1.0 / (self.sizes.key_width as f32).sqrt();
        let (decay, beta, state) = (&d.decays, &d.corrections, &states.matrices);
        ops.record(&GatedDelta { q, k, v, decay, beta, heads: self.heads, scale, state, out: &answers })?;

        self.gate.forward(ops, &b.normed, &d.gate)?;
        let (gate, weight, epsilon) = (d.gate.reshape(v.shape())?, &self.norm, self.epsilon);
        ops.record(&GatedNorm { x: &answers, weight, gate: &gate, epsilon })?;
        self.output.take(ops, b, &d.answers, To::Hidden)
    }
}

impl Rates {
    fn readers(&self) -> [&Linear; 2] {
        match self {
            Self::Apart(both) => both.each_ref(),
            Self::Joined(linear) => [linear, linear],
        }
    }

    /// Records corrections and decays as the matrices give them.
    fn forward(
        &self,
        ops: &mut Recorder<'_, '_>,
        pass: &Pass<'_>,
        d: &DeltaBuffers,
        sizes: &DeltaSizes,
    ) -> Result<()> {
        let x = &pass.buffers.normed;
        match self {
            Self::Apart(both) => {
                let [corrections, decays] = &**both;
                corrections.forward(ops, x, &d.corrections)?;
                decays.forward(ops, x, &d.decays)
            }
            Self::Joined(linear) => {
                linear.forward(ops, x, &d.rates)?;
                let [rows, groups] = [d.rates.shape()[0], sizes.key_heads];
                let each = sizes.value_heads / groups;
                let pairs = d.rates.reshape(&[rows, groups, 2, each])?;
                for (i, out) in [&d.corrections, &d.decays].into_iter().enumerate() {
                    let out = out.reshape(&[rows, groups, 1, each])?;
                    ops.record(&Copy { x: &pairs.narrow(2, i..i + 1)?, out: &out })?;
                }
                Ok(())
            }
        }
    }
}

/// All heads of a position as one row.
fn flat(heads: &Tensor) -> Result<Tensor> {
    let [rows, count, width] = [heads.shape()[0], heads.shape()[1], heads.shape()[2]];
    Ok(heads.reshape(&[rows, count * width])?)
}
