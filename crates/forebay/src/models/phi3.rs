//! Phi-3: the plain decoder, with one matrix for queries, keys and values, and one for gate and rest.
//!
//! Files made for long texts have two factors for each frequency; what is here are the ones for texts up to the length
//! that the model was first made for, so that is how long a text can get.

use forebay_tensor::ops::{activate::Curve, rope::Pairs};

use super::{
    attention::SelfAttention,
    decoder::{Blocks, Decoder},
    ffn::GatedFfn,
    keys::Keys,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// Factors for longer texts.
const LONG: &str = "rope_factors_long.weight";

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(mut weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "phi3");
    let (mut sizes, epsilon) = (keys.sizes()?, keys.epsilon()?);
    let sight = keys.sight()?;
    let first = keys.size_or("rope.scaling.original_context_length", sizes.context)?;
    let rotation = Rotation::load(&mut weights, "phi3", &sizes, Pairs::HalfSplit)?;
    if weights.has(LONG) {
        weights.take_f32(LONG, &[sizes.rotated / 2])?;
        sizes.context = sizes.context.min(first);
    }
    Decoder::load(weights, sizes, epsilon, rotation, |weights, layer| {
        let attention = SelfAttention::load_joined(weights, layer, &sizes)?.sight(sight);
        Ok(Blocks::new(attention, GatedFfn::load_joined(weights, layer, &sizes, Curve::Silu)?))
    })
}
