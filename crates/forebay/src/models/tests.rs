//! Families on tiny models of random weights, and on files that are wrong in one way each.

use forebay_device::{Device, DeviceOptions};

use super::made::{
    VOCABULARY, WIDTH, file, hybrid, interleaved, joined, logits, logits_on, numbers, open, plain,
    plain_numbers, widened,
};
use crate::formats::placement::Placement;

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const IDS: [u32; 21] = [1, 7, 8, 4, 5, 6, 9, 3, 3, 0, 2, 7, 10, 1, 1, 4, 2, 8, 0, 5, 6];

/// The logits of one position.
fn row(logits: &[f32], position: usize) -> &[f32] {
    &logits[position * VOCABULARY..][..VOCABULARY]
}

#[test]
fn behind_a_window_of_one_layer_nothing_is_seen() {
    let (plain, mut numbers) = (plain(), plain_numbers());
    let wide = file("llama", &numbers, &[], &plain);
    numbers.insert("attention.sliding_window", 4);
    let windowed = logits(&file("llama", &numbers, &[], &plain), &IDS, 5, 1);
    // Positions turn queries and keys against each other by their distance only.
    for position in [3, 9, 20] {
        let alone = logits(&wide, &IDS[position - 3..=position], 4, 1);
        let far = distance(row(&windowed, position), row(&alone, 3));
        assert!(far < 1e-4, "{position}: {far}");
    }
    let all = logits(&wide, &IDS, 5, 1);
    assert!(distance(row(&windowed, 2), row(&all, 2)) == 0.0);
    assert!(distance(row(&windowed, 20), row(&all, 20)) > 1e-2);
}

#[test]
fn one_matrix_may_hold_queries_keys_and_values() {
    for (family, numbers, layer, mut tensors) in
        [("llama", plain_numbers(), 0, plain()), ("qwen3next", numbers(), 1, joined(hybrid()))]
    {
        let wanted = logits(&file(family, &numbers, &[], &tensors), &IDS, 21, 1);
        let parts =
            ["q", "k", "v"].map(|of| tensors.remove(&format!("blk.{layer}.attn_{of}.weight")).unwrap());
        let (rows, elements) = (parts.iter().map(|part| part.0[0]).sum(), parts.map(|part| part.1).concat());
        tensors.insert(format!("blk.{layer}.attn_qkv.weight"), (vec![rows, WIDTH], elements));
        assert!(logits(&file(family, &numbers, &[], &tensors), &IDS, 21, 1) == wanted, "{family}");
    }
}

#[test]
fn heads_may_be_wider_than_those_of_any_known_model() {
    let (plain, mut numbers) = (plain(), plain_numbers());
    let wanted = logits(&file("llama", &numbers, &[], &plain), &IDS, 21, 1);
    for width in [256, 288, 512] {
        numbers.extend([("attention.key_length", width), ("attention.value_length", width)]);
        let wide = file("llama", &numbers, &[], &widened(plain.clone(), width as usize));
        for chunk in [21, 1] {
            let far = distance(&logits(&wide, &IDS, chunk, 2), &wanted);
            assert!(far < 1e-4, "{width}, {chunk} at a time: {far}");
        }
    }
}

#[test]
fn layouts_of_delta_networks_mean_the_same() {
    let (numbers, weights) = (numbers(), hybrid());
    let next = file("qwen3next", &numbers, &[], &joined(weights.clone()));
    let wanted = logits(&next, &IDS, IDS.len(), 1);
    assert!(distance(row(&wanted, 0), row(&wanted, 20)) > 0.1);

    let grouped = file("qwen35moe", &numbers, &["ssm.grouped_heads"], &weights);
    assert_eq!(logits(&grouped, &IDS, IDS.len(), 1), wanted);
    let turns = file("qwen35moe", &numbers, &[], &interleaved(weights.clone()));
    let far = distance(&logits(&turns, &IDS, IDS.len(), 1), &wanted);
    assert!(far < 1e-4, "{far}");
    // What would be if heads were mistaken for the other ones.
    let wrong = file("qwen35moe", &numbers, &[], &weights);
    assert!(distance(&logits(&wrong, &IDS, IDS.len(), 1), &wanted) > 0.1);
}

#[test]
fn a_hybrid_gives_the_same_in_chunks_of_any_size_on_any_number_of_threads() {
    let file = file("qwen3next", &numbers(), &[], &joined(hybrid()));
    let wanted = logits(&file, &IDS, IDS.len(), 1);
    for chunk in [1, 2, 16, 21] {
        let one = logits(&file, &IDS, chunk, 1);
        let far = distance(&one, &wanted);
        assert!(far < 1e-4, "{chunk} at a time: {far}");
        assert!(logits(&file, &IDS, chunk, 2) == one, "{chunk} at a time, two threads");
    }
}

