//! Gemma 2: every other layer sees a window, and scores and logits are bent to stay below a cap.

use forebay_tensor::ops::{attention::Sight, rope::Pairs};

use super::{
    attention::SelfAttention,
    gemma::{Gemma, scale},
    keys::Keys,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// Layers of the 27B model.
const LARGEST: usize = 46;
/// Of so many layers, the last one sees everything.
const PERIOD: usize = 2;

/// Takes the weights.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub fn load(mut weights: Weights) -> Result<Gemma> {
    let keys = Keys::new(weights.metadata(), "gemma2");
    let (sizes, epsilon) = (keys.sizes()?, keys.epsilon()?);
    let window = keys.size_or("attention.sliding_window", 4096)?;
    let windowed = keys.windowed(sizes.layers, PERIOD)?;
    let score_cap = keys.find("attn_logit_softcapping")?;
    let logit_cap = keys.find("final_logit_softcapping")?;
    let scale = keys.find("attention.scale")?.unwrap_or_else(|| scale(&sizes, LARGEST));
    let rotation = Rotation::load(&mut weights, "gemma2", &sizes, Pairs::HalfSplit)?;
    Gemma::load(weights, sizes, epsilon, logit_cap, &[rotation], |weights, layer| {
        let sight = if windowed[layer] { Sight::Window(window) } else { Sight::Before };
        let attention = SelfAttention::load(weights, layer, &sizes)?.scale(scale);
        Ok((attention.sight(sight).softcap(score_cap), 0))
    })
}
