//! The decoder of Qwen3-Next and Qwen 3.5: most layers have a delta network, every fourth has attention with gates.

use forebay_tensor::ops::rope::Pairs;

use super::{
    Sizes,
    attention::SelfAttention,
    decoder::{Blocks, Decoder, Ffn, Mixer},
    delta::{DeltaLayout, DeltaNet},
    keys::Keys,
    rotary::Rotation,
};
use crate::{error::Result, formats::weights::Weights};

/// Takes the weights; `sizes` are those without delta networks, and `ffn` takes the feed-forward network of a layer.
///
/// A token of an image would have a position on each of three axes. All three are the same for text, so that the sections
/// into which some files divide the pairs of columns do not matter.
///
/// # Errors
/// As [`llama::load`](super::llama::load).
pub(super) fn load(
    mut weights: Weights,
    family: &str,
    sizes: Sizes,
    layout: DeltaLayout,
    ffn: impl Fn(&mut Weights, usize, &Sizes) -> Result<Ffn>,
) -> Result<Decoder> {
    let keys = Keys::new(weights.metadata(), family);
    let epsilon = keys.epsilon()?;
    let guessing = keys.guessing_layers()?;
    if guessing >= sizes.layers {
        return Err(keys.wrong("nextn_predict_layers", guessing.to_string(), "fewer than there are layers"));
    }
    if sizes.value_width != sizes.head_width {
        let wanted = "the width of a head of queries";
        return Err(keys.wrong("attention.value_length", sizes.value_width.to_string(), wanted));
    }
    let layers = sizes.layers - guessing;
    let recurrent = keys.recurrent(layers)?;
    let sizes = Sizes { layers, gated: true, delta: Some(keys.delta()?), ..sizes };
    weights.leave(|name| layer_of(name).is_some_and(|layer| layer >= layers));
    let rotation = Rotation::load(&mut weights, family, &sizes, Pairs::HalfSplit)?;
    Decoder::load(weights, sizes, epsilon, rotation, |weights, layer| {
        let mixer: Mixer = match recurrent[layer] {
            true => DeltaNet::load(weights, layer, &sizes, layout, epsilon)?.into(),
            false => {
                let attention = SelfAttention::load(weights, layer, &sizes)?;
                attention.head_norms(weights, layer, &sizes, epsilon)?.into()
            }
        };
        Ok(Blocks::new(mixer, ffn(weights, layer, &sizes)?).ffn_norm("post_attention_norm"))
    })
}

/// The layer that a tensor of this name belongs to.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}
