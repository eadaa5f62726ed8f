//! Tiny models of random weights for tests, as bytes of GGUF files, and how they are run.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use forebay_device::{Device, DeviceOptions};
use forebay_tensor::{DType, Ops, Tensor};

use super::{Model, Pass, activations::Activations, cache::Cache};
use crate::{
    error::Result,
    formats::{
        gguf::builder::Builder,
        placement::{Leg, Placement},
        weights::{Access, Precision, Weights},
    },
};

pub(crate) const WIDTH: usize = 16;
pub(crate) const VOCABULARY: usize = 11;
/// Heads of keys of the delta network, and heads of values for each of them.
const HEADS: [usize; 2] = [2, 3];
const KEY_WIDTH: usize = 4;
const VALUE_WIDTH: usize = 6;
const TAPS: usize = 3;
const EXPERTS: usize = 5;

/// Rows and columns, or columns alone; and the elements.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The weights of a hybrid with experts: a layer with a delta network, and one with attention. Heads of values that share one
/// of keys stand side by side.
pub(crate) fn hybrid() -> Tensors {
    let (keys, values) = (HEADS[0] * KEY_WIDTH, HEADS[0] * HEADS[1] * VALUE_WIDTH);
    let (all, value_heads) = (2 * keys + values, HEADS[0] * HEADS[1]);
    let mut shapes = vec![
        ("token_embd.weight".to_owned(), vec![VOCABULARY, WIDTH]),
        ("output_norm.weight".to_owned(), vec![WIDTH]),
    ];
    for (name, shape) in [
        ("0.attn_qkv.weight", vec![all, WIDTH]),
        ("0.attn_gate.weight", vec![values, WIDTH]),
        ("0.ssm_conv1d.weight", vec![all, TAPS]),
        ("0.ssm_beta.weight", vec![value_heads, WIDTH]),
        ("0.ssm_alpha.weight", vec![value_heads, WIDTH]),
        ("0.ssm_a", vec![value_heads]),
        ("0.ssm_dt.bias", vec![value_heads]),
        ("0.ssm_norm.weight", vec![VALUE_WIDTH]),
        ("0.ssm_out.weight", vec![WIDTH, values]),
        ("1.attn_q.weight", vec![2 * 2 * 8, WIDTH]),
        ("1.attn_k.weight", vec![8, WIDTH]),
        ("1.attn_v.weight", vec![8, WIDTH]),
        ("1.attn_q_norm.weight", vec![8]),
        ("1.attn_k_norm.weight", vec![8]),
        ("1.attn_output.weight", vec![WIDTH, 16]),
    ] {
        shapes.push((format!("blk.{name}"), shape));
    }
    for layer in 0..2 {
        for (name, shape) in [
            ("attn_norm", vec![WIDTH]),
            ("post_attention_norm", vec![WIDTH]),
            ("ffn_gate_inp", vec![EXPERTS, WIDTH]),
            ("ffn_gate_exps", vec![EXPERTS, 10, WIDTH]),
            ("ffn_up_exps", vec![EXPERTS, 10, WIDTH]),
            ("ffn_down_exps", vec![EXPERTS, WIDTH, 10]),
            ("ffn_gate_inp_shexp", vec![WIDTH]),
            ("ffn_gate_shexp", vec![12, WIDTH]),
            ("ffn_up_shexp", vec![12, WIDTH]),
            ("ffn_down_shexp", vec![WIDTH, 12]),
        ] {
            shapes.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    random(shapes)
}

/// Weights of these shapes.
fn random(shapes: Vec<(String, Vec<usize>)>) -> Tensors {
    let mut seed = 7u32;
    let mut number = |name: &str| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let number = (seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
        if name.ends_with("ssm_a") { -number.abs() } else { number }
    };
    let elements = |(name, shape): (String, Vec<usize>)| {
        let elements = (0..shape.iter().product()).map(|_| number(&name)).collect();
        (name, (shape, elements))
    };
    shapes.into_iter().map(elements).collect()
}

/// The weights of a decoder of one layer, with two heads of queries and one of keys and values, 8 columns wide.
pub(crate) fn plain() -> Tensors {
    let shapes = [
        ("token_embd.weight", vec![VOCABULARY, WIDTH]),
        ("output_norm.weight", vec![WIDTH]),
        ("blk.0.attn_norm.weight", vec![WIDTH]),
        ("blk.0.attn_q.weight", vec![16, WIDTH]),
        ("blk.0.attn_k.weight", vec![8, WIDTH]),
        ("blk.0.attn_v.weight", vec![8, WIDTH]),
        ("blk.0.attn_output.weight", vec![WIDTH, 16]),
        ("blk.0.ffn_norm.weight", vec![WIDTH]),
        ("blk.0.ffn_gate.weight", vec![12, WIDTH]),
        ("blk.0.ffn_up.weight", vec![12, WIDTH]),
        ("blk.0.ffn_down.weight", vec![WIDTH, 12]),
    ];
    random(shapes.map(|(name, shape)| (name.to_owned(), shape)).into())
}

/// The same weights with one more layer, which has those of the first one backwards.
pub(crate) fn doubled(mut tensors: Tensors) -> Tensors {
    let again = |(name, (shape, elements)): (&String, &(Vec<usize>, Vec<f32>))| {
        let backwards = elements.iter().rev().copied().collect();
        Some((format!("blk.1.{}", name.strip_prefix("blk.0.")?), (shape.clone(), backwards)))
    };
    let second: Vec<_> = tensors.iter().filter_map(again).collect();
    tensors.extend(second);
    tensors
}

/// The same weights with heads of `to` columns, of which only the first 8 tell anything.
pub(crate) fn widened(mut tensors: Tensors, to: usize) -> Tensors {
    for (name, (shape, elements)) in &mut tensors {
        // Scores are divided by the root of the width.
        let (factor, rest) = match name.strip_prefix("blk.0.attn_").unwrap_or_default() {
            "q.weight" => ((to as f32 / 8.0).sqrt(), 0.0),
            "k.weight" | "v.weight" => (1.0, 0.7),
            "output.weight" => (1.0, 0.0),
            _ => continue,
        };
        // Columns of heads are rows of these matrices, but of the last one.
        let (axis, each) = if name.contains("output") { (1, 1) } else { (0, WIDTH) };
        shape[axis] = shape[axis] / 8 * to;
        let head = |head: &[f32]| {
            let mut head: Vec<f32> = head.iter().map(|x| x * factor).collect();
            head.resize(to * each, rest);
            head
        };
        *elements = elements.chunks(8 * each).flat_map(head).collect();
    }
    tensors
}

/// Puts heads of `each` elements that stand side by side by turns.
fn by_turns(elements: &[f32], each: usize) -> Vec<f32> {
    let heads: Vec<&[f32]> = elements.chunks_exact(each).collect();
    assert_eq!(heads.len(), HEADS[0] * HEADS[1]);
    let order = (0..HEADS[1]).flat_map(|j| (0..HEADS[0]).map(move |group| group * HEADS[1] + j));
    order.flat_map(|head| heads[head].iter().copied()).collect()
}

/// The same weights with heads of values that take those of keys by turns.
pub(crate) fn interleaved(mut tensors: Tensors) -> Tensors {
    let keys = 2 * HEADS[0] * KEY_WIDTH;
    for (name, (shape, elements)) in &mut tensors {
        let width = *shape.last().unwrap();
        match name.strip_prefix("blk.0.").unwrap_or_default() {
            "attn_qkv.weight" | "ssm_conv1d.weight" => {
                let values = by_turns(&elements[keys * width..], VALUE_WIDTH * width);
                elements.splice(keys * width.., values);
            }
            "attn_gate.weight" => *elements = by_turns(elements, VALUE_WIDTH * width),
            "ssm_beta.weight" | "ssm_alpha.weight" => *elements = by_turns(elements, width),
            "ssm_a" | "ssm_dt.bias" => *elements = by_turns(elements, 1),
            "ssm_out.weight" => {
                *elements = elements.chunks(width).flat_map(|row| by_turns(row, VALUE_WIDTH)).collect();
            }
            _ => {}
        }
    }
    tensors
}

/// The same weights with corrections and decays in one matrix.
pub(crate) fn joined(mut tensors: Tensors) -> Tensors {
    let [beta, alpha] =
        ["beta", "alpha"].map(|name| tensors.remove(&format!("blk.0.ssm_{name}.weight")).unwrap().1);
    let group = HEADS[1] * WIDTH;
    let both = beta.chunks(group).zip(alpha.chunks(group)).flat_map(|(b, a)| [b, a].concat()).collect();
    tensors.insert("blk.0.ssm_ba.weight".to_owned(), (vec![2 * HEADS[0] * HEADS[1], WIDTH], both));
    tensors
}

/// The numbers of a hybrid with experts.
pub(crate) fn numbers() -> BTreeMap<&'static str, u32> {
    BTreeMap::from([
        ("block_count", 2),
        ("context_length", 64),
        ("embedding_length", WIDTH as u32),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 8),
        ("attention.value_length", 8),
        ("rope.dimension_count", 4),
        ("vocab_size", VOCABULARY as u32),
        ("expert_count", EXPERTS as u32),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 10),
        ("expert_shared_feed_forward_length", 12),
        ("full_attention_interval", 2),
        ("ssm.conv_kernel", TAPS as u32),
        ("ssm.state_size", KEY_WIDTH as u32),
        ("ssm.group_count", HEADS[0] as u32),
        ("ssm.time_step_rank", (HEADS[0] * HEADS[1]) as u32),
        ("ssm.inner_size", (HEADS[0] * HEADS[1] * VALUE_WIDTH) as u32),
    ])
}

