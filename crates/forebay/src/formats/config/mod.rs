//! `config.json` of a folder, turned into the keys that GGUF files have, so that models know one kind of metadata.
//!
//! It reads numbers and says nothing about what is computed with them; what it cannot turn into keys it refuses by name.
//! Next rooms: `rope` for positions, `back` for the way back, `names` for the tensors, `models` for who asks for the keys.

mod back;
mod rope;
mod table;

use std::{path::Path, sync::Arc};

use serde_json::Value as Json;

pub(super) use self::back::{Described, Facts, describe};
use self::table::Table;
use super::{
    gguf::{Metadata, Value},
    names::Naming,
};
use crate::error::{Error, Fault, FormatError, Place, Result};

/// What a `config.json` says, in the words of the scheme.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) file: Arc<Path>,
    pub(super) entries: Vec<(String, Value)>,
    /// Tensors that are computed from the configuration.
    pub(super) given: Vec<(String, Vec<f32>)>,
    pub(super) naming: Naming,
    /// Whether norms hold what their weights differ from one by.
    pub(super) norms_around_one: Norms,
    /// Heads of layers that keep a state, if there are such layers.
    pub(super) heads: Option<Heads>,
    /// Whether the output has to be there, because nothing else stands for it.
    pub(super) needs_output: bool,
}

/// What the weights of norms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Weights.
    Plain,
    /// Weights less one.
    LessOne,
    /// Weights less one, unless MLX has written the folder, which adds it.
    LessOneButByMlx,
}

/// Heads of a layer that keeps a state: rows that belong to each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) key_width: u64,
    pub(super) value_width: u64,
}

/// Families by the class that a configuration names, and by its type where it names none.
const FAMILIES: &[(&str, &str, Family)] = &[
    ("Gemma2ForCausalLM", "gemma2", Family::Gemma2),
    ("Gemma3ForCausalLM", "gemma3_text", Family::Gemma3),
    ("Gemma3ForConditionalGeneration", "gemma3", Family::Gemma3),
    ("GptOssForCausalLM", "gpt_oss", Family::GptOss),
    ("LlamaForCausalLM", "llama", Family::Llama),
    ("MistralForCausalLM", "mistral", Family::Llama),
    ("Mistral3ForConditionalGeneration", "mistral3", Family::Llama),
    ("Phi3ForCausalLM", "phi3", Family::Phi3),
    ("Qwen2ForCausalLM", "qwen2", Family::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Family::Qwen3),
    ("Qwen3MoeForCausalLM", "qwen3_moe", Family::Qwen3Moe),
    ("Qwen3NextForCausalLM", "qwen3_next", Family::Qwen3Next),
    ("Qwen3_5ForCausalLM", "qwen3_5_text", Family::Qwen35),
    ("Qwen3_5ForConditionalGeneration", "qwen3_5", Family::Qwen35),
    ("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", Family::Qwen35Moe),
    ("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", Family::Qwen35Moe),
];

/// A family of the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Gemma2,
    Gemma3,
    GptOss,
    Llama,
    Phi3,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Qwen3Next,
    Qwen35,
    Qwen35Moe,
}

impl Family {
    /// The name in the scheme.
    fn name(self) -> &'static str {
        match self {
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::GptOss => "gpt-oss",
            Self::Llama => "llama",
            Self::Phi3 => "phi3",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3moe",
            Self::Qwen3Next => "qwen3next",
            Self::Qwen35 => "qwen35",
            Self::Qwen35Moe => "qwen35moe",
        }
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    fn keeps_state(self) -> bool {
        matches!(self, Self::Qwen3Next | Self::Qwen35 | Self::Qwen35Moe)
    }

    /// What a size is where a configuration leaves it out, as those of Gemma 3 with parts beside the text do.
    fn usual(self, key: &str) -> Option<u32> {
        let usual = match (self, key) {
            (Self::Gemma2 | Self::Gemma3, "head_dim" | "query_pre_attn_scalar") => 256,
            (Self::Gemma3, "num_attention_heads") => 8,
            (Self::Gemma3, "num_key_value_heads") => 4,
            (Self::Gemma3, "max_position_embeddings") => 131_072,
            (Self::Gemma3, "vocab_size") => 262_208,
            _ => return None,
        };
        Some(usual)
    }

