//! The metadata of a GGUF file turned back into a `config.json`, for whoever writes a folder.
//!
//! What a file leaves to its reader is written down, since readers of folders assume other things; what no configuration
//! could say is an error. Next rooms: `positions` for rotary ones, `formats::origin` for the tensors.

mod positions;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::{FAMILIES, Family, Heads, Norms, SIZES};
use crate::{
    error::{Error, Result},
    formats::{
        gguf::{FromValue, Metadata},
        names::Naming,
    },
};

/// What has to be known of a file beside its metadata.
pub(in crate::formats) struct Facts<'a> {
    pub(in crate::formats) metadata: &'a Metadata,
    /// Whether there is a tensor of this name.
    pub(in crate::formats) has: &'a dyn Fn(&str) -> bool,
    /// The elements of a small tensor; none where there is none of this name.
    pub(in crate::formats) floats: &'a dyn Fn(&str) -> Result<Option<Vec<f32>>>,
    /// Rows of the embedding.
    pub(in crate::formats) rows: usize,
    /// What floats become, as configurations write it.
    pub(in crate::formats) float: &'static str,
}

/// What folders of a family look like.
#[derive(Debug)]
pub(in crate::formats) struct Described {
    /// `config.json`.
    pub(in crate::formats) json: Json,
    pub(in crate::formats) naming: Naming,
    /// Whether norms hold what their weights differ from one by.
    pub(in crate::formats) norms_less_one: bool,
    /// Heads whose rows lie in one matrix, where the family has such.
    pub(in crate::formats) heads: Option<Heads>,
    /// What the names of tensors begin with in folders of MLX.
    pub(in crate::formats) around: &'static str,
    /// Layers that count; behind them are those that guess further tokens.
    pub(in crate::formats) layers: u32,
}

/// The configuration of a file's model.
///
/// # Errors
/// [`Error::Architecture`] for families that are not known, [`Error::MissingKey`] and [`Error::KeyValue`] for metadata that
/// does not say what it has to, [`Error::Conversion`] for what no configuration could say.
pub(in crate::formats) fn describe(facts: &Facts<'_>) -> Result<Described> {
    let found = facts.metadata.get::<&str>("general.architecture")?;
    let Some((family, ..)) = CLASSES.iter().find(|(family, ..)| family.name() == found) else {
        let known: Vec<&str> = CLASSES.iter().map(|(family, ..)| family.name()).collect();
        let (file, found, known) = (facts.metadata.file().clone(), found.to_owned(), known.join(", "));
        return Err(Error::Architecture { file, found, known });
    };
    let mut draft = Draft { facts, family: *family, json: Map::new() };
    let layers = draft.sizes()?;
    draft.attention()?;
    positions::draft(&mut draft)?;
    draft.windows(layers as usize)?;
    draft.experts()?;
    let heads = draft.state(layers as usize)?;
    draft.tokens()?;
    let tied = !(facts.has)("output.weight");
    draft.put("tie_word_embeddings", tied);
    draft.put("torch_dtype", facts.float);
    Ok(Described {
        json: draft.finish()?,
        naming: family.naming(tied),
        norms_less_one: family.norms() == Norms::LessOne,
        heads: heads.filter(|_| *family == Family::Qwen3Next),
        around: if family.lies_in_parts() { "language_model." } else { "" },
        layers,
    })
}

/// For each family the class that a text's model of it has, and its type, as [`FAMILIES`] names them.
const CLASSES: [(Family, &str); 11] = [
    (Family::Gemma2, "Gemma2ForCausalLM"),
    (Family::Gemma3, "Gemma3ForCausalLM"),
    (Family::GptOss, "GptOssForCausalLM"),
    (Family::Llama, "LlamaForCausalLM"),
    (Family::Phi3, "Phi3ForCausalLM"),
    (Family::Qwen2, "Qwen2ForCausalLM"),
    (Family::Qwen3, "Qwen3ForCausalLM"),
    (Family::Qwen3Moe, "Qwen3MoeForCausalLM"),
    (Family::Qwen3Next, "Qwen3NextForCausalLM"),
    // MLX knows only those that may have parts beside the text.
    (Family::Qwen35, "Qwen3_5ForConditionalGeneration"),
    (Family::Qwen35Moe, "Qwen3_5MoeForConditionalGeneration"),
];

