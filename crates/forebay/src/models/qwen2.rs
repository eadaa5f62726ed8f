//! Qwen 2 and 2.5: the plain decoder, with biases on queries, keys and values.

use forebay_tensor::ops::{activate::Curve, rope::Pairs};

use super::{
    attention::SelfAttention,
    decoder::{Blocks, Decoder},
    ffn::GatedFfn,
    keys::Keys,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(mut weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "qwen2");
    let (sizes, epsilon) = (keys.sizes()?, keys.epsilon()?);
    let rotation = Rotation::load(&mut weights, "qwen2", &sizes, Pairs::HalfSplit)?;
    Decoder::load(weights, sizes, epsilon, rotation, |weights, layer| {
        let attention = SelfAttention::load(weights, layer, &sizes)?;
        Ok(Blocks::new(attention, GatedFfn::load(weights, layer, &sizes, Curve::Silu)?))
    })
}
