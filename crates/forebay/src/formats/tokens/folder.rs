//! The tokenizer of a GGUF file as the files of a folder: tokens, merges, the rules that cut words, and the special tokens.
//!
//! Scores of pieces become merges in the order of the scores. Rules come from the table that the other direction reads, and
//! a file whose rules are not in it is refused. Next room: `generate::tokenizer::json`, which reads what comes out.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::{BYTE, CONTROL, DIGITS, GPT2, NORMAL, OF_USER, SPACE, UNKNOWN, UNUSED, rules};
use crate::{
    error::{Error, Result},
    formats::{
        gguf::{Metadata, Strings},
        settings::Settings,
    },
};

/// The files of a folder that say how text is cut into tokens and how more of it is generated.
///
/// # Errors
/// [`Error::MissingKey`] and [`Error::KeyValue`] where the metadata does not say what it has to, [`Error::Conversion`] where no
/// `tokenizer.json` could say what it does.
pub(crate) fn files(metadata: &Metadata) -> Result<Vec<(&'static str, Json)>> {
    let reader = Reader::read(metadata)?;
    let tokenizer = match reader.model {
        "gpt2" => reader.of_bytes()?,
        _ => reader.of_pieces()?,
    };
    Ok(vec![
        (super::TOKENIZER, tokenizer),
        ("tokenizer_config.json", reader.config()?),
        ("generation_config.json", reader.generation()?),
    ])
}

/// Tokens that end a text or a turn, by what their keys begin with.
const ENDS: [&str; 3] = ["eos", "eot", "eom"];
/// Names that stand for the rules of another one.
const SAME: [(&[&str], &str); 5] = [
    (
        &["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        "llama-bpe",
    ),
    (&["dbrx", "chatglm-bpe"], "smaug-bpe"),
    (&["deepseek-r1-qwen", "megrez", "stablelm2"], "qwen2"),
    (&["llama4", "kanana2"], "gpt-4o"),
    (&["phi-2", "mpt", "olmo", "jais", "exaone4"], "gpt-2"),
];

/// What a file says of its tokenizer.
struct Reader<'a> {
    metadata: &'a Metadata,
    model: &'static str,
    texts: Vec<&'a str>,
    kinds: Vec<i32>,
    pre: &'a str,
    adds_bos: bool,
    adds_eos: bool,
}