/// The numbers of a decoder of one layer.
pub(crate) fn plain_numbers() -> BTreeMap<&'static str, u32> {
    BTreeMap::from([
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", 12),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 8),
        ("attention.value_length", 8),
        ("rope.dimension_count", 8),
        ("vocab_size", VOCABULARY as u32),
    ])
}

/// A file of a family.
pub(crate) fn file(
    family: &str,
    numbers: &BTreeMap<&str, u32>,
    flags: &[&str],
    tensors: &Tensors,
) -> Vec<u8> {
    let mut file = Builder::new().text("general.architecture", family);
    for (key, number) in numbers {
        file = file.u32(&format!("{family}.{key}"), *number);
    }
    for flag in flags {
        file = file.bool(&format!("{family}.{flag}"), true);
    }
    let epsilon = format!("{family}.attention.layer_norm_rms_epsilon");
    file = file.raw(epsilon.as_bytes(), 6, &1e-6f32.to_le_bytes());
    for (name, (shape, elements)) in tensors {
        let dimensions: Vec<u64> = shape.iter().rev().map(|size| *size as u64).collect();
        let bytes: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        file = file.tensor(name, 0, &dimensions, &bytes);
    }
    file.bytes()
}

/// The model of a file.
pub(crate) fn open(placement: impl Into<Placement>, bytes: &[u8]) -> Result<Box<dyn Model>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf =
        std::env::temp_dir().join(format!("forebay-family-{}-{number}.gguf", std::process::id()));
    fs::write(&path, bytes).unwrap();
    let model = Weights::open(&path, placement, Access::Mapped, Precision::Strict).and_then(super::load);
    fs::remove_file(path).unwrap();
    model
}

