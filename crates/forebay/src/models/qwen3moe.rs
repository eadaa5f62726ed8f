//! Qwen 3 with routed experts: Qwen 3's attention, and in every layer a few of many networks.

use forebay_tensor::ops::{activate::Curve, gate::Gating, rope::Pairs, router::Score};

use super::{
    attention::SelfAttention,
    decoder::{Blocks, Decoder},
    keys::Keys,
    moe::RoutedFfn,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(mut weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "qwen3moe");
    let (sizes, epsilon) = (keys.routed_sizes(false)?, keys.epsilon()?);
    let routing = keys.routing(Score::Softmax)?;
    let rotation = Rotation::load(&mut weights, "qwen3moe", &sizes, Pairs::HalfSplit)?;
    Decoder::load(weights, sizes, epsilon, rotation, |weights, layer| {
        let attention = SelfAttention::load(weights, layer, &sizes)?;
        let attention = attention.head_norms(weights, layer, &sizes, epsilon)?;
        let gating = Gating::Curve(Curve::Silu);
        Ok(Blocks::new(attention, RoutedFfn::load(weights, layer, &sizes, routing, gating)?))
    })
}
