//! Qwen 3.5: Qwen3-Next's layers with one network for all positions, or, in the larger models, with its experts.

use forebay_tensor::ops::{activate::Curve, gate::Gating, gated_delta::Heads, router::Score};

use super::{decoder::Decoder, delta::DeltaLayout, ffn::GatedFfn, hybrid, keys::Keys, moe::RoutedFfn};
use crate::{error::Result, formats::weights::Weights};

/// Takes the weights of a model without experts.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "qwen35");
    let (sizes, layout) = (keys.sizes()?, layout(&keys)?);
    hybrid::load(weights, "qwen35", sizes, layout, |weights, layer, sizes| {
        Ok(GatedFfn::load(weights, layer, sizes, Curve::Silu)?.into())
    })
}

/// Takes the weights of a model with experts.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load_routed(weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "qwen35moe");
    let (sizes, layout, routing) = (keys.routed_sizes(true)?, layout(&keys)?, keys.routing(Score::Softmax)?);
    hybrid::load(weights, "qwen35moe", sizes, layout, |weights, layer, sizes| {
        let ffn = RoutedFfn::load(weights, layer, sizes, routing, Gating::Curve(Curve::Silu))?;
        Ok(ffn.shared(weights, layer, sizes, Curve::Silu)?.into())
    })
}

/// Heads of values take those of keys by turns in GGUF files, and side by side in the folders that these are made from.
fn layout(keys: &Keys<'_>) -> Result<DeltaLayout> {
    let grouped = keys.find("ssm.grouped_heads")?.unwrap_or(false);
    Ok(DeltaLayout { heads: if grouped { Heads::Grouped } else { Heads::Interleaved }, joined: false })
}