/// Logits of all tokens, computed so many at a time by so many threads.
pub(crate) fn logits(bytes: &[u8], ids: &[u32], chunk: usize, threads: usize) -> Vec<f32> {
    let device = Device::open(&DeviceOptions::cpu().threads(threads)).unwrap();
    logits_on(&Placement::on(&device), bytes, ids, chunk)
}

/// The same on some devices, between which the hidden state goes through the host.
pub(crate) fn logits_on(placement: &Placement, bytes: &[u8], ids: &[u32], chunk: usize) -> Vec<f32> {
    let model = open(placement, bytes).unwrap();
    let last = model.legs().len() - 1;
    let mut legs: Vec<_> = model
        .legs()
        .iter()
        .map(|Leg { device, layers, .. }| {
            let (sizes, layers) = (model.sizes(), layers.clone());
            let cache = Cache::new(device, sizes, &model.keeps(), layers, DType::F32, 64, chunk).unwrap();
            let buffers = Activations::new(device, sizes, 64, chunk, chunk).unwrap();
            (device, Ops::open(device).unwrap(), device.session().unwrap(), cache, buffers)
        })
        .collect();
    let mut all = Vec::new();
    for (number, ids) in ids.chunks(chunk).enumerate() {
        let (rows, first) = (ids.len(), (number * chunk) as u32);
        let positions: Vec<u32> = (first..first + rows as u32).collect();
        let mut hidden: Option<Vec<f32>> = None;
        for (leg, (device, ops, session, cache, buffers)) in legs.iter_mut().enumerate() {
            let [ids, positions] = [ids, &positions].map(|x| Tensor::from_slice(device, &[rows], x).unwrap());
            let buffers = buffers.first(rows, if leg == last { rows } else { 0 }).unwrap();
            if let Some(hidden) = hidden {
                buffers.hidden.copy_from(&hidden).unwrap();
            }
            let pass = Pass { ids: &ids, positions: &positions, places: None, cache, buffers: &buffers };
            let mut stage = session.stage("pass");
            model.forward(&mut ops.on(&mut stage), &pass).unwrap();
            stage.submit().unwrap();
            hidden = Some(buffers.hidden.to_vec().unwrap());
            if leg == last {
                all.extend(buffers.logits.to_vec::<f32>().unwrap());
            }
            cache.advance(rows);
        }
    }
    all
}
