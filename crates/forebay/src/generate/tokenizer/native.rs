//! Tokenizers out of GGUF metadata: which kind it is, and what happens before and after its words are cut.
//!
//! It reads the settings, cuts special tokens out, and hands the rest to the kind's own file. It never panics
//! on a vocabulary: what does not fit together is an error at reading, what cannot be said is left out.
//! Next rooms: `vocabulary`, `special`, then `spm`, `bpe` and `wpm`.

use super::Specials;
use super::bpe::{self, Bpe};
use super::merge::{Merger, NONE};
use super::special::{Fragment, Special};
use super::spm::Spm;
use super::vocabulary::{Uses, Vocabulary};
use super::words;
use super::wpm::Wpm;
use crate::error::{Error, Result, VocabularyFault};
use crate::formats::gguf::{Metadata, Strings};

/// How a space is written inside of tokens.
pub(super) const SPACE: &str = "\u{2581}";

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
    Spm(Spm),
    Bpe(Box<Bpe>),
    Wpm(Box<Wpm>),
}

impl Native {
    pub(super) fn read(metadata: &Metadata) -> Result<Self> {
        let fault = |fault| Error::Vocabulary { file: metadata.file().clone(), fault };
        let flag = |key, default| Ok::<_, Error>(metadata.find::<bool>(key)?.unwrap_or(default));
        let name = metadata.get::<&str>("tokenizer.ggml.model")?;
        let (vocabulary, model, bos, space_prefix) = match name {
            "llama" => {
                let defaults =
                    Specials { bos: Some(1), eos: Some(2), unknown: Some(0), ..Specials::default() };
                let vocabulary = Vocabulary::read(metadata, defaults)?;
                let spm = Spm::new(&vocabulary);
                (vocabulary, Model::Spm(spm), true, true)
            }
            "gpt2" | "gemma4" => {
                let pre = metadata.find::<&str>("tokenizer.ggml.pre")?.unwrap_or("default");
                let pre = if name == "gemma4" { name } else { pre };
                let unknown =
                    || VocabularyFault::PreTokenizer { found: pre.to_owned(), known: words::names() };
                let scheme = words::scheme(pre).ok_or_else(|| fault(unknown()))?;
                let mut vocabulary = Vocabulary::read(metadata, Specials::default())?;
                let merges: Strings<'_> = match metadata.find("tokenizer.ggml.merges")? {
                    None if pre == "kimi-k2" => Strings::default(),
                    None => metadata.get("tokenizer.ggml.merges")?,
                    Some(merges) => merges,
                };
                // Each merge brings three pieces at most.
                if merges.len() > (NONE as usize - vocabulary.size()) / 3 {
                    return Err(fault(VocabularyFault::Size { found: merges.len() }));
                }
                let bpe = Bpe::new(&mut vocabulary, merges, scheme);
                (vocabulary, Model::Bpe(Box::new(bpe)), scheme.add_bos, false)
            }
            "bert" => {
                let (bos, unknown) = (Some(101), Some(100));
                let (separator, padding) = (Some(102), Some(0));
                let defaults = Specials { bos, unknown, separator, padding, ..Specials::default() };
                let vocabulary = Vocabulary::read(metadata, defaults)?;
                let lowercase = flag("tokenizer.ggml.normalizer.lowercase", true)?;
                let strip_accents = flag("tokenizer.ggml.normalizer.strip_accents", lowercase)?;
                let wpm = Wpm::new(&vocabulary, lowercase, strip_accents);
                (vocabulary, Model::Wpm(Box::new(wpm)), true, false)
            }
            found => {
                let known = "llama, gpt2, gemma4, bert";
                return Err(fault(VocabularyFault::Model { found: found.to_owned(), known }));
            }
        };
        // Both ends of a text have their tokens here, whatever the file says.
        let wpm = matches!(model, Model::Wpm(_));
        let add_bos = wpm || flag("tokenizer.ggml.add_bos_token", bos)?;
        let add_eos = flag("tokenizer.ggml.add_eos_token", false)?;
        let add_space_prefix = flag("tokenizer.ggml.add_space_prefix", space_prefix)?;
        let specials = vocabulary.specials();
        let wanted = [
            (add_bos, specials.bos, "bos"),
            (add_eos, specials.eos, "eos"),
            (wpm, specials.separator, "separator"),
        ];
        for (wanted, id, name) in wanted {
            if wanted && id.is_none() {
                return Err(fault(VocabularyFault::NoSpecial { name }));
            }
        }
        let special = Special::new(&vocabulary);
        Ok(Self { vocabulary, special, model, add_bos, add_eos, add_space_prefix })
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Whether a text's first token carries a space that the text does not have.
    pub(super) fn adds_space(&self) -> bool {
        match self.model {
            Model::Spm(_) => self.add_space_prefix,
            Model::Bpe(_) => false,
            Model::Wpm(_) => true,
        }
    }

    pub(super) fn encode(&self, text: &str, parse: bool, add: bool) -> Vec<u32> {
        let specials = self.vocabulary.specials();
        let mut ids = Vec::new();
        let mut merger = Merger::default();
        ids.extend(specials.bos.filter(|_| add && self.add_bos));
        let mut after_special = true;
        for fragment in self.special.cut(text, parse) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(ref range) => match &self.model {
                    Model::Spm(spm) => {
                        let space = if after_special && self.add_space_prefix { SPACE } else { "" };
                        let text = text[range.clone()].replace(' ', SPACE);
                        spm.encode(&self.vocabulary, &mut merger, &format!("{space}{text}"), &mut ids);
                    }
                    Model::Wpm(wpm) => wpm.encode(&self.vocabulary, &text[range.clone()], &mut ids),
                    Model::Bpe(bpe) if bpe.is_plain() => {
                        let text = text[range.clone()].replace(' ', SPACE);
                        bpe.encode(&self.vocabulary, &mut merger, &text, &mut ids);
                    }
                    Model::Bpe(bpe) => {
                        bpe.encode(&self.vocabulary, &mut merger, &text[range.clone()], &mut ids);
                    }
                },
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        if matches!(self.model, Model::Wpm(_)) {
            ids.extend(specials.separator.filter(|_| add));
        } else {
            ids.extend(specials.eos.filter(|_| add && self.add_eos));
        }
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
            match &self.model {
                Model::Bpe(bpe) if !bpe.is_plain() => bpe::append_bytes(text, bytes),
                _ => append_unescaped(text, bytes),
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
