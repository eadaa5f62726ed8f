//! The numbers of a family in a file's metadata: keys that begin with the family's name.

use forebay_tensor::ops::{attention::Sight, router::Score};

use super::{
    Sizes,
    delta::DeltaSizes,
    moe::{ExpertSizes, Routing},
};
use crate::{
    error::{Error, Result},
    formats::gguf::{FromValue, Metadata, Strings},
};

/// No size of a model comes near this, and the product of two, added up a few times, still fits its type.
const MOST: u32 = 1 << 24;
/// The most experts that a router chooses from.
const MOST_EXPERTS: usize = 1024;
/// The most inputs that a convolution looks at.
const MOST_TAPS: usize = 8;
/// The widest head of values of a delta network.
const MOST_VALUE_WIDTH: usize = 256;

/// Metadata under the name of a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    family: &'a str,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(metadata: &'a Metadata, family: &'a str) -> Self {
        Self { metadata, family }
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    pub(crate) fn find<T: FromValue<'a>>(&self, name: &str) -> Result<Option<T>> {
        self.metadata.find(&self.key(name))
    }

    pub(crate) fn get<T: FromValue<'a>>(&self, name: &str) -> Result<T> {
        self.metadata.get(&self.key(name))
    }

    /// A size that has to be there.
    pub(crate) fn size(&self, name: &str) -> Result<usize> {
        self.above_zero(name, self.get(name)?)
    }

    /// A size that is another one where it is not there.
    pub(crate) fn size_or(&self, name: &str, other: usize) -> Result<usize> {
        match self.find(name)? {
            Some(found) => self.above_zero(name, found),
            None => Ok(other),
        }
    }

    fn above_zero(&self, name: &str, found: u32) -> Result<usize> {
        match found {
            0 => Err(self.wrong(name, found.to_string(), "a number above 0")),
            MOST.. => Err(self.wrong(name, found.to_string(), "a number below 2^24")),
            found => Ok(found as usize),
        }
    }

    /// The value of a key is not one that can be.
    pub(crate) fn wrong(&self, name: &str, found: String, wanted: &'static str) -> Error {
        Error::KeyValue { file: self.metadata.file().clone(), key: self.key(name), found, wanted }
    }

    /// The model needs what cannot be run yet.
    pub(crate) fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { file: self.metadata.file().clone(), what: what.into() }
    }

    /// What keeps a norm from dividing by zero.
    pub(crate) fn epsilon(&self) -> Result<f32> {
        self.get("attention.layer_norm_rms_epsilon")
    }

    /// The sizes of a family whose layers have one network for all positions.
    pub(crate) fn sizes(&self) -> Result<Sizes> {
        self.sizes_with(self.size("feed_forward_length")?)
    }

    /// The sizes of a family whose layers have routed experts, and perhaps one that all positions share.
    pub(crate) fn routed_sizes(&self, shared: bool) -> Result<Sizes> {
        let ffn_width = match shared {
            true => self.size("expert_shared_feed_forward_length")?,
            false => 0,
        };
        Ok(Sizes { experts: Some(self.experts()?), ..self.sizes_with(ffn_width)? })
    }

    /// The sizes, by the keys that all families share.
    fn sizes_with(&self, ffn_width: usize) -> Result<Sizes> {
        let (width, heads) = (self.size("embedding_length")?, self.size("attention.head_count")?);
        let head_width = self.size_or("attention.key_length", width / heads)?;
        if head_width == 0 {
            let found = heads.to_string();
            return Err(self.wrong(
                "attention.head_count",
                found,
                "no more heads than the hidden state has columns",
            ));
        }
        let sizes = Sizes {
            layers: self.size("block_count")?,
            width,
            heads,
            kv_heads: self.size_or("attention.head_count_kv", heads)?,
            head_width,
            rotated: self.size_or("rope.dimension_count", head_width)?,
            value_width: self.size_or("attention.value_length", head_width)?,
            gated: false,
            ffn_width,
            experts: None,
            delta: None,
            rounded_twice: self.metadata.find("general.rounded_twice")?.unwrap_or(false),
            vocabulary: match self.find::<u32>("vocab_size")? {
                Some(_) => self.size("vocab_size")?,
                None => self.metadata.get::<Strings<'_>>("tokenizer.ggml.tokens")?.len(),
            },
            context: self.size("context_length")?,
        };
        if sizes.rotated > head_width || !sizes.rotated.is_multiple_of(2) {
            let found = sizes.rotated.to_string();
            return Err(self.wrong(
                "rope.dimension_count",
                found,
                "an even number, at most the width of a head,",
            ));
        }
        if !sizes.heads.is_multiple_of(sizes.kv_heads) {
            let found = sizes.kv_heads.to_string();
            return Err(self.wrong("attention.head_count_kv", found, "a divisor of the heads of queries"));
        }
        Ok(sizes)
    }

    fn experts(&self) -> Result<ExpertSizes> {
        let count = self.size("expert_count")?;
        if count > MOST_EXPERTS {
            return Err(self.wrong("expert_count", count.to_string(), "at most 1024"));
        }
        let used = self.size("expert_used_count")?;
        if used > count {
            return Err(self.wrong("expert_used_count", used.to_string(), "at most the number of experts"));
        }
        Ok(ExpertSizes { count, used, width: self.size("expert_feed_forward_length")? })
    }

    /// How experts are weighed.
    pub(crate) fn routing(&self, score: Score) -> Result<Routing> {
        // Scores of those that were chosen have a sum of one already.
        let renormalise = score != Score::SoftmaxOfChosen;
        Ok(Routing {
            score,
            renormalise: self.find("expert_weights_norm")?.unwrap_or(renormalise),
            scale: self.find::<f32>("expert_weights_scale")?.filter(|scale| *scale != 0.0).unwrap_or(1.0),
        })
    }

    /// The sizes of delta networks.
    pub(crate) fn delta(&self) -> Result<DeltaSizes> {
        let [taps, key_width] = [self.size("ssm.conv_kernel")?, self.size("ssm.state_size")?];
        let [key_heads, value_heads] = [self.size("ssm.group_count")?, self.size("ssm.time_step_rank")?];
        let values = self.size("ssm.inner_size")?;
        if taps > MOST_TAPS {
            return Err(self.wrong("ssm.conv_kernel", taps.to_string(), "at most 8"));
        }
        if !value_heads.is_multiple_of(key_heads) {
            let wanted = "a multiple of the heads of keys";
            return Err(self.wrong("ssm.time_step_rank", value_heads.to_string(), wanted));
        }
        let value_width = values / value_heads;
        if !values.is_multiple_of(value_heads) || value_width > MOST_VALUE_WIDTH {
            let wanted = "a multiple of the heads of values, at most 256 for each,";
            return Err(self.wrong("ssm.inner_size", values.to_string(), wanted));
        }
        Ok(DeltaSizes { taps, key_heads, value_heads, key_width, value_width })
    }

    /// The same for each layer: which of them have a delta network in place of attention.
    pub(crate) fn recurrent(&self, layers: usize) -> Result<Vec<bool>> {
        let interval = self.size_or("full_attention_interval", 4)?;
        self.pattern("attention.recurrent_layers", layers, |layer| !(layer + 1).is_multiple_of(interval))
    }

    /// Which layers see a window; without a word of it, all but the last of every `period`.
    pub(crate) fn windowed(&self, layers: usize, period: usize) -> Result<Vec<bool>> {
        let name = "attention.sliding_window_pattern";
        self.pattern(name, layers, |layer| layer % period < period - 1)
    }

    /// An answer for each layer, by a rule where the file says nothing.
    fn pattern(&self, name: &str, layers: usize, rule: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        match self.find::<Vec<bool>>(name)? {
            Some(found) if found.len() < layers => {
                Err(self.wrong(name, format!("{} answers", found.len()), "one for each layer"))
            }
            Some(found) => Ok(found),
            None => Ok((0..layers).map(rule).collect()),
        }
    }

    /// What all layers see: everything before, or a window.
    pub(crate) fn sight(&self) -> Result<Sight> {
        let window = self.find::<u32>("attention.sliding_window")?.unwrap_or(0) as usize;
        Ok(if window == 0 { Sight::Before } else { Sight::Window(window) })
    }

    /// Layers at the end that only guess further tokens, which nothing here makes use of.
    pub(crate) fn guessing_layers(&self) -> Result<usize> {
        Ok(self.find::<u32>("nextn_predict_layers")?.unwrap_or(0) as usize)
    }
}
