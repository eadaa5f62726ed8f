//! A real trained model of 260 thousand parameters: its known text, its logits, and what must not matter.

use std::path::Path;

use forebay::{
    Engine,
    formats::weights::{Access, Precision},
    generate::{
        sampler::Greedy,
        stop::{Stop, StopRule},
    },
};
use forebay_tensor::DType;

use crate::fixtures::{Reference, distance, folder, ggufs, greedy, logits, open, open_with};

#[test]
fn the_known_text_comes_out() {
    let Some(root) = folder("stories260K") else { return };
    let known: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.join("ref/stories260K.json")).unwrap()).unwrap();
    let wanted = known["text"].as_str().unwrap();
    let reference = Reference::open(root.join("ref/stories260K.hf.safetensors")).ids("greedy_from_bos");
    for kv in [DType::F32, DType::F16] {
        let engine = open(&ggufs(&root)["F16"], 1, kv);
        let rule = StopRule::after(reference.len() - 1);
        let mut generation = engine.generate_from(&reference[..1], rule, Box::new(Greedy)).unwrap();
        let (mut ids, mut text) = (vec![reference[0]], String::new());
        for piece in &mut generation {
            let piece = piece.unwrap();
            ids.extend(piece.token);
            text.push_str(&piece.text);
        }
        assert_eq!(ids, reference, "{kv}");
        assert_eq!(generation.stop(), Some(Stop::Limit));
        let length = wanted.len().min(text.len());
        assert!(length > 500);
        assert_eq!(text.trim_start()[..length - 1], wanted[..length - 1], "{kv}");
    }
}

#[test]
fn logits_of_every_file_agree_with_those_of_the_decoded_weights() {
    let Some(root) = folder("stories260K") else { return };
    for (name, path) in ggufs(&root) {
        let reference = Reference::open(root.join(format!("ref/stories260K.{name}.ref.safetensors")));
        let ids = reference.ids("ids");
        let engine = open(&path, 1, DType::F32);
        let got = logits(&engine, &ids, 64);
        let (first, last) = (reference.floats("exact.logits_first32"), reference.floats("exact.logits_last"));
        let far = distance(&got[..first.len()], &first).max(distance(&got[got.len() - last.len()..], &last));
        println!("stories260K {name}: {far:.2e}");
        assert!(far <= 1e-3, "{name}: {far}");
        let far = distance(&logits(&open(&path, 1, DType::F16), &ids[..32], 32), &first);
        assert!(far > 0.0 && far < 0.1, "{name}, cache of f16: {far}");
    }
}

#[test]
fn greedy_tokens_differ_only_at_near_ties() {
    let Some(root) = folder("stories260K") else { return };
    for (name, path) in ggufs(&root) {
        let reference = Reference::open(root.join(format!("ref/stories260K.{name}.ref.safetensors")));
        let (wanted, gaps) = (reference.ids("greedy.exact"), reference.floats("greedy.exact_gap"));
        let got = greedy(&open(&path, 2, DType::F32), &reference.ids("greedy.prompt"), wanted.len());
        if let Some(odd) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
            assert!(gaps[odd] < 0.01, "{name}: token {odd} differs where the gap is {}", gaps[odd]);
        }
    }
}

#[test]
fn neither_chunks_nor_threads_nor_mapping_change_a_bit() {
    let Some(root) = folder("stories260K") else { return };
    for (name, path) in ggufs(&root) {
        let reference = Reference::open(root.join(format!("ref/stories260K.{name}.ref.safetensors")));
        let ids = &reference.ids("ids")[..70];
        for precision in [Precision::Fast, Precision::Strict] {
            let open = |path: &Path, threads| open_with(path, threads, DType::F16, precision);
            let wanted = logits(&open(&path, 1), ids, 70);
            for (threads, chunk) in [(2, 70), (3, 33), (1, 1), (2, 7)] {
                let got = logits(&open(&path, threads), ids, chunk);
                assert!(got == wanted, "{name}: {threads} threads, {chunk} at a time");
            }
            let options = forebay::EngineOptions::default().access(Access::Read).precision(precision);
            let read = Engine::open_with(&path, &options).unwrap();
            assert!(logits(&read, ids, 32) == wanted, "{name}: read instead of mapped");
            // The recorded step leaves the logits that a chunk leaves.
            let engine = open(&path, 2);
            let mut sequence = engine.sequence().unwrap();
            for (i, id) in ids.iter().enumerate() {
                sequence.feed(std::slice::from_ref(id)).unwrap();
                let row = sequence.logits().unwrap();
                assert!(row == wanted[i * row.len()..][..row.len()], "{name}: step {i}");
            }
        }
    }
}

#[test]
fn a_steady_step_asks_for_no_memory() {
    let Some(root) = folder("stories260K") else { return };
    let engine = open_with(&ggufs(&root)["Q4_0"], 2, DType::F16, Precision::Fast);
    let mut sequence = engine.sequence().unwrap();
    sequence.feed(&[1, 403, 407]).unwrap();
    let mut id = sequence.greedy().unwrap();
    for _ in 0..2 {
        sequence.feed(&[id]).unwrap();
        id = sequence.greedy().unwrap();
    }
    let before = engine.device().pool().stats();
    for _ in 0..50 {
        sequence.feed(&[id]).unwrap();
        id = sequence.greedy().unwrap();
    }
    let after = engine.device().pool().stats();
    assert_eq!(
        (before.driver_calls, before.hits + before.misses),
        (after.driver_calls, after.hits + after.misses)
    );
    assert!(before.live > 0);
}

#[test]
fn two_sequences_on_one_model_do_not_meet() {
    let Some(root) = folder("stories260K") else { return };
    let engine = open_with(&ggufs(&root)["Q8_0"], 2, DType::F16, Precision::Fast);
    let alone = greedy(&engine, &[1, 403], 30);
    let (mut one, mut two) = (engine.sequence().unwrap(), engine.sequence().unwrap());
    one.feed(&[1, 403]).unwrap();
    two.feed(&[1, 310, 276, 260]).unwrap();
    let mut ids = Vec::new();
    for _ in 0..30 {
        let (a, b) = (one.greedy().unwrap(), two.greedy().unwrap());
        ids.push(a);
        two.feed(&[b]).unwrap();
        one.feed(&[a]).unwrap();
    }
    assert_eq!(ids, alone);
}

#[test]
fn files_that_are_not_whole_are_refused() {
    let Some(root) = folder("stories260K") else { return };
    let path = &ggufs(&root)["Q4_0"];
    let bytes = std::fs::read(path).unwrap();
    let dir = std::env::temp_dir().join(format!("forebay-models-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let cut = dir.join("cut.gguf");
    for length in [0, 3, 4, 100, bytes.len() / 2, bytes.len() - 100] {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        let error = Engine::open(&cut).unwrap_err().to_string();
        assert!(error.contains("cut.gguf") && !error.contains('\n'), "{length}: {error}");
    }
    assert!(Engine::open(Path::new(&dir)).is_err());
    std::fs::remove_dir_all(dir).unwrap();
}
