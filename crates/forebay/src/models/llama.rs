//! Llama: the plain decoder.
//!
//! Files of Llama 1 to 3 and of Mistral carry this name. Scaling of positions comes as a factor for all frequencies or,
//! from Llama 3 on, as one for each. The first Mistral sees a window.

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
/// [`Error::Unsupported`](crate::Error::Unsupported) for a feature that cannot be run yet, and those of weights and
/// metadata.
pub fn load(mut weights: Weights) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), "llama");
    if keys.find::<u32>("expert_count")?.unwrap_or(0) > 0 {
        return Err(keys.unsupported("routed experts in the llama family"));
    }
    let (sizes, epsilon, sight) = (keys.sizes()?, keys.epsilon()?, keys.sight()?);
    let rotation = Rotation::load(&mut weights, "llama", &sizes, Pairs::Interleaved)?;
    Decoder::load(weights, sizes, epsilon, rotation, |weights, layer| {
        let attention = SelfAttention::load(weights, layer, &sizes)?.sight(sight);
        Ok(Blocks::new(attention, GatedFfn::load(weights, layer, &sizes, Curve::Silu)?))
    })
}
