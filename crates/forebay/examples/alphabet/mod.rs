//! A model that knows the alphabet and nothing else, put together by hand: what the examples run when no model is named.
#![allow(dead_code, reason = "not every example uses all of it")]

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use forebay::formats::gguf::{Array, GgufWriter, Planned, Value};
use forebay_tensor::{DType, quant};

/// Columns of the hidden state: one for each token.
const WIDTH: usize = 32;
/// A conversation in letters, which is all that the model knows.
const TEMPLATE: &str = "{% for m in messages %}{{ m.content | lower | replace('?', '') }} {% endfor %}";

/// The model that was named, or this one, written for the occasion.
pub(crate) fn named_or_this() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = std::env::args().nth(1) {
        return Ok(path.into());
    }
    let path = std::env::temp_dir().join("forebay-alphabet.gguf");
    write(&path)?;
    Ok(path)
}

/// Writes the model.
pub(crate) fn write(path: &Path) -> Result<(), Box<dyn Error>> {
    // Special tokens, the space, and the letters; each stands for itself.
    let mut tokens = ["<unk>", "<s>", "</s>", "\u{2581}"].map(str::to_owned).to_vec();
    tokens.extend(('a'..='z').map(String::from));
    let kinds: Vec<i32> = (0..tokens.len()).map(|id| [2, 3, 3].get(id).copied().unwrap_or(1)).collect();

    let number = |n: usize| Value::U32(n as u32);
    let metadata = [
        ("general.architecture", Value::from("llama")),
        ("llama.block_count", number(1)),
        ("llama.context_length", number(128)),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.feed_forward_length", number(WIDTH)),
        ("llama.attention.head_count", number(1)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("tokenizer.chat_template", Value::from(TEMPLATE)),
        ("tokenizer.ggml.model", Value::from("llama")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().collect())),
        ("tokenizer.ggml.token_type", Value::Array(Array::from(&*kinds))),
    ];
    let metadata = metadata.iter().map(|(key, value)| (*key, value));

    // A token lights its own column; what follows it is the token whose row looks at that column. The layer in between adds
    // nothing: its matrices are zero.
    let square =
        |name: &str, rows| Planned { name: name.to_owned(), dtype: DType::Q8_0, shape: vec![rows, WIDTH] };
    let norm = |name: &str| Planned { name: name.to_owned(), dtype: DType::F32, shape: vec![WIDTH] };
    let mut tensors = vec![
        square("token_embd.weight", tokens.len()),
        square("output.weight", tokens.len()),
        norm("output_norm.weight"),
        norm("blk.0.attn_norm.weight"),
        norm("blk.0.ffn_norm.weight"),
    ];
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        tensors.push(square(&format!("blk.0.{name}.weight"), WIDTH));
    }
    let follows = |id: usize| match id {
        0..=2 => None,
        _ if id + 1 == tokens.len() => Some(2),
        _ => Some(id + 1),
    };

    let mut writer = GgufWriter::create(path, metadata, &tensors)?;
    for tensor in &tensors {
        let mut values = vec![0f32; tensor.shape.iter().product()];
        for id in 0..tokens.len() {
            match tensor.name.as_str() {
                "token_embd.weight" => values[id * WIDTH + id] = 1.0,
                "output.weight" => {
                    if let Some(next) = follows(id) {
                        values[next * WIDTH + id] = 1.0;
                    }
                }
                name if name.ends_with("norm.weight") => values[id] = 1.0,
                _ => {}
            }
        }
        let width = WIDTH.min(values.len());
        let mut bytes = vec![0; values.len() / width * tensor.dtype.row_bytes(width)?];
        quant::encode(tensor.dtype, &values, None, &mut bytes)?;
        writer.bytes(&bytes)?;
    }
    Ok(writer.finish()?)
}