#[test]
fn layers_on_several_devices_give_the_same() {
    let file = file("qwen3next", &numbers(), &[], &joined(hybrid()));
    let [one, two] = [1, 2].map(|threads| Device::open(&DeviceOptions::cpu().threads(threads)).unwrap());
    for chunk in [1, 8, 21] {
        let wanted = logits(&file, &IDS, chunk, 1);
        for count in 0..=2 {
            let placement = Placement::on(&one).then(&two, count);
            assert_eq!(open(&placement, &file).unwrap().legs().len(), if count == 1 { 2 } else { 1 });
            assert!(logits_on(&placement, &file, &IDS, chunk) == wanted, "{count}, {chunk} at a time");
        }
    }
    let placement = Placement::on(&one).then(&two, 3);
    let error = open(&placement, &file).map(drop).unwrap_err().to_string();
    assert!(error.contains("gpu_layers must be at most 2"), "{error}");
}

#[test]
fn gates_and_what_they_let_through_may_be_one_tensor() {
    let apart = joined(hybrid());
    let wanted = logits(&file("qwen3next", &numbers(), &[], &apart), &IDS, 21, 1);
    let mut together = apart;
    for layer in 0..2 {
        let [gate, up] = ["gate", "up"]
            .map(|half| together.remove(&format!("blk.{layer}.ffn_{half}_exps.weight")).unwrap());
        let (experts, each) = (gate.0[0], gate.1.len() / gate.0[0]);
        let both =
            |expert: usize| [&gate.1, &up.1].map(|half| half[expert * each..][..each].to_vec()).concat();
        let elements = (0..experts).flat_map(both).collect();
        let shape = vec![experts, 2 * gate.0[1], gate.0[2]];
        together.insert(format!("blk.{layer}.ffn_gate_up_exps.weight"), (shape, elements));
    }
    assert!(logits(&file("qwen3next", &numbers(), &[], &together), &IDS, 21, 1) == wanted);
    // Rows that are no two halves stay what the file calls them.
    let (shape, _) = together.get_mut("blk.1.ffn_gate_up_exps.weight").unwrap();
    (shape[1], shape[2]) = (5, 64);
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let error =
        open(&device, &file("qwen3next", &numbers(), &[], &together)).map(drop).unwrap_err().to_string();
    assert!(error.contains("has no tensor \"blk.1.ffn_gate_exps.weight\""), "{error}");
}

#[test]
fn layers_that_guess_further_tokens_are_left_aside() {
    let (mut numbers, mut weights) = (numbers(), hybrid());
    let wanted = logits(&file("qwen35moe", &numbers, &[], &weights), &IDS, 21, 1);
    weights.insert("blk.2.nextn.eh_proj.weight".to_owned(), (vec![WIDTH, 2 * WIDTH], vec![1.0; 512]));
    numbers.extend([("block_count", 3), ("nextn_predict_layers", 1)]);
    assert!(logits(&file("qwen35moe", &numbers, &[], &weights), &IDS, 21, 1) == wanted);
}

#[test]
fn numbers_that_cannot_be_are_refused_by_key() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let weights = joined(hybrid());
    for (key, number, wanted) in [
        ("expert_count", 1025, "holds 1025, at most 1024 is needed"),
        ("expert_count", 0, "holds 0, a number above 0 is needed"),
        ("expert_used_count", 6, "holds 6, at most the number of experts is needed"),
        ("expert_feed_forward_length", 1 << 24, "holds 16777216, a number below 2^24 is needed"),
        ("expert_shared_feed_forward_length", 0, "holds 0, a number above 0 is needed"),
        ("ssm.conv_kernel", 9, "holds 9, at most 8 is needed"),
        ("ssm.group_count", 4, "holds 6, a multiple of the heads of keys is needed"),
        (
            "ssm.inner_size",
            35,
            "holds 35, a multiple of the heads of values, at most 256 for each, is needed",
        ),
        ("ssm.inner_size", 6 * 257, "at most 256 for each, is needed"),
        ("ssm.state_size", u32::MAX, "holds 4294967295, a number below 2^24 is needed"),
        ("attention.value_length", 4, "holds 4, the width of a head of queries is needed"),
        ("full_attention_interval", 0, "holds 0, a number above 0 is needed"),
        ("nextn_predict_layers", 2, "holds 2, fewer than there are layers is needed"),
        (
            "ssm.state_size",
            5,
            r#"tensor "blk.0.ssm_conv1d.weight" has shape [52, 3], the model needs [56, 3]"#,
        ),
        ("full_attention_interval", 3, r#"has no tensor "blk.1.ssm_conv1d.weight""#),
        (
            "expert_count",
            4,
            r#"tensor "blk.0.ffn_gate_inp.weight" has shape [5, 16], the model needs [4, 16]"#,
        ),
    ] {
        let mut numbers = numbers();
        numbers.insert(key, number);
        let file = file("qwen3next", &numbers, &[], &weights);
        let error = open(&device, &file).map(drop).unwrap_err().to_string();
        assert!(error.contains(wanted), "{key} {number}: {error}");
        assert!(!wanted.starts_with("holds") || error.contains("\"qwen3next."), "{key} {number}: {error}");
    }
}

#[test]
fn tensors_that_are_missing_are_named() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let whole = joined(hybrid());
    for name in whole.keys() {
        let mut tensors = whole.clone();
        tensors.remove(name);
        let error = open(&device, &file("qwen3next", &numbers(), &[], &tensors)).map(drop).unwrap_err();
        assert!(error.to_string().contains(&format!("has no tensor {name:?}")), "{name}: {error}");
    }
}
