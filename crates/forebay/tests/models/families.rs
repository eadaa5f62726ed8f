//! Models of random weights of every other family, against the system that made the files.

use std::path::PathBuf;

use forebay::{Engine, Error, generate::step::SequenceOptions};
use forebay_tensor::DType;

use crate::fixtures::{Reference, distance, folder, ggufs, greedy, logits, open, open_divided};

/// The families, and how far logits may be: that system takes the curve of Gemma's networks from a table of f16.
const FAMILIES: [(&str, f32); 9] = [
    ("qwen2", 1e-3),
    ("qwen3", 1e-3),
    ("qwen3moe", 1e-3),
    ("qwen3next", 1e-3),
    ("qwen35", 1e-3),
    ("gptoss", 1e-3),
    ("phi3", 1e-3),
    ("gemma2", 1e-2),
    ("gemma3", 1e-2),
];

/// Whether a family has states, which positions change one after another.
fn has_states(family: &str) -> bool {
    ["qwen3next", "qwen35"].contains(&family)
}

/// One file of each family, and a text that is longer than any window.
fn one_of_each() -> Vec<(&'static str, PathBuf, Vec<u32>)> {
    let one = |(family, _): (&'static str, f32)| {
        let root = folder(&format!("models/{family}"))?;
        let (name, path) = ggufs(&root).into_iter().next().unwrap();
        let ids = Reference::open(root.join(format!("ref/{family}.{name}.ref.safetensors"))).ids("promptB");
        Some((family, path, ids))
    };
    FAMILIES.into_iter().map_while(one).collect()
}

#[test]
fn every_family_gives_the_logits_and_tokens_of_its_decoded_weights() {
    for (family, near) in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        for (name, path) in ggufs(&root) {
            let reference = Reference::open(root.join(format!("ref/{family}.{name}.ref.safetensors")));
            let engine = open(&path, 2, DType::F32);
            let far =
                distance(&logits(&engine, &reference.ids("promptA"), 32), &reference.floats("exact.logitsA"));
            // Past every window, and in chunks that do not end where windows do.
            let all = logits(&engine, &reference.ids("promptB"), 37);
            let vocabulary = engine.model().sizes().vocabulary;
            let rows = reference.ids("rowsB");
            let row = |row: &u32| &all[*row as usize * vocabulary..][..vocabulary];
            let picked: Vec<f32> = rows.iter().flat_map(row).copied().collect();
            let far_b = distance(&picked, &reference.floats("exact.logitsB_rows"));
            println!("{family} {name}: {far:.2e}, long prompt {far_b:.2e}");
            assert!(far.max(far_b) <= near, "{family} {name}: {far} and {far_b}");

            let (wanted, gaps) = (reference.ids("greedy.exact"), reference.floats("greedy.exact_gap"));
            let got = greedy(&engine, &reference.ids("greedy.prompt"), wanted.len());
            if let Some(odd) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
                assert!(
                    gaps[odd] < 3.0 * near,
                    "{family} {name}: token {odd} differs where the gap is {}",
                    gaps[odd]
                );
            }
        }
    }
}

#[test]
fn neither_chunks_nor_threads_change_what_a_family_says() {
    for (family, path, ids) in one_of_each() {
        let engine = |threads| open(&path, threads, DType::F32);
        let (one, two, ids) = (engine(1), engine(2), &ids[..50]);
        let whole = logits(&one, ids, 50);
        for chunk in [50, 19, 1] {
            let got = logits(&one, ids, chunk);
            assert!(logits(&two, ids, chunk) == got, "{family}: two threads, {chunk} at a time");
            let far = distance(&got, &whole);
            // States are updated by another formula where positions are many.
            let near = if has_states(family) { 2e-4 } else { 0.0 };
            assert!(far <= near, "{family}: {chunk} at a time, {far}");
        }
    }
}

#[test]
fn layers_of_a_family_may_be_on_two_devices() {
    for (family, path, ids) in one_of_each() {
        let whole = open(&path, 2, DType::F16);
        let layers = whole.model().sizes().layers;
        for there in 1..layers {
            let divided = open_divided(&path, 1, DType::F16, there);
            assert_eq!(divided.model().legs().len(), 2);
            for chunk in [19, 1] {
                let same = logits(&divided, &ids[..50], chunk) == logits(&whole, &ids[..50], chunk);
                assert!(same, "{family}: {there} of {layers} layers, {chunk} at a time");
            }
            let [got, wanted] = [&divided, &whole].map(|engine| greedy(engine, &ids[..40], 24));
            assert_eq!(got, wanted, "{family}: {there} of {layers} layers");
        }
    }
}

#[test]
fn a_text_that_was_taken_back_goes_on_as_if_nothing_had_been() {
    for (family, path, ids) in one_of_each() {
        let whole = open(&path, 2, DType::F16);
        let layers = whole.model().sizes().layers;
        taken_back(family, &whole, &ids);
        taken_back(family, &open_divided(&path, 2, DType::F16, layers / 2), &ids);
    }
}

fn taken_back(family: &str, engine: &Engine, ids: &[u32]) {
    let options = SequenceOptions { chunk: 16, ..engine.sequence_options() };
    let mut text = engine.sequence_with(&options).unwrap();
    text.feed(&ids[..40]).unwrap();
    text.checkpoint().unwrap();
    text.feed(&ids[40..60]).unwrap();
    let wanted = text.logits().unwrap();
    text.feed(&ids[60..61]).unwrap();
    let next = text.logits().unwrap();

    let others: Vec<u32> = ids[..45].iter().rev().copied().collect();
    for _ in 0..2 {
        assert_eq!(text.reach(40), 40, "{family}");
        text.roll_back(40).unwrap();
        assert!(matches!(text.logits(), Err(Error::NoLogits)));
        text.feed(&ids[40..60]).unwrap();
        assert!(text.logits().unwrap() == wanted, "{family}");
        text.feed(&ids[60..61]).unwrap();
        assert!(text.logits().unwrap() == next, "{family}");
        text.roll_back(40).unwrap();
        text.feed(&others).unwrap();
    }

    // A few tokens back, without a checkpoint there.
    text.roll_back(40).unwrap();
    text.feed(&ids[40..60]).unwrap();
    text.feed(&others[..5]).unwrap();
    match has_states(family) {
        true => assert!(
            matches!(text.roll_back(57), Err(Error::NoWayBack { to: 57, len: 65, nearest: 40 })),
            "{family}"
        ),
        false => {
            text.roll_back(57).unwrap();
            text.feed(&ids[57..60]).unwrap();
            assert!(text.logits().unwrap() == wanted, "{family}");
        }
    }

    text.roll_back(0).unwrap();
    text.feed(&ids[..40]).unwrap();
    text.feed(&ids[40..60]).unwrap();
    assert!(text.logits().unwrap() == wanted, "{family}: from the beginning");
}
