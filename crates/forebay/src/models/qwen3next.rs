//! Qwen3-Next: delta networks and attention with gates, and in every layer routed experts beside one that all share.

use forebay_tensor::ops::{activate::Curve, gate::Gating, gated_delta::Heads, router::Score};

use super::{decoder::Decoder, delta::DeltaLayout, hybrid, keys::Keys, moe::RoutedFfn};
use crate::{error::Result, formats::weights::Weights};

/// Heads of values that share one of keys stand side by side.
const LAYOUT: DeltaLayout = DeltaLayout { heads: Heads::Grouped, joined: true };

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "qwen3next");
    let (sizes, routing) = (keys.routed_sizes(true)?, keys.routing(Score::Softmax)?);
    hybrid::load(weights, "qwen3next", sizes, LAYOUT, |weights, layer, sizes| {
        let ffn = RoutedFfn::load(weights, layer, sizes, routing, Gating::Curve(Curve::Silu))?;
        Ok(ffn.shared(weights, layer, sizes, Curve::Silu)?.into())
    })
}
