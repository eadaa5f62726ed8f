//! Gemma 3: five layers of six see a window, by positions of their own, and each head of queries and keys has a norm.

use forebay_tensor::ops::{angles::Scaling, attention::Sight, rope::Pairs};

use super::{
    attention::SelfAttention,
    gemma::{Gemma, scale},
    keys::Keys,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// Layers of the 27B model.
const LARGEST: usize = 62;
/// Of so many layers, the last one sees everything.
const PERIOD: usize = 6;

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(mut weights: Weights) -> Result<Gemma> {
    let keys = Keys::new(weights.metadata(), "gemma3");
    let (sizes, epsilon) = (keys.sizes()?, keys.epsilon()?);
    let window = keys.size_or("attention.sliding_window", 1024)?;
    let windowed = keys.windowed(sizes.layers, PERIOD)?;
    let near_base = keys.find("rope.freq_base_swa")?.unwrap_or(10_000.0);
    let logit_cap = keys.find("final_logit_softcapping")?;
    let scale = keys.find("attention.scale")?.unwrap_or_else(|| scale(&sizes, LARGEST));
    let far = Rotation::load(&mut weights, "gemma3", &sizes, Pairs::HalfSplit)?;
    let near = Rotation::new(near_base, sizes.rotated, &Scaling::None, Pairs::HalfSplit);
    Gemma::load(weights, sizes, epsilon, logit_cap, &[far, near], |weights, layer| {
        let attention = SelfAttention::load(weights, layer, &sizes)?.scale(scale);
        let attention = attention.head_norms(weights, layer, &sizes, epsilon)?;
        Ok(match windowed[layer] {
            true => (attention.sight(Sight::Window(window)), 1),
            false => (attention, 0),
        })
    })
}
