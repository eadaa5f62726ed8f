//! The tokens of a vocabulary out of GGUF metadata: texts, scores, what each is for, and the special ones.
//!
//! It reads lists and recognises special tokens, also by their text where the file does not name them.
//! It never cuts text. Next room: `native`, which does.

use super::texts::Texts;
use super::{Specials, ends};
use crate::error::{Error, Result, VocabularyFault};
use crate::formats::gguf::{Array, Metadata, Strings, Value};

/// What a token is for: a set of the constants of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uses(u16);

impl Uses {
    pub(super) const NONE: Self = Self(0);
    pub(super) const UNKNOWN: Self = Self(1);
    pub(super) const NORMAL: Self = Self(2);
    pub(super) const CONTROL: Self = Self(4);
    pub(super) const ADDED: Self = Self(8);
    pub(super) const UNUSED: Self = Self(16);
    pub(super) const BYTE: Self = Self(32);
    /// Swallows white space before it.
    pub(super) const STRIP_LEFT: Self = Self(64);
    /// Swallows white space after it.
    pub(super) const STRIP_RIGHT: Self = Self(128);

    fn from_number(number: i64) -> Self {
        match number {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::ADDED,
            5 => Self::UNUSED,
            6 => Self::BYTE,
            _ => Self::NONE,
        }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the two sets have something in common.
    pub(super) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The tokens by id.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    /// The first `size` are the tokens; a tokenizer may add pieces of words behind them.
    pub(super) texts: Texts,
    size: usize,
    /// Nothing where the file has none, which counts as zero each.
    scores: Vec<f32>,
    uses: Vec<Uses>,
    specials: Specials,
    /// Bytes of the longest token.
    longest: usize,
}

impl Vocabulary {
    pub(super) fn read(metadata: &Metadata, defaults: Specials) -> Result<Self> {
        let fault = |fault| Error::Vocabulary { file: metadata.file().clone(), fault };
        let tokens: Strings<'_> = metadata.get("tokenizer.ggml.tokens")?;
        let size = tokens.len();
        // Half of all ids stay free for the pieces of words that merges bring.
        if size == 0 || size > i32::MAX as usize / 2 {
            return Err(fault(VocabularyFault::Size { found: size }));
        }
        let mut texts = Texts::default();
        texts.reserve(size);
        let mut longest = 0;
        for (id, text) in tokens.iter().enumerate() {
            match text {
                b"" => texts.push(format!("[EMPTY_{id}]").as_bytes()),
                text => texts.push(text),
            };
            longest = longest.max(text.len());
        }
        let scores = read_scores(metadata, size)?;
        let uses = match metadata.find::<&Array>("tokenizer.ggml.token_type")? {
            Some(array) => {
                let numbers = numbers(array, "tokenizer.ggml.token_type", size).map_err(fault)?;
                numbers.map(|n| Uses::from_number(n as i64)).collect()
            }
            None => vec![Uses::NORMAL; size],
        };
        let mut vocabulary = Self { texts, size, scores, uses, specials: defaults, longest };
        vocabulary.name_specials(metadata)?;
        vocabulary.complete_specials();
        vocabulary.set_strips(metadata)?;
        Ok(vocabulary)
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn specials(&self) -> &Specials {
        &self.specials
    }

    /// The token of this text.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.texts.find(text).filter(|id| self.is_token(*id))
    }

    pub(super) fn is_token(&self, id: u32) -> bool {
        (id as usize) < self.size
    }

    pub(super) fn text(&self, id: u32) -> Option<&[u8]> {
        self.texts.get(id).filter(|_| self.is_token(id))
    }

    pub(super) fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or_default()
    }

    pub(super) fn uses(&self, id: u32) -> Uses {
        self.uses.get(id as usize).copied().unwrap_or(Uses::NONE)
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.uses(id).any(Uses::CONTROL.and(Uses::UNKNOWN))
    }

    /// The byte that a byte token, written like `<0x0A>`, stands for.
    pub(super) fn byte(&self, id: u32) -> Option<u8> {
        let digits = self.text(id)?.strip_prefix(b"<0x")?.strip_suffix(b">")?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    }

    /// The byte token for a byte, or the token that is just this byte.
    pub(super) fn byte_token(&self, byte: u8) -> Option<u32> {
        self.find(format!("<0x{byte:02X}>").as_bytes()).or_else(|| self.find(&[byte]))
    }

