//! A folder's tokenizer as the metadata of a GGUF file: the tokens, what each is for, merges or scores, and the special ones.
//!
//! It turns what it is sure of and refuses the rest by name: a file that cut texts otherwise than its folder would be worse
//! than none. It never cuts a text. Next rooms: `sentencepiece` for one kind of file, `generate::tokenizer`, which reads what
//! comes out.

mod folder;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    folder::Folder,
    gguf::{Array, Value},
    sentencepiece::SentencePieces,
};
use crate::error::{Error, Result, VocabularyFault};

pub(crate) use self::folder::files;

/// How a space is written inside of tokens.
const SPACE: char = '\u{2581}';
/// The score of tokens that nothing is merged into.
const NEVER: f32 = -1000.0;
/// What a token is for, as files number it.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const OF_USER: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The keys of the tokenizer of a folder, whose model has so many rows of tokens.
///
/// # Errors
/// [`Error::Folder`] where there is no tokenizer, [`Error::Vocabulary`] where it cannot be read, [`Error::Conversion`] where
/// no GGUF file could say what it does.
pub(super) fn entries(folder: &Folder, rows: usize) -> Result<Vec<(String, Value)>> {
    let Some(json) = folder.find(TOKENIZER)? else { return Err(folder.lacks(TOKENIZER)) };
    let file: Arc<Path> = folder.path(TOKENIZER).into();
    let parse = |file: &Arc<Path>, json: &[u8]| -> Result<Json> {
        serde_json::from_slice(json).map_err(|error| {
            let fault = VocabularyFault::Json { detail: error.to_string() };
            Error::Vocabulary { file: file.clone(), fault }
        })
    };
    let beside = |name: &str| match folder.find(name)? {
        Some(json) => parse(&folder.path(name).into(), &json),
        None => Ok(Json::Null),
    };
    let json = parse(&file, &json)?;
    let reader = Reader { file, json: &json, rows };
    let pieces = match folder.find("tokenizer.model")? {
        Some(bytes) => SentencePieces::read(&bytes),
        None => None,
    };
    let mut entries = match reader.is_of_bytes() {
        true => reader.of_bytes()?,
        false => reader.of_pieces(pieces.as_ref())?,
    };
    let [config, model, generation] =
        ["tokenizer_config.json", "config.json", "generation_config.json"].map(beside);
    entries.extend(reader.specials(&config?, &model?, &generation?));
    Ok(entries.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect())
}

const TOKENIZER: &str = "tokenizer.json";

/// What comes out: keys without what they all begin with.
type Entries = Vec<(&'static str, Value)>;

/// A `tokenizer.json`.
struct Reader<'a> {
    file: Arc<Path>,
    json: &'a Json,
    rows: usize,
}

/// Tokens by id.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i32>,
}

