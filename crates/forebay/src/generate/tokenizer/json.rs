//! Tokenizers out of a folder's `tokenizer.json`, cut by the library that such files are written for.
//!
//! The library cuts text; what a token stands for is read from the file here, so that ids can be decoded one at
//! a time. Files are foreign input and the library may panic on one: that comes out as an error too.
//! Next room: `decoder`.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use serde::Deserialize;
use tokenizers::AddedVocabulary;

use super::{Specials, bpe, ends};
use crate::error::{Error, Result, VocabularyFault};

/// The files of a folder that say how its tokenizer works.
///
/// ```
/// use forebay::generate::tokenizer::{JsonFiles, Tokenizer};
///
/// let tokenizer = br#"{"added_tokens": [{"id": 2, "content": "</s>", "special": true, "single_word": false,
///     "lstrip": false, "rstrip": false, "normalized": false}],
///     "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
///     "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "</s>": 2}, "unk_token": "a"}}"#;
/// let config = br#"{"eos_token": "</s>"}"#;
/// let files = JsonFiles { tokenizer, config: Some(config), ..JsonFiles::default() };
/// let tokenizer = Tokenizer::from_json("tokenizer.json", &files)?;
/// assert_eq!(tokenizer.encode("b a</s>", true)?, [1, 0, 2]);
/// assert!(tokenizer.is_end(2));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`, which names the special tokens.
    pub config: Option<&'a [u8]>,
    /// `generation_config.json`, which names the ids at which generation stops.
    pub generation: Option<&'a [u8]>,
    /// `config.json`, which names them where there is no `generation_config.json`.
    pub model: Option<&'a [u8]>,
}

/// A tokenizer out of JSON.
#[derive(Debug)]
pub(super) struct Json {
    file: Arc<Path>,
    /// Whether special tokens in a text are taken as such is a setting of the library's tokenizer; it is off
    /// only while somebody holds the lock for writing.
    tokenizer: RwLock<tokenizers::Tokenizer>,
    tokens: HashMap<u32, Token>,
    size: usize,
    specials: Specials,
    adds_space: bool,
}

#[derive(Debug)]
struct Token {
    text: Box<str>,
    /// `None` where they are the text.
    bytes: Option<Box<[u8]>>,
    control: bool,
}

/// The parts of `tokenizer.json` that say how tokens are written.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    decoder: serde_json::Value,
}

/// How tokens are written.
#[derive(Clone, Copy, Debug, Default)]
struct Writing {
    /// Each byte as a character of its own.
    by_byte: bool,
    /// A space as U+2581.
    low_line: bool,
    /// Bytes as `<0x0A>`.
    byte_tokens: bool,
    /// A part of a word has two number signs before it, and other tokens a space.
    word_pieces: bool,
    /// The first token carries a space that the text does not have.
    adds_space: bool,
}

#[derive(Default, Deserialize)]
struct Config {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    unk_token: Option<Named>,
    sep_token: Option<Named>,
    pad_token: Option<Named>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Token { content: String },
}

#[derive(Default, Deserialize)]
struct Generation {
    eos_token_id: Option<Ids>,
    /// The part for text, of a model that has others.
    text_config: Option<Box<Generation>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Json {
    pub(super) fn read(file: &Path, files: &JsonFiles<'_>) -> Result<Self> {
        let file: Arc<Path> = file.into();
        let fault = |name: &Path, detail: String| {
            let fault = VocabularyFault::Json { detail };
            Error::Vocabulary { file: name.into(), fault }
        };
        let outline: Outline =
            serde_json::from_slice(files.tokenizer).map_err(|e| fault(&file, e.to_string()))?;
        let writing = Writing::of(&outline.decoder);
        let mut tokenizer = guard(&file, || tokenizers::Tokenizer::from_bytes(files.tokenizer))?;
        let config_name = file.with_file_name("tokenizer_config.json");
        let config: Config = parse(files.config).map_err(|detail| fault(&config_name, detail))?;
        let (name, ends) = match files.generation {
            Some(_) => ("generation_config.json", files.generation),
            None => ("config.json", files.model),
        };
        let name = file.with_file_name(name);
        let generation: Generation = parse(ends).map_err(|detail| fault(&name, detail))?;

        let find = |text: &str| tokenizer.token_to_id(text);
        let named = |named: &Option<Named>| named.as_ref().and_then(|named| find(named.text()));
        let mut specials = Specials {
            bos: named(&config.bos_token),
            eos: named(&config.eos_token),
            eot: None,
            unknown: named(&config.unk_token),
            separator: named(&config.sep_token),
            padding: named(&config.pad_token),
            ends: Vec::new(),
        };
        match generation.ends() {
            Some(Ids::One(id)) => specials.ends.push(id),
            Some(Ids::Many(ids)) => specials.ends.extend(ids),
            None => {}
        }
        let added = tokenizer.get_added_tokens_decoder();
        let is_added = |id: &u32| added.contains_key(id);
        let known = ends::complete(&mut specials, |text| find(text).filter(is_added));
        let shown: Vec<u32> = known.shown.into_iter().chain(known.normal).collect();
        let tokens = tokens(&tokenizer, writing, &shown);
        let size = tokens.keys().max().map_or(0, |id| *id as usize + 1);
        if tokens.is_empty() || size > i32::MAX as usize {
            return Err(Error::Vocabulary { file, fault: VocabularyFault::Size { found: size } });
        }
        specials.ends.retain(|id| tokens.contains_key(id));
        guard(&file, || show(&mut tokenizer, &shown))?;
        let tokenizer = RwLock::new(tokenizer);
        Ok(Self { file, tokenizer, tokens, size, specials, adds_space: writing.adds_space })
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn specials(&self) -> &Specials {
        &self.specials
    }

    pub(super) fn text(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(&id).map(|token| token.text.as_bytes())
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.tokens.get(&id).is_some_and(|token| token.control)
    }

    /// Whether a text's first token carries a space that the text does not have.
    pub(super) fn adds_space(&self) -> bool {
        self.adds_space
    }

    pub(super) fn encode(&self, text: &str, parse: bool, add: bool) -> Result<Vec<u32>> {
        let encode = |tokenizer: &tokenizers::Tokenizer| {
            guard(&self.file, || tokenizer.encode_fast(text, add)).map(|encoding| encoding.get_ids().to_vec())
        };
        if parse {
            // No holder of the lock can leave the setting wrong, since panics do not get past `guard`.
            return encode(&self.tokenizer.read().unwrap_or_else(PoisonError::into_inner));
        }
        let mut tokenizer = self.tokenizer.write().unwrap_or_else(PoisonError::into_inner);
        tokenizer.set_encode_special_tokens(true);
        let ids = encode(&tokenizer);
        tokenizer.set_encode_special_tokens(false);
        ids
    }

    /// Appends the bytes that a token stands for; `None` where there is no such token.
    pub(super) fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) -> Option<()> {
        let token = self.tokens.get(&id)?;
        bytes.extend_from_slice(token.bytes.as_deref().unwrap_or(token.text.as_bytes()));
        Some(())
    }
}

impl Generation {
    fn ends(self) -> Option<Ids> {
        self.eos_token_id.or_else(|| self.text_config?.ends())
    }
}

impl Named {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Token { content: text } => text,
        }
    }
}