    fn naming(self, tied: bool) -> Naming {
        let after_is_before = !(self.is_gemma() || self.keeps_state() || self == Self::GptOss);
        Naming { after_is_before, turns: self == Self::GptOss, joined: self == Self::Phi3, tied }
    }

    fn norms(self) -> Norms {
        match self {
            _ if self.is_gemma() => Norms::LessOne,
            _ if self.keeps_state() => Norms::LessOneButByMlx,
            _ => Norms::Plain,
        }
    }
}

impl Config {
    /// Reads the file; `file` is for messages.
    ///
    /// # Errors
    /// [`Error::Format`] where it is no JSON, [`Error::Architecture`] for a class that is not known, [`Error::MissingKey`]
    /// and [`Error::KeyValue`] where it does not say what it has to, [`Error::Unsupported`] for what cannot be run yet.
    pub(super) fn parse(file: impl AsRef<Path>, json: &[u8]) -> Result<Self> {
        let file: Arc<Path> = file.as_ref().into();
        let json: Json = serde_json::from_slice(json).map_err(|error| {
            let fault = Fault::Json { detail: error.to_string() };
            FormatError { file: file.clone(), place: Place::Header, offset: 0, fault }
        })?;
        let all = Table::new(&file, &json);
        let text = all.table("text_config").unwrap_or_else(|| all.clone());
        let family = family(&all)?;
        let tied = match text.flag("tie_word_embeddings")? {
            Some(tied) => Some(tied),
            None => all.flag("tie_word_embeddings")?,
        };
        let mut draft = Draft { family: family.name(), entries: Vec::new(), given: Vec::new() };
        draft.entries.push(("general.architecture".to_owned(), Value::text(family.name())));
        // Here the two halves of a head turn together; GGUF files of some families have pairs side by side.
        draft.flag("rope.half_split", true);
        sizes(&mut draft, family, &text)?;
        attention(&mut draft, family, &text)?;
        experts(&mut draft, family, &text)?;
        let heads = state(&mut draft, family, &text)?;
        refuse_curves(family, &text)?;
        let Draft { entries, given, .. } = draft;
        let (naming, norms_around_one) = (family.naming(tied == Some(true)), family.norms());
        let needs_output = tied == Some(false);
        Ok(Self { file, entries, given, naming, norms_around_one, heads, needs_output })
    }

    /// The keys as metadata; more may be added before.
    pub(super) fn metadata(self) -> (Metadata, Vec<(String, Vec<f32>)>) {
        (Metadata::of_entries(self.file, self.entries), self.given)
    }
}

fn family(all: &Table<'_>) -> Result<Family> {
    let class = all.texts("architectures")?.and_then(|classes| classes.first().copied());
    let kind = match class {
        Some(_) => None,
        None => all.text("model_type")?,
    };
    let found = class.or(kind).ok_or_else(|| all.missing("architectures"))?;
    let known = |(name, own, _): &&(&str, &str, Family)| *name == found || class.is_none() && *own == found;
    match FAMILIES.iter().find(known) {
        Some((.., family)) => Ok(*family),
        None => {
            let known: Vec<&str> = FAMILIES.iter().map(|(class, ..)| *class).collect();
            let (file, found, known) = (all.file.clone(), found.to_owned(), known.join(", "));
            Err(Error::Architecture { file, found, known })
        }
    }
}

/// Keys of the scheme as they are gathered.
struct Draft {
    family: &'static str,
    entries: Vec<(String, Value)>,
    given: Vec<(String, Vec<f32>)>,
}

impl Draft {
    fn add(&mut self, key: &str, value: Value) {
        self.entries.push((format!("{}.{key}", self.family), value));
    }

    fn size(&mut self, key: &str, size: u32) {
        self.add(key, Value::U32(size));
    }

    fn sizes(&mut self, key: &str, sizes: &[u32]) {
        self.add(key, Value::numbers(sizes));
    }

    fn float(&mut self, key: &str, number: f64) {
        self.add(key, Value::F32(number as f32));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.add(key, Value::Bool(flag));
    }