impl Reader<'_> {
    fn cannot(&self, what: impl Into<String>) -> Error {
        Error::Conversion { file: self.file.clone(), what: what.into() }
    }

    /// Whether tokens are written byte by byte, as those of GPT-2 are.
    fn is_of_bytes(&self) -> bool {
        steps(&self.json["pre_tokenizer"], "pretokenizers").iter().any(|step| step["type"] == "ByteLevel")
    }

    fn of_bytes(&self) -> Result<Entries> {
        let model = self.model()?;
        for normalizer in steps(&self.json["normalizer"], "normalizers") {
            // Text is hardly ever anything else, and no reader of GGUF files does it.
            if normalizer["type"] != "NFC" {
                return Err(
                    self.cannot(format!("the normalizer {} has no name in GGUF files", normalizer["type"]))
                );
            }
        }
        let whole_words = model["ignore_merges"] == true;
        let pre = name_of(&self.json["pre_tokenizer"], whole_words).ok_or_else(|| {
            self.cannot("the way the pre-tokenizer cuts words has no name in GGUF files that is known here")
        })?;
        let tokens = self.tokens()?;
        let merges = self.merges()?.iter().map(|[left, right]| format!("{left} {right}")).collect::<Array>();
        Ok(vec![
            ("model", Value::text("gpt2")),
            ("pre", Value::text(pre)),
            ("tokens", Value::Array(tokens.texts.iter().collect())),
            ("token_type", Value::Array(Array::from(&*tokens.kinds))),
            ("merges", Value::Array(merges)),
        ])
    }

    /// A vocabulary whose pieces are joined by their scores.
    fn of_pieces(&self, pieces: Option<&SentencePieces>) -> Result<Entries> {
        let model = self.model()?;
        if model["byte_fallback"] != true {
            return Err(self.cannot("a vocabulary that is neither of bytes nor falls back to them"));
        }
        let mut adds_space = false;
        for normalizer in steps(&self.json["normalizer"], "normalizers") {
            match normalizer["type"].as_str() {
                Some("Prepend") => adds_space = true,
                Some("Replace") if normalizer["pattern"]["String"] == " " => {}
                _ => {
                    let kind = &normalizer["type"];
                    return Err(self.cannot(format!("the normalizer {kind} has no name in GGUF files")));
                }
            }
        }
        for step in steps(&self.json["pre_tokenizer"], "pretokenizers") {
            match step["type"].as_str() {
                Some("Metaspace") => {
                    adds_space |= step["prepend_scheme"] != "never" && step["add_prefix_space"] != false
                }
                // Spaces are no spaces any more where this looks for them.
                Some("Split") if step["pattern"]["String"] == " " => {}
                _ => {
                    let kind = &step["type"];
                    return Err(self.cannot(format!("the pre-tokenizer {kind} has no name in GGUF files")));
                }
            }
        }
        let mut tokens = self.tokens()?;
        let mut scores = match pieces {
            Some(pieces) => pieces.pieces.iter().map(|piece| piece.score).collect(),
            None => self.scores_of_merges(&tokens)?,
        };
        scores.resize(self.rows, NEVER);
        for (id, piece) in pieces.iter().flat_map(|pieces| pieces.pieces.iter().enumerate()).take(self.rows) {
            // What was added stands as it was added.
            if tokens.kinds[id] == NORMAL && tokens.texts[id].as_bytes() != piece.text {
                return Err(self.cannot(format!("token {id} is another one in tokenizer.model")));
            }
            if matches!(tokens.kinds[id], NORMAL | UNUSED) {
                tokens.kinds[id] = piece.kind;
                tokens.texts[id] = String::from_utf8_lossy(&piece.text).into_owned();
            }
        }
        let unknown = model["unk_token"].as_str();
        for (text, kind) in tokens.texts.iter().zip(&mut tokens.kinds) {
            *kind = match text {
                text if Some(text.as_str()) == unknown => UNKNOWN,
                text if is_byte(text) => BYTE,
                _ => *kind,
            };
        }
        let floats: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        Ok(vec![
            ("model", Value::text("llama")),
            ("pre", Value::text("default")),
            ("tokens", Value::Array(tokens.texts.iter().collect())),
            ("scores", Value::Array(Array::floats(floats))),
            ("token_type", Value::Array(Array::from(&*tokens.kinds))),
            ("add_space_prefix", Value::Bool(adds_space)),
        ])
    }

    /// Merges as scores: the earlier one is, the better what it makes.
    fn scores_of_merges(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        let ids: HashMap<&str, usize> =
            tokens.texts.iter().enumerate().map(|(id, text)| (&**text, id)).collect();
        let mut scores = vec![NEVER; self.rows];
        let (mut made, mut last) = (HashSet::new(), None);
        for (rank, [left, right]) in self.merges()?.iter().enumerate() {
            let Some(&id) = ids.get(&*format!("{left}{right}")) else { continue };
            // A piece that is made at two ranks has no one score.
            if last != Some(id) && !made.insert(id) {
                let what = "merges that no scores stand for; a tokenizer.model in the folder would say them";
                return Err(self.cannot(what));
            }
            if last != Some(id) {
                scores[id] = -(rank as f32);
            }
            last = Some(id);
        }
        Ok(scores)
    }

    fn model(&self) -> Result<&Json> {
        let model = &self.json["model"];
        match model["type"].as_str().unwrap_or("BPE") {
            "BPE" => Ok(model),
            other => {
                Err(self.cannot(format!("the vocabulary is of type {other}, and only BPE can be written")))
            }
        }
    }

    fn merges(&self) -> Result<Vec<[&str; 2]>> {
        fn pair(merge: &Json) -> Option<[&str; 2]> {
            match merge {
                Json::String(both) => both.split_once(' ').map(Into::into),
                merge => Some([merge[0].as_str()?, merge[1].as_str()?]),
            }
        }
        let merges = match &self.json["model"]["merges"] {
            Json::Array(merges) => merges.iter().map(pair).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        merges.ok_or_else(|| self.cannot("its merges are no list of pairs"))
    }

    /// All tokens; rows of the model that none has are not used.
    fn tokens(&self) -> Result<Tokens> {
        let mut tokens = Tokens {
            texts: (0..self.rows).map(|id| format!("[PAD{id}]")).collect(),
            kinds: vec![UNUSED; self.rows],
        };
        let vocabulary = self.json["model"]["vocab"].as_object();
        let vocabulary = vocabulary.ok_or_else(|| self.cannot("its vocabulary is no table of texts"))?;
        for (text, id) in vocabulary {
            let id = id.as_u64().filter(|id| *id < self.rows as u64);
            let id = id.ok_or_else(|| self.cannot(format!("the model has no row for the token {text:?}")))?;
            (tokens.texts[id as usize], tokens.kinds[id as usize]) = (text.clone(), NORMAL);
        }
        for added in self.json["added_tokens"].as_array().into_iter().flatten() {
            let (id, text) =
                (added["id"].as_u64().unwrap_or(u64::MAX), added["content"].as_str().unwrap_or_default());
            // Tokens of other parts may lie behind the last row.
            let Some(kind) = usize::try_from(id).ok().and_then(|id| tokens.kinds.get_mut(id)) else {
                continue;
            };
            let special = added["special"] == true;
            *kind = if special { CONTROL } else { OF_USER };
            tokens.texts[id as usize] = if special { text.to_owned() } else { text.replace(SPACE, " ") };
        }
        Ok(tokens)
    }

    /// The special tokens: by the texts that the settings of the tokenizer name, or the ids that those of the model do.
    fn specials(&self, config: &Json, model: &Json, generation: &Json) -> Entries {
        let vocabulary = &self.json["model"]["vocab"];
        let find = |text: &str| -> Option<u64> {
            let added = self.json["added_tokens"].as_array().into_iter().flatten();
            let added = added.filter(|added| added["content"] == text).find_map(|added| added["id"].as_u64());
            added.or_else(|| vocabulary[text].as_u64())
        };
        let fits = |id: u64| u32::try_from(id).ok().filter(|id| (*id as usize) < self.rows);
        let named = |name: &str| -> Option<u32> {
            let text = &config[format!("{name}_token")];
            let text = text.as_str().or_else(|| text["content"].as_str());
            let key = format!("{name}_token_id");
            let own = [&model[&key], &model["text_config"][&key]].into_iter().find_map(first);
            text.and_then(find).or(own).and_then(fits)
        };
        let mut entries = Entries::new();
        let keys = [
            ("bos", "bos_token_id"),
            ("eos", "eos_token_id"),
            ("unk", "unknown_token_id"),
            ("sep", "seperator_token_id"),
            ("pad", "padding_token_id"),
        ];
        entries.extend(keys.into_iter().filter_map(|(name, key)| Some((key, Value::U32(named(name)?)))));
        let eos = named("eos").map(u64::from);
        let ends = match &generation["eos_token_id"] {
            Json::Array(ends) => ends.iter().filter_map(Json::as_u64).collect(),
            one => one.as_u64().into_iter().collect::<Vec<u64>>(),
        };
        // Files have room for one more end of a text.
        let other = ends.into_iter().find(|end| Some(*end) != eos).and_then(fits);
        entries.extend(other.map(|id| ("eot_token_id", Value::U32(id))));
        let template = steps(&self.json["post_processor"], "processors");
        let single = template.iter().find_map(|step| step["single"].as_array());
        let says = |end: Option<&Json>, name: &str| {
            let id = end.and_then(|end| end["SpecialToken"]["id"].as_str()).and_then(find).and_then(fits);
            id.is_some() && id == named(name)
        };
        let (bos, eos) = match single {
            Some(parts) => (says(parts.first(), "bos"), says(parts.last(), "eos")),
            None => (false, false),
        };
        entries.extend([("add_bos_token", Value::Bool(bos)), ("add_eos_token", Value::Bool(eos))]);
        entries
    }
}

