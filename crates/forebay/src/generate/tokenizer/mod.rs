//! Text to token ids and back, for every kind of vocabulary that models bring.
//!
//! This file is the front: one type, whatever lies behind it. It never knows a model and never prints.
//! Next rooms: `open` for which files hold one, `native` for vocabularies out of GGUF metadata, `json` for those of folders,
//! `decoder` for the way back.

mod bpe;
mod decoder;
mod ends;
mod json;
mod merge;
mod native;
mod open;
mod special;
mod spm;
mod texts;
mod vocabulary;
mod words;
mod wpm;

use std::path::Path;

use crate::error::{Error, Result};
use crate::formats::gguf::Metadata;
use json::Json;
use native::Native;

pub use decoder::Decoder;
pub use json::JsonFiles;

/// A vocabulary and the rules by which it cuts text.
///
/// ```
/// # fn tokens(bytes: &mut Vec<u8>, key: &str, kind: u32, count: u64, data: &[u8]) {
/// #     bytes.extend((key.len() as u64).to_le_bytes());
/// #     bytes.extend(key.as_bytes());
/// #     bytes.extend(9u32.to_le_bytes());
/// #     bytes.extend(kind.to_le_bytes());
/// #     bytes.extend(count.to_le_bytes());
/// #     bytes.extend(data);
/// # }
/// # let mut file = b"GGUF\x03\0\0\0".to_vec();
/// # file.extend([0u64, 4].map(u64::to_le_bytes).concat());
/// # let key = "tokenizer.ggml.model";
/// # file.extend((key.len() as u64).to_le_bytes());
/// # file.extend(key.as_bytes());
/// # file.extend(8u32.to_le_bytes());
/// # file.extend(5u64.to_le_bytes());
/// # file.extend(b"llama");
/// # let texts = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab"];
/// # let data: Vec<u8> =
/// #     texts.iter().flat_map(|t| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat()).collect();
/// # tokens(&mut file, "tokenizer.ggml.tokens", 8, 8, &data);
/// # let scores = [0f32, 0.0, 0.0, -3.0, -4.0, -5.0, -2.0, -1.0].map(f32::to_le_bytes).concat();
/// # tokens(&mut file, "tokenizer.ggml.scores", 6, 8, &scores);
/// # let types = [2i32, 3, 3, 1, 1, 1, 1, 1].map(i32::to_le_bytes).concat();
/// # tokens(&mut file, "tokenizer.ggml.token_type", 5, 8, &types);
/// use forebay::{formats::gguf::Gguf, generate::tokenizer::Tokenizer};
///
/// let gguf = Gguf::parse("model.gguf", &file)?;
/// let tokenizer = Tokenizer::from_gguf(gguf.metadata())?;
/// let ids = tokenizer.encode("ab b", true)?;
/// assert_eq!(ids, [1, 7, 3, 5]);
/// assert_eq!(tokenizer.decode(&ids, false)?, "ab b");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Native(Box<Native>),
    Json(Box<Json>),
}

/// The ids that have a meaning of their own; what a model does not name is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Specials {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn of a conversation.
    pub eot: Option<u32>,
    /// Stands for what the vocabulary cannot say.
    pub unknown: Option<u32>,
    /// Stands between and behind texts.
    pub separator: Option<u32>,
    /// Fills up.
    pub padding: Option<u32>,
    /// Every id at which generation stops, in ascending order.
    pub ends: Vec<u32>,
}

impl Tokenizer {
    /// The tokenizer that a GGUF file holds.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] where it is of an unknown kind or does not fit together, and the errors of
    /// [`Metadata`] where keys are missing or of another type.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        Ok(Self { kind: Kind::Native(Box::new(Native::read(metadata)?)) })
    }

    /// The tokenizer that a folder holds as JSON; `file` is the path of `tokenizer.json`, for messages only.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] where a file cannot be read.
    pub fn from_json(file: impl AsRef<Path>, files: &JsonFiles<'_>) -> Result<Self> {
        Ok(Self { kind: Kind::Json(Box::new(Json::read(file.as_ref(), files)?)) })
    }

    /// The ids of a text. With `special`, special tokens in the text are taken as such, and those that the
    /// model wants at the ends are added; without it, neither.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] where the vocabulary has no way to say a part of the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        match &self.kind {
            Kind::Native(native) => Ok(native.encode(text, special, special)),
            Kind::Json(json) => json.encode(text, special, special),
        }
    }

    /// The ids of a prompt that says all its special tokens itself, as those of chat templates do: special
    /// tokens in the text are taken as such, and none is added.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        match &self.kind {
            Kind::Native(native) => Ok(native.encode(prompt, true, false)),
            Kind::Json(json) => json.encode(prompt, true, false),
        }
    }

    /// The text of these ids. Control tokens show as they are written with `special`, else not at all;
    /// bytes that are no UTF-8 show as U+FFFD.
    ///
    /// # Errors
    /// [`Error::TokenId`] where an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], special: bool) -> Result<String> {
        let mut decoder = self.decoder(&[]).special(special);
        let mut text = String::new();
        for id in ids {
            text.push_str(decoder.push(*id)?);
        }
        text.push_str(decoder.finish());
        Ok(text)
    }

    /// A decoder for ids that follow this prompt, one at a time.
    pub fn decoder(&self, prompt: &[u32]) -> Decoder<'_> {
        Decoder::after(self, prompt)
    }

    /// How many tokens there are.
    pub fn size(&self) -> usize {
        match &self.kind {
            Kind::Native(native) => native.vocabulary().size(),
            Kind::Json(json) => json.size(),
        }
    }

    /// The ids that have a meaning of their own.
    pub fn specials(&self) -> &Specials {
        match &self.kind {
            Kind::Native(native) => native.vocabulary().specials(),
            Kind::Json(json) => json.specials(),
        }
    }

    /// The token as the vocabulary writes it.
    ///
    /// # Errors
    /// [`Error::TokenId`] where the id is not in the vocabulary.
    pub fn text(&self, id: u32) -> Result<&[u8]> {
        let text = match &self.kind {
            Kind::Native(native) => native.vocabulary().text(id),
            Kind::Json(json) => json.text(id),
        };
        text.ok_or(Error::TokenId { id, size: self.size() })
    }

    /// The bytes that the token stands for in a text; a control token stands for how it is written.
    ///
    /// # Errors
    /// [`Error::TokenId`] where the id is not in the vocabulary.
    pub fn bytes(&self, id: u32) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.append_bytes(id, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether the token steers the model and is no part of a text.
    pub fn is_control(&self, id: u32) -> bool {
        match &self.kind {
            Kind::Native(native) => native.vocabulary().is_control(id),
            Kind::Json(json) => json.is_control(id),
        }
    }

    /// Whether generation stops at this id.
    pub fn is_end(&self, id: u32) -> bool {
        self.specials().ends.binary_search(&id).is_ok()
    }

    /// Whether a text's first token carries a space that the text does not have.
    fn adds_space(&self) -> bool {
        match &self.kind {
            Kind::Native(native) => native.adds_space(),
            Kind::Json(json) => json.adds_space(),
        }
    }

    fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) -> Result<()> {
        let known = match &self.kind {
            Kind::Native(native) => native.append_bytes(id, bytes),
            Kind::Json(json) => json.append_bytes(id, bytes),
        };
        known.ok_or(Error::TokenId { id, size: self.size() })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiny;