    fn flags(&mut self, key: &str, flags: &[bool]) {
        self.add(key, Value::flags(flags));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.add(key, Value::text(text));
    }

    fn given(&mut self, name: &str, numbers: Vec<f32>) {
        self.given.push((name.to_owned(), numbers));
    }
}

fn needed(family: Family, text: &Table<'_>, key: &str) -> Result<u32> {
    text.size(key)?.or_else(|| family.usual(key)).ok_or_else(|| text.missing(key))
}

/// Sizes that every family has.
const SIZES: [(&str, &str); 5] = [
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("attention.head_count", "num_attention_heads"),
    ("vocab_size", "vocab_size"),
];

fn sizes(draft: &mut Draft, family: Family, text: &Table<'_>) -> Result<()> {
    for (key, theirs) in SIZES {
        draft.size(key, needed(family, text, theirs)?);
    }
    let inside = text.size("intermediate_size")?;
    let inside =
        if family == Family::Qwen35Moe { inside.or(text.size("moe_intermediate_size")?) } else { inside };
    draft.size("feed_forward_length", inside.ok_or_else(|| text.missing("intermediate_size"))?);
    draft.float("attention.layer_norm_rms_epsilon", text.number("rms_norm_eps")?.unwrap_or(1e-6));
    Ok(())
}

fn attention(draft: &mut Draft, family: Family, text: &Table<'_>) -> Result<()> {
    let layers = text.needed_size("num_hidden_layers")? as usize;
    let heads = needed(family, text, "num_attention_heads")?;
    let own = text.size("num_key_value_heads")?.or_else(|| family.usual("num_key_value_heads"));
    draft.size("attention.head_count_kv", own.unwrap_or(heads));
    let width = match text.size("head_dim")?.or_else(|| family.usual("head_dim")) {
        Some(width) => width,
        None => {
            let share = text.needed_size("hidden_size")?.checked_div(heads);
            share.ok_or_else(|| text.wrong("num_attention_heads", "a number above 0"))?
        }
    };
    draft.size("attention.key_length", width);
    draft.size("attention.value_length", width);
    rope::draft(draft, text, width)?;
    if family.is_gemma() {
        let scalar = needed(family, text, "query_pre_attn_scalar")?;
        draft.float("attention.scale", 1.0 / f64::from(scalar).sqrt());
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(cap) = text.number(key)? {
                draft.float(key, cap);
            }
        }
    }
    windows(draft, family, text, layers)
}

/// Which layers see a window, and how large it is.
fn windows(draft: &mut Draft, family: Family, text: &Table<'_>, layers: usize) -> Result<()> {
    let Some(window) = text.size("sliding_window")? else { return Ok(()) };
    if matches!(family, Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe) {
        let some = text.flag("use_sliding_window")?.unwrap_or(false);
        let first = text.size("max_window_layers")?.unwrap_or(0) as usize;
        return match some && first < layers {
            true => Err(text.unsupported("windows of attention in this family")),
            false => Ok(()),
        };
    }
    draft.size("attention.sliding_window", window);
    if !matches!(family, Family::Gemma2 | Family::Gemma3 | Family::GptOss) {
        return Ok(());
    }
    let kinds = text.texts("layer_types")?;
    let period = text.size("sliding_window_pattern")?.filter(|period| *period > 0);
    let near = match (kinds, period) {
        (Some(kinds), _) => {
            if kinds.len() != layers {
                return Err(text.wrong("layer_types", "one text for each layer"));
            }
            kinds.iter().map(|kind| *kind == "sliding_attention").collect()
        }
        // Of each period the last layer sees everything.
        (None, Some(period)) => (1..=layers).map(|layer| !layer.is_multiple_of(period as usize)).collect(),
        (None, None) => return Ok(()),
    };
    let near: Vec<bool> = near;
    draft.flags("attention.sliding_window_pattern", &near);
    Ok(())
}