impl Family {
    /// Whether the configuration of the text is a table in that of the model.
    fn lies_in_parts(self) -> bool {
        matches!(self, Self::Qwen35 | Self::Qwen35Moe)
    }
}

/// A configuration as it is written.
struct Draft<'a> {
    facts: &'a Facts<'a>,
    family: Family,
    json: Map<String, Json>,
}

impl<'a> Draft<'a> {
    fn file(&self) -> Arc<Path> {
        self.facts.metadata.file().clone()
    }

    fn cannot(&self, what: impl Into<String>) -> Error {
        Error::Conversion { file: self.file(), what: what.into() }
    }

    fn find<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        self.facts.metadata.find(&format!("{}.{key}", self.family.name()))
    }

    fn get<T: FromValue<'a>>(&self, key: &str) -> Result<T> {
        self.facts.metadata.get(&format!("{}.{key}", self.family.name()))
    }

    fn put(&mut self, key: &str, value: impl Into<Json>) {
        self.json.insert(key.to_owned(), value.into());
    }

    /// A number that files may have, or else another.
    fn float(&mut self, key: &str, theirs: &str, usual: Option<f32>) -> Result<()> {
        if let Some(number) = self.find::<f32>(key)?.or(usual) {
            self.put(theirs, decimal(number));
        }
        Ok(())
    }

    /// Sizes, and how many layers there are.
    fn sizes(&mut self) -> Result<u32> {
        let guessing: u32 = self.find("nextn_predict_layers")?.unwrap_or(0);
        let layers: u32 = self.get("block_count")?;
        let layers = layers.checked_sub(guessing).filter(|layers| *layers > 0);
        let layers = layers.ok_or_else(|| self.cannot("it has no layers but those that guess tokens"))?;
        for (key, theirs) in SIZES {
            let size: u32 = match key {
                "vocab_size" => u32::try_from(self.facts.rows).unwrap_or(u32::MAX),
                "block_count" => layers,
                key => self.get(key)?,
            };
            self.put(theirs, size);
        }
        let inside: Option<u32> = self.find("feed_forward_length")?;
        if let Some(inside) = inside.filter(|inside| *inside > 0) {
            self.put("intermediate_size", inside);
        }
        let epsilon: f32 = self.get("attention.layer_norm_rms_epsilon")?;
        self.put("rms_norm_eps", decimal(epsilon));
        let curve = if self.family.is_gemma() { "gelu_pytorch_tanh" } else { "silu" };
        self.put("hidden_act", curve);
        if self.family.is_gemma() {
            self.put("hidden_activation", curve);
        }
        Ok(layers)
    }

    fn head_width(&self) -> Result<u32> {
        let [width, heads] = [self.get::<u32>("embedding_length")?, self.get("attention.head_count")?];
        let usual = width.checked_div(heads).unwrap_or(0);
        Ok(self.find("attention.key_length")?.unwrap_or(usual))
    }

    fn attention(&mut self) -> Result<()> {
        let heads: u32 = self.get("attention.head_count")?;
        let keys: u32 = self.find("attention.head_count_kv")?.unwrap_or(heads);
        let width = self.head_width()?;
        if self.find::<u32>("attention.value_length")?.is_some_and(|values| values != width) {
            return Err(self.cannot("heads of values that are wider than those of keys, or narrower"));
        }
        self.put("num_key_value_heads", keys);
        self.put("head_dim", width);
        let has = |name: &str| (self.facts.has)(&format!("blk.0.{name}.bias"));
        let (bias, output, inner) = (has("attn_q"), has("attn_output"), has("ffn_up"));
        // What a class adds is not up to its configuration.
        let own = self.family == Family::Qwen2;
        if bias && !own && !output || bias && self.family == Family::Phi3 {
            return Err(self.cannot("maps of attention of which only some have a bias"));
        }
        if inner && self.family != Family::Llama {
            return Err(self.cannot("biases in networks of a family that has none"));
        }
        self.put("attention_bias", bias);
        if self.family == Family::Llama {
            self.put("mlp_bias", inner);
        }
        if self.family.is_gemma() {
            let usual = self.scalar(width, heads)?;
            let scalar = self.find::<f32>("attention.scale")?.map(|scale| (1.0 / (scale * scale)).round());
            self.put("query_pre_attn_scalar", scalar.map_or(usual, |scalar| scalar as u32));
            for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
                self.put(key, Json::Null);
                self.float(key, key, None)?;
            }
        }
        Ok(())
    }

    /// What scores of Gemma are divided by the root of: a head's width, but in the largest model of each family.
    fn scalar(&self, width: u32, heads: u32) -> Result<u32> {
        let largest = if self.family == Family::Gemma2 { 46 } else { 62 };
        let share = self.get::<u32>("embedding_length")? / heads.max(1);
        Ok(if self.get::<u32>("block_count")? == largest { share } else { width })
    }

    /// Which layers see a window, and how large it is.
    fn windows(&mut self, layers: usize) -> Result<()> {
        let usual = match self.family {
            Family::Gemma2 => 4096,
            Family::Gemma3 => 1024,
            _ => 0,
        };
        let window: u32 = self.find("attention.sliding_window")?.unwrap_or(usual);
        if window == 0 {
            self.put("sliding_window", Json::Null);
            return Ok(());
        }
        if matches!(self.family, Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe)
            || self.family.keeps_state()
        {
            return Err(self.cannot("windows of attention in this family"));
        }
        self.put("sliding_window", window);
        let period = match self.family {
            Family::Gemma2 | Family::GptOss => 2,
            Family::Gemma3 => 6,
            _ => return Ok(()),
        };
        let near = match self.find::<Vec<bool>>("attention.sliding_window_pattern")? {
            Some(near) if near.len() >= layers => near[..layers].to_vec(),
            Some(near) => return Err(self.cannot(format!("windows for {} of {layers} layers", near.len()))),
            None => (1..=layers).map(|layer| !layer.is_multiple_of(period)).collect(),
        };
        if self.family == Family::Gemma3 {
            // Readers that know no types of layers go by the distance between layers that see everything.
            let period = near.iter().position(|near| !near).map_or(layers + 1, |first| first + 1);
            let regular =
                near.iter().zip(1usize..).all(|(near, layer)| *near != layer.is_multiple_of(period));
            if regular {
                self.put("sliding_window_pattern", period);
            }
        }
        self.put("layer_types", layer_types(&near, ["full_attention", "sliding_attention"]));
        Ok(())
    }

    fn experts(&mut self) -> Result<()> {
        let count: u32 = self.find("expert_count")?.unwrap_or(0);
        let routed =
            matches!(self.family, Family::GptOss | Family::Qwen3Moe | Family::Qwen3Next | Family::Qwen35Moe);
        if !routed {
            return match count {
                0 => Ok(()),
                _ => Err(self.cannot(format!("experts in the family {}", self.family.name()))),
            };
        }
        if self.find::<f32>("expert_weights_scale")?.is_some_and(|scale| scale != 0.0 && scale != 1.0) {
            return Err(self.cannot("weights of experts that are scaled"));
        }
        let inside: u32 = self.get("expert_feed_forward_length")?;
        let (used, norm): (u32, Option<bool>) =
            (self.get("expert_used_count")?, self.find("expert_weights_norm")?);
        self.put("num_experts_per_tok", used);
        if self.family == Family::GptOss {
            self.put("num_local_experts", count);
            self.put("intermediate_size", inside);
            self.put("swiglu_limit", 7.0);
            return Ok(());
        }
        self.put("num_experts", count);
        self.put("moe_intermediate_size", inside);
        self.put("norm_topk_prob", norm.unwrap_or(true));
        self.put("decoder_sparse_step", 1);
        self.put("mlp_only_layers", json!([]));
        if !self.json.contains_key("intermediate_size") {
            self.put("intermediate_size", inside);
        }
        if let Some(shared) = self.find::<u32>("expert_shared_feed_forward_length")? {
            self.put("shared_expert_intermediate_size", shared);
        }
        Ok(())
    }

    /// Layers that keep a state in place of keys and values.
    fn state(&mut self, layers: usize) -> Result<Option<Heads>> {
        if !self.family.keeps_state() {
            return Ok(None);
        }
        let size = |key: &str| self.get::<u32>(key);
        let (keys, values, all) =
            (size("ssm.group_count")?, size("ssm.time_step_rank")?, size("ssm.inner_size")?);
        let (taps, key_width) = (size("ssm.conv_kernel")?, size("ssm.state_size")?);
        if keys == 0 || values == 0 || !values.is_multiple_of(keys) || !all.is_multiple_of(values) {
            return Err(self.cannot("heads of values that the heads of keys cannot share"));
        }
        let interval: u32 = self.find("full_attention_interval")?.filter(|every| *every > 0).unwrap_or(4);
        let recurrent: Vec<bool> = match self.find("attention.recurrent_layers")? {
            Some(found) => found,
            None => (1..=layers).map(|layer| !layer.is_multiple_of(interval as usize)).collect(),
        };
        if recurrent.len() < layers {
            return Err(self.cannot("layers of which nothing says whether they keep a state"));
        }
        self.put("linear_num_key_heads", keys);
        self.put("linear_num_value_heads", values);
        self.put("linear_key_head_dim", key_width);
        self.put("linear_value_head_dim", all / values);
        self.put("linear_conv_kernel_dim", taps);
        self.put("full_attention_interval", interval);
        self.put("layer_types", layer_types(&recurrent[..layers], ["full_attention", "linear_attention"]));
        let [keys, values, key_width, value_width] = [keys, values, key_width, all / values].map(u64::from);
        Ok(Some(Heads { keys, values, key_width, value_width }))
    }

    fn tokens(&mut self) -> Result<()> {
        for (key, theirs) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
            let id = self.facts.metadata.find::<u32>(&format!("tokenizer.ggml.{key}_token_id"))?;
            self.put(theirs, id.map_or(Json::Null, Json::from));
        }
        Ok(())
    }

    /// The whole, with what the model is called.
    fn finish(mut self) -> Result<Json> {
        let windowed = self.json.get("sliding_window").is_some_and(Json::is_number);
        let class = match self.family {
            // The class of Llama looks at no window.
            Family::Llama if windowed => "MistralForCausalLM",
            family => CLASSES.iter().find(|(own, _)| *own == family).map_or("", |(_, class)| class),
        };
        let kind = FAMILIES.iter().find(|(own, ..)| *own == class).map_or("", |(_, kind, _)| kind);
        if !self.family.lies_in_parts() {
            self.put("architectures", json!([class]));
            self.put("model_type", kind);
            return Ok(self.json.into());
        }
        self.put("model_type", format!("{kind}_text"));
        let tied = self.json["tie_word_embeddings"].clone();
        Ok(json!({ "architectures": [class], "model_type": kind, "tie_word_embeddings": tied,
            "torch_dtype": self.facts.float, "text_config": self.json }))
    }
}

/// A word for each layer, by an answer.
fn layer_types(answers: &[bool], words: [&str; 2]) -> Json {
    answers.iter().map(|answer| words[usize::from(*answer)]).collect()
}

/// A number as few digits say it.
fn decimal(number: f32) -> Json {
    number.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

#[cfg(test)]
mod tests;