    /// Takes the ids that the file names; one out of range counts as not named.
    fn name_specials(&mut self, metadata: &Metadata) -> Result<()> {
        let size = self.size as u64;
        let Specials { bos, eos, eot, unknown, padding, separator, .. } = &mut self.specials;
        let slots = [
            ("tokenizer.ggml.bos_token_id", bos),
            ("tokenizer.ggml.eos_token_id", eos),
            ("tokenizer.ggml.eot_token_id", eot),
            ("tokenizer.ggml.unknown_token_id", unknown),
            ("tokenizer.ggml.padding_token_id", padding),
            ("tokenizer.ggml.seperator_token_id", separator),
        ];
        for (key, slot) in slots {
            *slot = slot.filter(|id| u64::from(*id) < size);
            if let Some(id) = metadata.find::<i64>(key)?.and_then(|id| u32::try_from(id).ok())
                && u64::from(id) < size
            {
                *slot = Some(id);
            }
        }
        for key in ["tokenizer.ggml.eom_token_id", "tokenizer.ggml.fim_pad_token_id"]
            .into_iter()
            .chain(["tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"])
        {
            if let Some(id) = metadata.find::<i64>(key)?.and_then(|id| u32::try_from(id).ok())
                && u64::from(id) < size
            {
                self.specials.ends.push(id);
            }
        }
        Ok(())
    }

    /// Recognises by their texts what files often do not name.
    fn complete_specials(&mut self) {
        let mut specials = std::mem::take(&mut self.specials);
        let known = ends::complete(&mut specials, |text| self.find(text.as_bytes()));
        self.specials = specials;
        for id in known.control {
            self.mark(id, Uses::CONTROL);
        }
        for (ids, uses) in [(known.shown, Uses::ADDED), (known.normal, Uses::NORMAL)] {
            for id in ids {
                self.set(id, uses);
            }
        }
    }

    fn mark(&mut self, id: u32, uses: Uses) {
        self.set(id, self.uses(id).and(uses));
    }

    fn set(&mut self, id: u32, uses: Uses) {
        if let Some(slot) = self.uses.get_mut(id as usize) {
            *slot = uses;
        }
    }

    /// White space around special tokens: files do not say it, so models are known by name.
    fn set_strips(&mut self, metadata: &Metadata) -> Result<()> {
        let lower = |key| Ok::<_, Error>(metadata.find::<&str>(key)?.unwrap_or_default().to_lowercase());
        let name = lower("general.name")?;
        let pre = metadata.find::<&str>("tokenizer.ggml.pre")?.unwrap_or_default();
        let architecture = metadata.find::<&str>("general.architecture")?.unwrap_or_default();
        let any = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if any(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
            || any(architecture, &["nomic-bert-moe", "jina-bert-v3"])
        {
            if let Some(id) = self.find(b"<mask>") {
                self.mark(id, Uses::STRIP_LEFT);
            }
        } else if any(&name, &["phi-3", "phi3"]) {
            let special = Uses::CONTROL.and(Uses::ADDED).and(Uses::UNKNOWN);
            for uses in self.uses.iter_mut().filter(|uses| uses.any(special)) {
                *uses = uses.and(Uses::STRIP_RIGHT);
            }
            if let Some(id) = self.find(b"</s>") {
                self.mark(id, Uses::STRIP_RIGHT);
            }
            for text in ["<unk>", "<s>", "<|endoftext|>"] {
                if let Some(id) = self.find(text.as_bytes()) {
                    self.set(id, self.uses(id).without(Uses::STRIP_RIGHT));
                }
            }
        } else if name.contains("modern-bert")
            && let Some(id) = self.find(b"[MASK]")
        {
            self.mark(id, Uses::STRIP_LEFT);
        }
        Ok(())
    }
}

fn read_scores(metadata: &Metadata, size: usize) -> Result<Vec<f32>> {
    const KEY: &str = "tokenizer.ggml.scores";
    let fault = |fault| Error::Vocabulary { file: metadata.file().clone(), fault };
    match metadata.find::<&Array>(KEY)? {
        Some(array) => Ok(numbers(array, KEY, size).map_err(fault)?.collect()),
        None => Ok(Vec::new()),
    }
}

/// The first `size` numbers of a list that has to have so many.
fn numbers<'a>(
    array: &'a Array,
    list: &'static str,
    size: usize,
) -> Result<impl Iterator<Item = f32> + use<'a>, VocabularyFault> {
    let short = VocabularyFault::Length { list, found: array.len(), wanted: size };
    let scalars = array.scalars().filter(|_| array.len() >= size).ok_or(short)?;
    let number = |value| match value {
        Value::F32(n) => n,
        Value::F64(n) => n as f32,
        Value::I32(n) => n as f32,
        Value::U32(n) => n as f32,
        Value::I8(n) => n.into(),
        Value::U8(n) => n.into(),
        Value::I16(n) => n.into(),
        Value::U16(n) => n.into(),
        _ => 0.0,
    };
    Ok(scalars.take(size).map(number))
}
