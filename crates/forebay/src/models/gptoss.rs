//! gpt-oss: routed experts with a clamped gate, attention with a sink for each head, a window in every other layer, and a
//! bias on everything.

use forebay_tensor::ops::{attention::Sight, gate::Gating, rope::Pairs, router::Score};

use super::{
    attention::SelfAttention,
    decoder::{Blocks, Decoder},
    keys::Keys,
    moe::RoutedFfn,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// The gate that the models were trained with; files do not name its numbers.
const GATING: Gating = Gating::Clamped { alpha: 1.702, limit: 7.0 };
/// Of so many layers, the last one sees everything.
const PERIOD: usize = 2;

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(mut weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "gpt-oss");
    let (sizes, epsilon) = (keys.routed_sizes(false)?, keys.epsilon()?);
    let routing = keys.routing(Score::SoftmaxOfChosen)?;
    let window = Sight::Window(keys.size("attention.sliding_window")?);
    let windowed = keys.windowed(sizes.layers, PERIOD)?;
    let rotation = Rotation::load(&mut weights, "gpt-oss", &sizes, Pairs::HalfSplit)?;
    Decoder::load(weights, sizes, epsilon, rotation, |weights, layer| {
        let attention = SelfAttention::load(weights, layer, &sizes)?.sinks(weights, layer, &sizes)?;
        let attention = attention.sight(if windowed[layer] { window } else { Sight::Before });
        let ffn = RoutedFfn::load(weights, layer, &sizes, routing, GATING)?;
        Ok(Blocks::new(attention, ffn).ffn_norm("post_attention_norm"))
    })
}