/// An id, or the first of a list.
fn first(id: &Json) -> Option<u64> {
    id.as_u64().or_else(|| id[0].as_u64())
}

fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The steps of a part of the file, which may be one, several, or none.
fn steps<'a>(part: &'a Json, list: &str) -> Vec<&'a Json> {
    match (part, part[list].as_array()) {
        (Json::Null, _) => Vec::new(),
        (_, Some(steps)) => steps.iter().collect(),
        (one, None) => vec![one],
    }
}

/// The letters of a word, by case, as the words of GPT-4o have them.
const UPPER: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
const LOWER: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
const CONTRACTION: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";

/// What stands for the words of GPT-2, which has a rule of its own in `tokenizer.json`.
const GPT2: &str = "words of GPT-2";
/// What stands for digits one by one, likewise.
const DIGITS: &str = "digits";

/// Rules by which words are cut, and the names that GGUF files have for them, with whether a word that is a token is not merged.
fn rules() -> [(String, &'static str, bool); 8] {
    let others = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
    let words = |letters: &str, digits: &str, others: &str| {
        format!("{CONTRACTION}|{letters}|{digits}|{others}|{SPACES}")
    };
    let cased = |end: &str, digits: &str| {
        let lead = r"[^\r\n\p{L}\p{N}]?";
        let word = format!("{lead}{UPPER}*{LOWER}+{end}|{lead}{UPPER}+{LOWER}*{end}");
        format!(r"{word}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}")
    };
    let letters = r"[^\r\n\p{L}\p{N}]?\p{L}+";
    let marked = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+";
    let [one, three] = [r"\p{N}", r"\p{N}{1,3}"];
    [
        (words(letters, three, others), "llama-bpe", true),
        (words(letters, three, others), "smaug-bpe", false),
        (words(letters, one, others), "qwen2", false),
        (words(marked, one, r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"), "qwen35", false),
        (cased(&format!("{CONTRACTION}?"), three), "gpt-4o", false),
        (cased("", one), "tekken", true),
        (GPT2.to_owned(), "gpt-2", false),
        (format!("{DIGITS}, {GPT2}"), "smollm", false),
    ]
}

/// The name that GGUF files have for a pre-tokenizer; none if it is not known. `whole_words`: a word that is a token is not merged.
fn name_of(pre_tokenizer: &Json, whole_words: bool) -> Option<&'static str> {
    let mut found = Vec::new();
    for step in steps(pre_tokenizer, "pretokenizers") {
        match step["type"].as_str()? {
            "ByteLevel" if step["add_prefix_space"] == true => return None,
            "ByteLevel" if step["use_regex"] == false => {}
            "ByteLevel" => found.push(GPT2),
            "Digits" if step["individual_digits"] == true => found.push(DIGITS),
            "Split" => {
                let removed = step["behavior"] == "Removed" && step["invert"] == true;
                let isolated = step["behavior"] == "Isolated" && step["invert"] != true;
                found.push(step["pattern"]["Regex"].as_str().filter(|_| removed || isolated)?);
            }
            _ => return None,
        }
    }
    let found = found.join(", ");
    let rules = rules().into_iter().filter(|(rule, ..)| *rule == found);
    let mut rules: Vec<_> = rules.map(|(_, name, whole)| (whole == whole_words, name)).collect();
    // Where only one rule cuts words so, the name says it, whatever is merged.
    rules.sort();
    rules.last().map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
