//! Folders in which rows lie otherwise than models ask for them: every row is a number of its own, and is found again.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use forebay_tensor::DType;

use super::*;
use crate::formats::{
    folder::Model,
    write::{self, NamedTensor},
};

/// A folder that goes when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    /// A folder with this configuration, and these tensors of bytes, whose values are the numbers of their rows.
    fn of(config: &str, tensors: &[(&str, DType, &[usize])]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-checkpoint-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let plain = r#""hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
            "max_position_embeddings": 8, "vocab_size": 4, "head_dim": 4, "num_experts_per_tok": 1,
            "moe_intermediate_size": 4"#;
        fs::write(path.join("config.json"), format!("{{{plain}, {config}}}")).unwrap();
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, dtype, shape)| rows(*dtype, shape)).collect();
        let named: Vec<NamedTensor<'_>> = tensors
            .iter()
            .zip(&bytes)
            .map(|(&(name, dtype, shape), bytes)| NamedTensor { name, dtype, shape, bytes })
            .collect();
        write::safetensors(path.join("model.safetensors"), &named).unwrap();
        Self(path)
    }

    fn open(&self, access: Access) -> Checkpoint {
        let Model::Folder(folder) = Model::find(&self.0).unwrap() else { panic!("no folder") };
        Checkpoint::open(&folder, access, Layout::Models).unwrap()
    }

    /// The shape of a tensor and the numbers of its rows, mapped and read.
    fn rows_of(&self, name: &str) -> (Vec<u64>, Vec<u8>) {
        let [mapped, read] = [Access::Mapped, Access::Read].map(|access| {
            let checkpoint = self.open(access);
            let stored = &checkpoint.tensors[name];
            let bytes = stored.bytes(&checkpoint.sources, 0).unwrap().into_owned();
            let rows = stored.shape.iter().rev().skip(1).product::<u64>() as usize;
            let numbers: Vec<u8> = bytes.chunks(bytes.len() / rows).map(|row| row[0]).collect();
            assert!(bytes.chunks(bytes.len() / rows).all(|row| row.iter().all(|byte| *byte == row[0])));
            (stored.shape.clone(), numbers)
        });
        assert_eq!(mapped, read, "{name}");
        mapped
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Bytes of rows, each the number of its row.
fn rows(dtype: DType, shape: &[usize]) -> Vec<u8> {
    let (width, outer) = shape.split_last().unwrap();
    let count: usize = outer.iter().product();
    (0..count).flat_map(|row| vec![row as u8; width * dtype.block_bytes()]).collect()
}

const NEXT: &str = r#""architectures": ["Qwen3NextForCausalLM"], "num_experts": 3, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 2, "linear_value_head_dim": 3, "linear_conv_kernel_dim": 4"#;

#[test]
fn rows_of_heads_are_sorted_by_what_they_are_for() {
    // A head of keys: two rows of queries, two of keys, six of values, six of gates.
    let folder =
        Scratch::of(NEXT, &[("model.layers.0.linear_attn.in_proj_qkvz.weight", DType::BF16, &[32, 4])]);
    let (shape, numbers) = folder.rows_of("blk.0.attn_qkv.weight");
    assert_eq!(shape, [20, 4]);
    let wanted: Vec<u8> = [0..2, 16..18, 2..4, 18..20, 4..10, 20..26].into_iter().flatten().collect();
    assert_eq!(numbers, wanted);
    let (shape, numbers) = folder.rows_of("blk.0.attn_gate.weight");
    assert_eq!((shape, numbers), (vec![12, 4], (10..16).chain(26..32).collect()));
}

#[test]
fn experts_that_lie_apart_are_joined_in_their_order() {
    let names = [2, 0, 1].map(|expert| format!("model.layers.0.mlp.experts.{expert}.up_proj.weight"));
    let tensors: Vec<(&str, DType, &[usize])> =
        names.iter().map(|name| (name.as_str(), DType::F16, &[2, 4][..])).collect();
    let (shape, numbers) = Scratch::of(NEXT, &tensors).rows_of("blk.0.ffn_up_exps.weight");
    assert_eq!((shape, numbers), (vec![3, 2, 4], vec![0, 1, 0, 1, 0, 1]));

    // Where one is missing or of another shape, what is there keeps its name, and nobody takes it.
    let other: [(&str, DType, &[usize]); 2] =
        [(&names[1], DType::F16, &[2, 4]), (&names[0], DType::F16, &[2, 4])];
    assert!(Scratch::of(NEXT, &other).open(Access::Mapped).tensors.contains_key(&names[1]));
    let other: [(&str, DType, &[usize]); 2] =
        [(&names[1], DType::F16, &[2, 4]), (&names[2], DType::F16, &[3, 4])];
    assert!(Scratch::of(NEXT, &other).open(Access::Mapped).tensors.contains_key(&names[1]));
}

#[test]
fn gates_and_what_they_let_through_are_told_apart() {
    let tensors: [(&str, DType, &[usize]); 2] = [
        ("model.layers.0.mlp.experts.gate_up_proj", DType::BF16, &[2, 6, 4]),
        ("model.layers.0.mlp.experts.down_proj", DType::BF16, &[2, 4, 3]),
    ];
    let state = NEXT.replace("Qwen3NextForCausalLM", "Qwen3_5MoeForCausalLM");
    let folder = Scratch::of(&state, &tensors);
    assert_eq!(folder.rows_of("blk.0.ffn_gate_exps.weight"), (vec![2, 3, 4], vec![0, 1, 2, 6, 7, 8]));
    assert_eq!(folder.rows_of("blk.0.ffn_up_exps.weight"), (vec![2, 3, 4], vec![3, 4, 5, 9, 10, 11]));
    assert_eq!(folder.rows_of("blk.0.ffn_down_exps.weight").0, [2, 4, 3]);

    let gpt = r#""architectures": ["GptOssForCausalLM"], "num_local_experts": 2"#;
    let tensors: [(&str, DType, &[usize]); 3] = [
        ("model.layers.0.mlp.experts.gate_up_proj_blocks", DType::U8, &[2, 4, 1, 16]),
        ("model.layers.0.mlp.experts.gate_up_proj_scales", DType::U8, &[2, 4, 1]),
        // Each element a row, so that its number shows.
        ("model.layers.0.mlp.experts.gate_up_proj_bias", DType::BF16, &[8, 1]),
    ];
    let folder = Scratch::of(gpt, &tensors);
    assert_eq!(folder.rows_of("blk.0.ffn_gate_exps.weight"), (vec![2, 2, 32], vec![0, 2, 4, 6]));
    assert_eq!(folder.rows_of("blk.0.ffn_up_exps.weight"), (vec![2, 2, 32], vec![1, 3, 5, 7]));
    let checkpoint = folder.open(Access::Mapped);
    let scales = checkpoint.tensors["blk.0.ffn_up_exps.weight"].bytes(&checkpoint.sources, 1).unwrap();
    assert_eq!(scales[..], [1, 3, 5, 7]);
}

#[test]
fn biases_of_gates_take_turns_element_by_element() {
    let gpt = r#""architectures": ["GptOssForCausalLM"], "num_local_experts": 2"#;
    let folder = Scratch::of(gpt, &[("model.layers.0.mlp.experts.gate_up_proj_bias", DType::F32, &[2, 6])]);
    // The bytes of both experts, with numbers that tell elements apart.
    let path = folder.0.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = bytes.len() - 48;
    for (i, byte) in bytes[start..].iter_mut().enumerate() {
        *byte = (i / 4) as u8;
    }
    fs::write(&path, bytes).unwrap();
    let checkpoint = folder.open(Access::Mapped);
    for (name, wanted) in [("gate", [0, 2, 4, 6, 8, 10]), ("up", [1, 3, 5, 7, 9, 11])] {
        let stored = &checkpoint.tensors[&format!("blk.0.ffn_{name}_exps.bias")];
        let bytes = stored.bytes(&checkpoint.sources, 0).unwrap();
        assert_eq!(stored.shape, [2, 3]);
        assert_eq!(bytes.chunks(4).map(|element| element[0]).collect::<Vec<u8>>(), wanted, "{name}");
    }
}
