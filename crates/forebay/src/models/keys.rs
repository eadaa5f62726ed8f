//! The numbers of a family in a file's metadata: keys that begin with the family's name.

use super::Sizes;
use crate::{
    error::{Error, Result},
    formats::gguf::{FromValue, Metadata, Strings},
};

/// No size of a model comes near this, and the product of two, added up a few times, still fits its type.
const MOST: u32 = 1 << 24;

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

    /// The sizes, by the keys that all families share.
    pub(crate) fn sizes(&self) -> Result<Sizes> {
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
            ffn_width: self.size("feed_forward_length")?,
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
}