fn experts(draft: &mut Draft, family: Family, text: &Table<'_>) -> Result<()> {
    let count = match text.size("num_experts")? {
        Some(count) => Some(count),
        None => text.size("num_local_experts")?,
    };
    let routed = matches!(family, Family::GptOss | Family::Qwen3Moe | Family::Qwen3Next | Family::Qwen35Moe);
    let Some(count) = count.filter(|_| routed) else {
        return if routed { Err(text.missing("num_experts")) } else { Ok(()) };
    };
    draft.size("expert_count", count);
    draft.size("expert_used_count", text.needed_size("num_experts_per_tok")?);
    let inside = if family == Family::GptOss { "intermediate_size" } else { "moe_intermediate_size" };
    draft.size("expert_feed_forward_length", text.needed_size(inside)?);
    if let Some(shared) = text.size("shared_expert_intermediate_size")?.filter(|shared| *shared > 0) {
        draft.size("expert_shared_feed_forward_length", shared);
    }
    if let Some(norm) = text.flag("norm_topk_prob")? {
        draft.flag("expert_weights_norm", norm);
    }
    let all = text.sizes("mlp_only_layers")?.is_none_or(|layers| layers.is_empty())
        && text.size("decoder_sparse_step")?.unwrap_or(1) == 1;
    if !all {
        return Err(text.unsupported("layers without experts among those that have them"));
    }
    match text.number("swiglu_limit")? {
        Some(limit) if limit != 7.0 => Err(text.unsupported(format!("a swiglu_limit of {limit}"))),
        _ => Ok(()),
    }
}

/// Layers that keep a state in place of keys and values.
fn state(draft: &mut Draft, family: Family, text: &Table<'_>) -> Result<Option<Heads>> {
    if !family.keeps_state() {
        return Ok(None);
    }
    let size = |key: &str| text.needed_size(key);
    let (keys, values) = (size("linear_num_key_heads")?, size("linear_num_value_heads")?);
    let (key_width, value_width) = (size("linear_key_head_dim")?, size("linear_value_head_dim")?);
    draft.size("ssm.conv_kernel", size("linear_conv_kernel_dim")?);
    draft.size("ssm.state_size", key_width);
    draft.size("ssm.group_count", keys);
    draft.size("ssm.time_step_rank", values);
    let inner = value_width.checked_mul(values);
    draft.size(
        "ssm.inner_size",
        inner.ok_or_else(|| text.wrong("linear_num_value_heads", "a number below 2^24"))?,
    );
    // Here heads of values that share one of keys stand side by side; GGUF files may have them by turns.
    draft.flag("ssm.grouped_heads", true);
    let layers = text.needed_size("num_hidden_layers")? as usize;
    let interval = text.size("full_attention_interval")?.filter(|interval| *interval > 0).unwrap_or(4);
    draft.size("full_attention_interval", interval);
    let recurrent: Vec<bool> = match text.texts("layer_types")? {
        Some(kinds) if kinds.len() != layers => {
            return Err(text.wrong("layer_types", "one text for each layer"));
        }
        Some(kinds) => kinds.iter().map(|kind| *kind == "linear_attention").collect(),
        None => (1..=layers).map(|layer| !layer.is_multiple_of(interval as usize)).collect(),
    };
    draft.flags("attention.recurrent_layers", &recurrent);
    if keys == 0 || !values.is_multiple_of(keys) {
        return Err(text.wrong("linear_num_value_heads", "a multiple of linear_num_key_heads"));
    }
    let [keys, values, key_width, value_width] = [keys, values, key_width, value_width].map(u64::from);
    Ok(Some(Heads { keys, values, key_width, value_width }))
}

/// Refuses a curve of the networks other than the family's.
fn refuse_curves(family: Family, text: &Table<'_>) -> Result<()> {
    let curve = match text.text("hidden_activation")? {
        Some(curve) => Some(curve),
        None => text.text("hidden_act")?,
    };
    let usual = match curve {
        None => true,
        Some("gelu_pytorch_tanh") => family.is_gemma(),
        // Older configurations of Gemma say so and mean the other one.
        Some("gelu") => family.is_gemma() && text.text("hidden_activation")?.is_none(),
        Some(curve) => !family.is_gemma() && matches!(curve, "silu" | "swish"),
    };
    match curve.filter(|_| !usual) {
        Some(curve) => Err(text.unsupported(format!("the activation {curve:?} in this family"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