impl<'a> Reader<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self> {
        let cannot = |what: String| Error::Conversion { file: metadata.file().clone(), what };
        let model = match metadata.get::<&str>("tokenizer.ggml.model")? {
            "gpt2" => "gpt2",
            "llama" => "llama",
            other => {
                let what =
                    format!("the tokenizer is of type {other}, and only gpt2 and llama can be written");
                return Err(cannot(what));
            }
        };
        let tokens: Strings<'_> = metadata.get("tokenizer.ggml.tokens")?;
        let texts = tokens.iter().map(str::from_utf8).collect::<Result<Vec<_>, _>>();
        let texts = texts.map_err(|_| cannot("tokens that are no UTF-8".to_owned()))?;
        let kinds = metadata.find::<Vec<i32>>("tokenizer.ggml.token_type")?;
        let kinds = kinds.unwrap_or_else(|| vec![NORMAL; texts.len()]);
        if kinds.len() < texts.len() {
            return Err(cannot(
                "a list of what tokens are for that is shorter than that of tokens".to_owned(),
            ));
        }
        let pre = metadata.find::<&str>("tokenizer.ggml.pre")?.unwrap_or("default");
        let pre = SAME.iter().find(|(names, _)| names.contains(&pre)).map_or(pre, |(_, name)| name);
        // Rules of words that are not merged further come with a token that begins a text.
        let usual = model == "llama" || rules().iter().any(|(_, name, whole)| *name == pre && *whole);
        let flag = |key: &str| metadata.find::<bool>(&format!("tokenizer.ggml.add_{key}"));
        let (adds_bos, adds_eos) = (flag("bos_token")?.unwrap_or(usual), flag("eos_token")?.unwrap_or(false));
        Ok(Self { metadata, model, texts, kinds, pre, adds_bos, adds_eos })
    }

    fn cannot(&self, what: impl Into<String>) -> Error {
        Error::Conversion { file: self.metadata.file().clone(), what: what.into() }
    }

    /// The id of a special token that the file names, if there is a token of it.
    fn named(&self, name: &str) -> Result<Option<u32>> {
        let usual = match (self.model, name) {
            ("llama", "bos") => Some(1),
            ("llama", "eos") => Some(2),
            ("llama", "unknown") => Some(0),
            _ => None,
        };
        let found: Option<u32> = self.metadata.find(&format!("tokenizer.ggml.{name}_token_id"))?;
        Ok(found.or(usual).filter(|id| (*id as usize) < self.texts.len()))
    }

    fn text_of(&self, id: u32) -> &'a str {
        self.texts.get(id as usize).copied().unwrap_or_default()
    }

    /// Tokens by text. Rows of the model that no token has are left out.
    fn vocabulary(&self) -> Map<String, Json> {
        let tokens = self.texts.iter().zip(&self.kinds).enumerate();
        let used = tokens.filter(|(id, (text, kind))| {
            !(text.is_empty() || **kind == UNUSED && **text == format!("[PAD{id}]"))
        });
        used.map(|(id, (text, _))| ((*text).to_owned(), id.into())).collect()
    }

    /// Tokens that are found before words are cut.
    fn added(&self) -> Result<Json> {
        let name = self.metadata.find::<&str>("general.name")?.unwrap_or_default().to_lowercase();
        // Of these models special tokens swallow the spaces behind them, but for some.
        let swallow = name.contains("phi-3") || name.contains("phi3");
        let unknown = self.named("unknown")?;
        let added = self.texts.iter().zip(&self.kinds).enumerate().filter(|(id, (text, kind))| {
            let own = matches!(**kind, CONTROL | OF_USER | UNKNOWN);
            !text.is_empty() && (own || swallow && **text == "</s>" || Some(*id as u32) == unknown)
        });
        Ok(added
            .map(|(id, (text, kind))| {
                let rstrip = swallow && !["<unk>", "<s>", "<|endoftext|>"].contains(text);
                json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": rstrip,
                    "normalized": false, "special": *kind != OF_USER })
            })
            .collect())
    }

    /// A vocabulary of bytes, with its merges.
    fn of_bytes(&self) -> Result<Json> {
        let Some((rule, _, whole)) = rules().into_iter().find(|(_, name, _)| *name == self.pre) else {
            let known: Vec<&str> = rules().iter().map(|(_, name, _)| *name).collect();
            let (pre, known) = (self.pre, known.join(", "));
            return Err(self.cannot(format!(
                "the pre-tokenizer {pre:?} has no rule in folders that is known here; known are {known}"
            )));
        };
        let vocabulary = self.vocabulary();
        let merges: Strings<'_> = self.metadata.get("tokenizer.ggml.merges")?;
        let merges = merges.iter().map(|merge| {
            let merge = str::from_utf8(merge).ok()?;
            // A piece may itself be a space.
            let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ')?.0;
            let (left, right) = (&merge[..at], &merge[at + 1..]);
            let known = [left, right, &format!("{left}{right}")]
                .into_iter()
                .all(|text| vocabulary.contains_key(text));
            known.then(|| json!([left, right]))
        });
        let merges: Option<Vec<Json>> = merges.collect();
        let merges = merges.ok_or_else(|| self.cannot("merges of pieces that are no tokens"))?;
        let levels = |words: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words });
        let digits = json!({ "type": "Digits", "individual_digits": true });
        let pre = match rule.strip_prefix(DIGITS) {
            Some(_) => json!({ "type": "Sequence", "pretokenizers": [digits, levels(true)] }),
            None if rule == GPT2 => levels(true),
            None => json!({ "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": rule }, "behavior": "Isolated", "invert": false },
                levels(false)] }),
        };
        let model = json!({ "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": whole,
            "vocab": vocabulary, "merges": merges });
        self.whole(Json::Null, pre, levels(true), model)
    }

    /// A vocabulary of pieces, with the merges that their scores stand for.
    fn of_pieces(&self) -> Result<Json> {
        let adds_space = self.metadata.find::<bool>("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let space = SPACE.to_string();
        let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": space });
        let normalizer = match adds_space {
            true => {
                json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": space }, spaces] })
            }
            false => spaces,
        };
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": space }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if adds_space {
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let unknown = self.named("unknown")?.map(|id| self.text_of(id));
        let model = json!({ "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": self.vocabulary(), "merges": self.merges()? });
        self.whole(normalizer, Json::Null, json!({ "type": "Sequence", "decoders": decoders }), model)
    }

    /// For each piece the pairs of pieces that it can be made of, those of the best piece first.
    fn merges(&self) -> Result<Vec<Json>> {
        let scores = self.metadata.find::<Vec<f32>>("tokenizer.ggml.scores")?;
        let Some(scores) = scores.filter(|scores| scores.len() >= self.texts.len()) else {
            return Err(self.cannot("pieces of which not all have a score"));
        };
        let joins = |id: usize| matches!(self.kinds[id], NORMAL | OF_USER | UNUSED);
        let ids: HashMap<&str, usize> = (0..self.texts.len())
            .filter(|id| self.kinds[*id] != BYTE)
            .map(|id| (self.texts[id], id))
            .collect();
        let mut merges: Vec<(usize, [usize; 2])> = Vec::new();
        for (id, text) in self.texts.iter().enumerate().filter(|(id, _)| joins(*id)) {
            // Of two tokens of one text, the later one is found.
            if ids.get(text) != Some(&id) {
                continue;
            }
            let splits = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
            merges.extend(splits.filter_map(|(left, right)| Some((id, [*ids.get(left)?, *ids.get(right)?]))));
        }
        merges.sort_by(|(one, a), (other, b)| {
            scores[*other].total_cmp(&scores[*one]).then(one.cmp(other)).then(a.cmp(b))
        });
        Ok(merges.iter().map(|(_, pair)| pair.map(|id| self.texts[id]).as_slice().into()).collect())
    }

    /// The file, of its parts.
    fn whole(&self, normalizer: Json, pre_tokenizer: Json, decoder: Json, model: Json) -> Result<Json> {
        let bos = if self.adds_bos { self.named("bos")? } else { None };
        let eos = if self.adds_eos { self.named("eos")? } else { None };
        let around = |sequence: &str| -> Vec<Json> {
            let special = |id: Option<u32>| {
                id.map(|id| json!({ "SpecialToken": { "id": self.text_of(id), "type_id": 0 } }))
            };
            let text = json!({ "Sequence": { "id": sequence, "type_id": 0 } });
            [special(bos), Some(text), special(eos)].into_iter().flatten().collect()
        };
        let specials: Map<String, Json> = [bos, eos]
            .into_iter()
            .flatten()
            .map(|id| {
                (
                    self.text_of(id).to_owned(),
                    json!({ "id": self.text_of(id), "ids": [id], "tokens": [self.text_of(id)] }),
                )
            })
            .collect();
        let processor = match specials.is_empty() {
            true => Json::Null,
            false => json!({ "type": "TemplateProcessing", "single": around("A"),
                "pair": ([around("A"), around("B")].concat()), "special_tokens": specials }),
        };
        Ok(json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added()?,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": processor, "decoder": decoder,
            "model": model }))
    }

    /// `tokenizer_config.json`.
    fn config(&self) -> Result<Json> {
        let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
            "add_bos_token": self.adds_bos, "add_eos_token": self.adds_eos });
        for (name, theirs) in
            [("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad"), ("seperator", "sep")]
        {
            if let Some(id) = self.named(name)? {
                config[format!("{theirs}_token")] = self.text_of(id).into();
            }
        }
        if let Some(template) = self.metadata.find::<&str>("tokenizer.chat_template")? {
            config["chat_template"] = template.into();
        }
        Ok(config)
    }

    /// `generation_config.json`.
    fn generation(&self) -> Result<Json> {
        let settings = Settings::of_gguf(self.metadata)?;
        let ends = ENDS.iter().map(|name| self.named(name)).collect::<Result<Vec<_>>>()?;
        let mut ends: Vec<u32> = ends.into_iter().flatten().collect();
        ends.dedup();
        let mut generation = json!({ "eos_token_id": ends });
        for (name, theirs) in [("bos", "bos_token_id"), ("padding", "pad_token_id")] {
            if let Some(id) = self.named(name)? {
                generation[theirs] = id.into();
            }
        }
        let Settings { temperature, top_k, top_p, min_p, repetition_penalty, .. } = settings;
        let numbers = [
            ("temperature", temperature),
            ("top_p", top_p),
            ("min_p", min_p),
            ("repetition_penalty", repetition_penalty),
        ];
        for (key, number) in numbers {
            if let Some(number) = number.and_then(|number| number.to_string().parse::<f64>().ok()) {
                generation[key] = number.into();
            }
        }
        if let Some(top_k) = top_k {
            generation["top_k"] = top_k.into();
        }
        if temperature.is_some() {
            generation["do_sample"] = true.into();
        }
        Ok(generation)
    }
}
