//! Folders with tensors whose elements are their own numbers, as files have them and back.

use std::{fs, ops::Range};

use super::*;
use crate::formats::write::{self, NamedTensor};

const QWEN: &str = r#"{"architectures": ["Qwen3_5MoeForCausalLM"], "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64, "vocab_size": 4,
    "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 4, "shared_expert_intermediate_size": 4,
    "linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 5, "linear_value_head_dim": 2,
    "linear_conv_kernel_dim": 3}"#;
const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6,
    "max_position_embeddings": 64, "vocab_size": 4}"#;
const TOKENIZER: &str = r#"{"added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel",
    "add_prefix_space": false}, "post_processor": null, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;

/// The parts of a folder with these tensors, in which every element is its own number.
fn origin(name: &str, config: &str, tensors: &[(&str, &[usize])]) -> Result<Origin> {
    let dir = std::env::temp_dir().join(format!("forebay-origin-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), config).unwrap();
    fs::write(dir.join("tokenizer.json"), TOKENIZER).unwrap();
    let bytes = |shape: &[usize]| -> Vec<u8> {
        (0..shape.iter().product()).flat_map(|x: usize| (x as f32).to_le_bytes()).collect()
    };
    let embedding: (&str, &[usize]) = ("model.embed_tokens.weight", &[4, 8]);
    let all: Vec<_> =
        tensors.iter().chain([&embedding]).map(|(name, shape)| (name, shape, bytes(shape))).collect();
    let named = all.iter().map(|(name, shape, bytes)| NamedTensor { name, dtype: DType::F32, shape, bytes });
    write::safetensors(dir.join("model.safetensors"), &named.collect::<Vec<_>>()).unwrap();
    let origin = Origin::open(&dir);
    fs::remove_dir_all(dir).unwrap();
    origin
}

/// The first elements of the rows of a part, which are so wide.
fn rows(origin: &Origin, name: &str, width: usize) -> Vec<usize> {
    let part = origin.parts.iter().find(|part| part.name == name).unwrap();
    let mut all = vec![0.0; part.shape.iter().product()];
    // In two goes, which do not share a head.
    let half = part.rows() / 2 + 1;
    let (first, rest) = all.split_at_mut(half.min(part.rows()) * part.width());
    let floats = |rows: Range<usize>, out: &mut [f32]| part.floats(origin, rows, out).unwrap();
    floats(0..half.min(part.rows()), first);
    floats(half.min(part.rows())..part.rows(), rest);
    assert!(
        all.chunks(width).all(|row| row.iter().enumerate().all(|(i, x)| *x == row[0] + i as f32)),
        "{name}"
    );
    all.iter().step_by(width).map(|x| *x as usize / width).collect()
}

/// Heads of values by turns, each of so many rows, behind others.
fn by_turns(before: usize, each: usize) -> Vec<usize> {
    let heads =
        [0, 3, 1, 4, 2, 5].into_iter().flat_map(|head| (0..each).map(move |row| before + head * each + row));
    (0..before).chain(heads).collect()
}

#[test]
fn heads_of_values_take_those_of_keys_by_turns() {
    let module = |name: &str| format!("model.layers.0.linear_attn.{name}");
    let names = [
        "in_proj_qkv.weight",
        "in_proj_z.weight",
        "in_proj_a.weight",
        "dt_bias",
        "out_proj.weight",
        "conv1d.weight",
    ]
    .map(module);
    let shapes: [&[usize]; 6] = [&[32, 8], &[12, 8], &[6, 8], &[6], &[8, 12], &[32, 1, 3]];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(shapes).collect();
    let found = origin("heads", QWEN, &tensors).unwrap();
    assert_eq!(rows(&found, "blk.0.attn_qkv.weight", 8), by_turns(20, 2));
    assert_eq!(rows(&found, "blk.0.attn_gate.weight", 8), by_turns(0, 2));
    assert_eq!(rows(&found, "blk.0.ssm_alpha.weight", 8), by_turns(0, 1));
    assert_eq!(rows(&found, "blk.0.ssm_dt.bias", 1), by_turns(0, 1));
    assert_eq!(rows(&found, "blk.0.ssm_conv1d.weight", 3), by_turns(20, 2));
    let columns: Vec<usize> =
        (0..8).flat_map(|row| by_turns(0, 2).into_iter().map(move |at| row * 12 + at)).collect();
    assert_eq!(rows(&found, "blk.0.ssm_out.weight", 1), columns);
    let metadata = &found.metadata;
    assert!(metadata.iter().all(|(key, _)| !key.contains("grouped") && !key.contains("half_split")));
    assert_eq!(metadata.get::<&str>("general.architecture").unwrap(), "qwen35moe");
    assert_eq!(
        found.parts.iter().find(|part| part.name == "blk.0.ssm_conv1d.weight").unwrap().shape,
        [32, 3]
    );

    // MLX has the taps of a convolution in the middle.
    let mlx: Vec<(&str, &[usize])> = vec![(&names[5], &[32, 3, 1])];
    assert_eq!(rows(&origin("mlx", QWEN, &mlx).unwrap(), "blk.0.ssm_conv1d.weight", 3), by_turns(20, 2));
    let odd: Vec<(&str, &[usize])> = vec![(&names[1], &[10, 8])];
    let error = origin("odd", QWEN, &odd).unwrap_err().to_string();
    assert!(
        error.contains("cannot be converted: blk.0.attn_gate.weight has heads of another size"),
        "{error}"
    );
}

#[test]
fn columns_that_turn_together_become_neighbours() {
    let name = |of: &str| format!("model.layers.0.self_attn.{of}");
    let names = ["q_proj.weight", "q_proj.bias", "k_proj.weight", "v_proj.weight"].map(name);
    let shapes: [&[usize]; 4] = [&[12, 8], &[12], &[6, 8], &[6, 8]];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(shapes).collect();
    let found = origin("pairs", LLAMA, &tensors).unwrap();
    let wanted = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11];
    assert_eq!(rows(&found, "blk.0.attn_q.weight", 8), wanted);
    assert_eq!(rows(&found, "blk.0.attn_q.bias", 1), wanted);
    assert_eq!(rows(&found, "blk.0.attn_k.weight", 8), wanted[..6]);
    assert_eq!(rows(&found, "blk.0.attn_v.weight", 8), [0, 1, 2, 3, 4, 5]);
}