impl Writing {
    /// Reads it from the file's decoder, which may be a sequence of decoders.
    fn of(decoder: &serde_json::Value) -> Self {
        let mut writing = Self::default();
        let parts = match decoder["decoders"].as_array() {
            Some(parts) => parts.as_slice(),
            None => std::slice::from_ref(decoder),
        };
        for part in parts {
            match part["type"].as_str() {
                Some("ByteLevel") => writing.by_byte = true,
                Some("ByteFallback") => writing.byte_tokens = true,
                Some("WordPiece") => (writing.word_pieces, writing.adds_space) = (true, true),
                Some("Replace") => writing.low_line |= part["pattern"]["String"] == "\u{2581}",
                Some("Strip") => writing.adds_space |= part["content"] == " " && part["start"] == 1,
                Some("Metaspace") => {
                    writing.low_line = true;
                    let never = part["prepend_scheme"] == "never" || part["add_prefix_space"] == false;
                    writing.adds_space |= !never;
                }
                _ => {}
            }
        }
        writing
    }

    /// The bytes that a token stands for, where they are not its text.
    fn bytes(self, text: &str) -> Option<Box<[u8]>> {
        let mut bytes = Vec::new();
        if self.by_byte {
            bpe::append_bytes(text.as_bytes(), &mut bytes);
        } else if let Some(byte) = byte_token(text).filter(|_| self.byte_tokens) {
            bytes.push(byte);
        } else if self.low_line {
            bytes.extend_from_slice(text.replace('\u{2581}', " ").as_bytes());
        } else if self.word_pieces {
            match text.strip_prefix("##") {
                Some(part) => bytes.extend_from_slice(part.as_bytes()),
                None => bytes.extend_from_slice(format!(" {text}").as_bytes()),
            }
        }
        let same = bytes.is_empty() || bytes == text.as_bytes();
        (!same).then(|| bytes.into())
    }
}

/// The byte of a token like `<0x0A>`.
fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

fn tokens(tokenizer: &tokenizers::Tokenizer, writing: Writing, shown: &[u32]) -> HashMap<u32, Token> {
    let words = tokenizer.get_vocab(false).into_iter();
    let mut tokens: HashMap<u32, Token> = words
        .map(|(text, id)| (id, Token { bytes: writing.bytes(&text), text: text.into(), control: false }))
        .collect();
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let control = token.special && !shown.contains(&id);
        // Added tokens are written as they are read, but for what stands for spaces.
        let bytes = if writing.low_line { writing.bytes(&token.content) } else { None };
        tokens.insert(id, Token { text: token.content.into(), bytes, control });
    }
    tokens
}

/// Makes special tokens such that are found and shown in any text.
fn show(tokenizer: &mut tokenizers::Tokenizer, shown: &[u32]) -> tokenizers::Result<()> {
    let mut added: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    if !added.iter().any(|(id, token)| token.special && shown.contains(id)) {
        return Ok(());
    }
    // The library numbers tokens in the order they are added.
    added.sort_by_key(|(id, _)| *id);
    for (id, token) in &mut added {
        token.special &= !shown.contains(id);
    }
    tokenizer.with_added_vocabulary(AddedVocabulary::new());
    tokenizer.add_tokens(added.into_iter().map(|(_, token)| token)).map(drop)
}

/// Reads a file that may be missing.
fn parse<T: Default + for<'a> Deserialize<'a>>(json: Option<&[u8]>) -> Result<T, String> {
    json.map_or_else(|| Ok(T::default()), |json| serde_json::from_slice(json).map_err(|e| e.to_string()))
}

/// Calls the library; what goes wrong in there is an error about the file.
fn guard<T>(file: &Arc<Path>, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let detail = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the tokenizer library panicked".to_owned(),
    };
    Err(Error::Vocabulary { file: file.clone(), fault: VocabularyFault::Json { detail } })
}
