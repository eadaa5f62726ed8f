//! The routed feed-forward network: a router chooses a few of many experts for every position, and may add one that all
//! positions share.

use forebay_tensor::{
    Recorder, Tensor, Weight,
    ops::{Activate, Add, Gate, Mix, Mul, Router, activate::Curve, gate::Gating, router::Score},
};

use super::{
    Pass, Sizes,
    activations::Input,
    ffn::GatedFfn,
    linear::{Linear, Of, To},
};
use crate::{
    error::{Error, Result},
    formats::weights::Weights,
};

/// How many experts there are, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertSizes {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that a position goes through.
    pub used: usize,
    /// Width inside an expert.
    pub width: usize,
}

/// How experts are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// What weights are made of.
    pub score: Score,
    /// Whether the weights of a position are divided by their sum.
    pub renormalise: bool,
    /// What they are multiplied by at last.
    pub scale: f32,
}

/// The weights of one layer's network.
#[derive(Debug)]
pub struct RoutedFfn {
    router: Linear,
    routing: Routing,
    gate: Experts,
    up: Experts,
    down: Experts,
    gating: Gating,
    shared: Option<Shared>,
}

/// One matrix of all experts, and their biases where the file has them.
#[derive(Debug)]
struct Experts {
    weight: Weight<3>,
    bias: Option<Tensor>,
}

/// The expert that all positions share, and how much of it they take.
#[derive(Debug)]
struct Shared {
    ffn: GatedFfn,
    gate: Weight,
}

impl RoutedFfn {
    /// Takes the weights of a layer, with biases where there are any.
    ///
    /// # Errors
    /// Those of [`Weights::take`] and [`Weights::take_weight`].
    pub fn load(
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        routing: Routing,
        gating: Gating,
    ) -> Result<Self> {
        let experts = sizes.experts.ok_or(Error::OtherModel { what: "sizes" })?;
        let router = [experts.count, sizes.width];
        let router = Linear::load(weights, &format!("blk.{layer}.ffn_gate_inp"), router)?;
        let mut take = |name: &str, [rows, width]: [usize; 2]| {
            Experts::load(weights, &format!("blk.{layer}.{name}_exps"), [experts.count, rows, width])
        };
        let inner = [experts.width, sizes.width];
        let (gate, up) = (take("ffn_gate", inner)?, take("ffn_up", inner)?);
        let down = take("ffn_down", [sizes.width, experts.width])?;
        Ok(Self { router, routing, gate, up, down, gating, shared: None })
    }

    /// Takes the weights of the expert that all positions share.
    ///
    /// # Errors
    /// Those of [`Weights::take_weight`].
    pub fn shared(
        mut self,
        weights: &mut Weights,
        layer: usize,
        sizes: &Sizes,
        curve: Curve,
    ) -> Result<Self> {
        let name = format!("blk.{layer}.ffn_gate_inp_shexp.weight");
        let gate =
            Weight::rows(&weights.take(&name, &[sizes.width])?.reshape(&[1, sizes.width])?)?.label(name);
        self.shared = Some(Shared { ffn: GatedFfn::load_as(weights, layer, sizes, curve, "_shexp")?, gate });
        Ok(self)
    }

    /// Records what the network adds to the hidden state: from `normed` to `change`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let (b, r) = (pass.buffers, pass.buffers.routed()?);
        let router = &self.router.weight;
        let shared =
            self.shared.iter().flat_map(|Shared { ffn, gate }| [gate].into_iter().chain(ffn.readers()));
        let inputs = [router.input(), self.gate.weight.input(), self.up.weight.input()];
        b.normed.round_for(ops, inputs.into_iter().chain(shared.map(|weight| weight.input())))?;
        self.router.forward(ops, &b.normed, &r.logits)?;
        let Routing { score, renormalise, scale } = self.routing;
        let route = Router::new(&r.logits, score, &r.ids, &r.weights);
        ops.record(&Router { renormalise, scale, ..route })?;

        self.gate.forward(ops, &b.normed, &r.ids, &r.gate)?;
        self.up.forward(ops, &b.normed, &r.ids, &r.up.floats)?;
        ops.record(&Gate { gate: &r.gate, up: &r.up.floats, gating: self.gating })?;
        r.up.round_for(ops, [self.down.weight.input()])?;
        self.down.forward(ops, &r.up, &r.ids, &r.out)?;
        ops.record(&Mix { x: &r.out, weights: &r.weights, out: &b.change })?;

        let Some(Shared { ffn, gate }) = &self.shared else { return Ok(()) };
        ffn.forward(ops, pass, Of::Normed, To::Out(&r.shared))?;
        b.normed.product(ops, gate, &r.share)?;
        ops.record(&Activate { x: &r.share, curve: Curve::Sigmoid })?;
        ops.record(&Mul { x: &r.shared, y: &r.share })?;
        Ok(ops.record(&Add { x: &b.change, y: &r.shared })?)
    }
}

impl Experts {
    fn load(weights: &mut Weights, name: &str, shape: [usize; 3]) -> Result<Self> {
        let bias = format!("{name}.bias");
        let bias = match weights.has(&bias) {
            true => Some(weights.take_f32(&bias, &shape[..2])?),
            false => None,
        };
        Ok(Self { weight: weights.take_experts(&format!("{name}.weight"), shape)?, bias })
    }

    fn forward(&self, ops: &mut Recorder<'_, '_>, x: &Input, ids: &Tensor, out: &Tensor) -> Result<()> {
        let Self { weight, bias } = self;
        x.routed_product(ops, weight, ids, bias.as_ref(), out)
    }
}
