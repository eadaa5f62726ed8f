//! Tokenizers out of GGUF metadata: which kind it is, and what happens before and after its words are cut.
//!
//! It reads the settings, cuts special tokens out, and hands the rest to the kind's own file. It never panics
//! on a vocabulary: what does not fit together is an error at reading, what cannot be said is left out.
//! Next rooms: `vocabulary`, `special`, then `spm`.

use super::Specials;
use super::merge::Merger;
use super::special::{Fragment, Special};
use super::spm;
use super::vocabulary::{Uses, Vocabulary};
use crate::error::{Error, Result, VocabularyFault};
use crate::formats::gguf::Metadata;

/// How a space is written inside of tokens.
const SPACE: &str = "\u{2581}";

/// A tokenizer out of GGUF metadata.
#[derive(Debug)]
pub(super) struct Native {
    vocabulary: Vocabulary,
    special: Special,
    model: Model,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
}

/// The kinds of tokenizers.
#[derive(Debug)]
enum Model {
    Spm,
}

impl Native {
    pub(super) fn read(metadata: &Metadata) -> Result<Self> {
        let file = metadata.file();
        let (model, defaults) = match metadata.get::<&str>("tokenizer.ggml.model")? {
            "llama" => {
                (Model::Spm, Specials { bos: Some(1), eos: Some(2), unknown: Some(0), ..Specials::default() })
            }
            found => {
                let fault = VocabularyFault::Model { found: found.to_owned(), known: "llama" };
                return Err(Error::Vocabulary { file: file.clone(), fault });
            }
        };
        let flag = |key, default| Ok::<_, Error>(metadata.find::<bool>(key)?.unwrap_or(default));
        let spm = matches!(model, Model::Spm);
        let add_bos = flag("tokenizer.ggml.add_bos_token", spm)?;
        let add_eos = flag("tokenizer.ggml.add_eos_token", false)?;
        let add_space_prefix = flag("tokenizer.ggml.add_space_prefix", spm)?;
        let vocabulary = Vocabulary::read(metadata, defaults)?;
        let specials = vocabulary.specials();
        for (wanted, id, name) in [(add_bos, specials.bos, "bos"), (add_eos, specials.eos, "eos")] {
            if wanted && id.is_none() {
                let fault = VocabularyFault::NoSpecial { name };
                return Err(Error::Vocabulary { file: file.clone(), fault });
            }
        }
        let special = Special::new(&vocabulary);
        Ok(Self { vocabulary, special, model, add_bos, add_eos, add_space_prefix })
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub(super) fn adds_space(&self) -> bool {
        self.add_space_prefix
    }

    pub(super) fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        let specials = self.vocabulary.specials();
        let mut ids = Vec::new();
        let mut merger = Merger::default();
        ids.extend(specials.bos.filter(|_| special && self.add_bos));
        let mut after_special = true;
        for fragment in self.special.cut(text, special) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(ref range) => match self.model {
                    Model::Spm => {
                        let space = if after_special && self.add_space_prefix { SPACE } else { "" };
                        let text = text[range.clone()].replace(' ', SPACE);
                        spm::encode(&self.vocabulary, &mut merger, &format!("{space}{text}"), &mut ids);
                    }
                },
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        ids.extend(specials.eos.filter(|_| special && self.add_eos));
        ids
    }

    /// Appends the bytes that a token stands for; `None` where there is no such token.
    pub(super) fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) -> Option<()> {
        let text = self.vocabulary.text(id)?;
        let uses = self.vocabulary.uses(id);
        if uses.any(Uses::CONTROL.and(Uses::UNKNOWN).and(Uses::ADDED)) {
            bytes.extend_from_slice(text);
        } else if uses.any(Uses::BYTE) {
            bytes.extend(self.vocabulary.byte(id));
        } else {
            match self.model {
                Model::Spm => append_unescaped(text, bytes),
            }
        }
        Some(())
    }
}

/// Appends a text with its spaces written as spaces.
fn append_unescaped(mut text: &[u8], bytes: &mut Vec<u8>) {
    while let Some((first, rest)) = text.split_first() {
        if let Some(rest) = text.strip_prefix(SPACE.as_bytes()) {
            bytes.push(b' ');
            text = rest;
        } else {
            bytes.push(*first);
            text = rest;
        }
    }
}
