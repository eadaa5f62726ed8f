//! Engines on a tiny model of random weights that is made here, and on files that are wrong in one way each.

use std::{
    fs,
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use forebay_device::{Device, DeviceOptions};
use forebay_tensor::DType;

use super::{Engine, EngineOptions, Generation};
use crate::{
    error::{Error, Result},
    formats::gguf::builder::Builder,
    generate::{
        sampler::{Greedy, SamplerOptions},
        step::{Sequence, SequenceOptions},
        stop::{Stop, StopRule},
    },
};

const WIDTH: usize = 8;
const FFN: usize = 12;
const TOKENS: [&str; 10] =
    ["<unk>", "<s>", "</s>", "\u{2581}", "a", "b", "ab", "\u{2581}ab", "ba", "\u{2581}ba"];

/// A tiny model, wrong in one way, or with a window, if `spoil` says so.
pub(super) fn model(spoil: &str) -> Vec<u8> {
    let mut seed = 1u32;
    let mut weight = |count: usize| -> Vec<u8> {
        let mut number = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0).to_le_bytes()
        };
        (0..count).flat_map(|_| number()).collect()
    };
    let heads = match spoil {
        "heads" => 1,
        "columns" => 16,
        _ => 2,
    };
    let layers = if spoil == "layers" { 1 << 24 } else { 2 };
    let mut file = Builder::new()
        .text("general.architecture", if spoil == "family" { "mamba" } else { "llama" })
        .u32("llama.block_count", layers)
        .u32("llama.context_length", if spoil == "window" { 128 } else { 32 })
        .u32("llama.embedding_length", WIDTH as u32)
        .u32("llama.feed_forward_length", FFN as u32)
        .u32("llama.attention.head_count", heads)
        .u32("llama.attention.head_count_kv", 1)
        .u32("llama.rope.dimension_count", if spoil == "rotated" { 64 } else { 4 })
        .raw(b"llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes())
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &TOKENS)
        .f32s("tokenizer.ggml.scores", &[0.0, 0.0, 0.0, -3.0, -4.0, -5.0, -2.0, -1.0, -2.5, -1.5])
        .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 1, 1, 1, 1, 1, 1, 1]);
    if spoil == "window" {
        file = file.u32("llama.attention.sliding_window", 3);
    }
    if spoil == "scaling" {
        file = file.text("llama.rope.scaling.type", "dynamic");
    }
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), TOKENS.len(), WIDTH),
        ("output_norm.weight".to_owned(), 0, WIDTH),
    ];
    for layer in 0..2 {
        for (name, rows, columns) in [
            ("attn_norm", 0, WIDTH),
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH / 2, WIDTH),
            ("attn_v", WIDTH / 2, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_norm", 0, WIDTH),
            ("ffn_gate", FFN, WIDTH),
            ("ffn_up", FFN, WIDTH),
            ("ffn_down", WIDTH, FFN),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), rows, columns));
        }
    }
    if spoil == "unused" {
        tensors.push(("blk.0.attn_q.extra".to_owned(), 0, WIDTH));
    }
    for (name, rows, columns) in tensors {
        let rows = if spoil == "shape" && name == "blk.1.ffn_up.weight" { rows + 1 } else { rows };
        if spoil == "missing" && name == "blk.1.attn_v.weight" {
            continue;
        }
        let kind = if spoil == "kind" && name == "blk.0.attn_q.weight" { 99 } else { 0 };
        let bytes = weight(rows.max(1) * columns);
        let dimensions = if rows == 0 { vec![columns as u64] } else { vec![columns as u64, rows as u64] };
        file = file.tensor(&name, kind, &dimensions, &bytes);
    }
    file.bytes()
}

/// A file that goes when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn with(bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-engine-{}-{number}.gguf", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

pub(super) fn open(spoil: &str, threads: usize) -> Result<Engine> {
    let file = Scratch::with(&model(spoil));
    Engine::open_with(&file.0, &EngineOptions::default().device(DeviceOptions::cpu().threads(threads)))
}

#[test]
fn a_model_in_memory_is_what_its_file_is() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let held = Engine::open_bytes(&device, "held", model(""), &EngineOptions::default()).unwrap();
    let [held, file] = [held, open("", 1).unwrap()].map(|engine| {
        let mut sequence = engine.sequence().unwrap();
        sequence.feed(&[1, 7, 8]).unwrap();
        sequence.logits().unwrap()
    });
    assert_eq!(held, file);
    let broken = &model("")[..100];
    let error = Engine::open_bytes(&device, "held", broken.to_vec(), &EngineOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("held: "), "{error}");
}

#[test]
fn a_prompt_in_one_chunk_equals_token_by_token_on_any_number_of_threads() {
    let ids = [1, 7, 8, 4, 5, 6, 9, 3, 3, 0, 2, 7];
    let logits = |threads: usize, chunk: usize| {
        let engine = open("", threads).unwrap();
        let options = SequenceOptions { chunk, all_logits: true, ..engine.sequence_options() };
        let mut all = Vec::new();
        let mut sequence = engine.sequence_with(&options).unwrap();
        sequence
            .feed_each(&ids, |rows| {
                all.extend_from_slice(rows);
                Ok(())
            })
            .unwrap();
        all
    };
    let wanted = logits(1, 12);
    assert_eq!(wanted.len(), ids.len() * TOKENS.len());
    assert!(wanted.iter().all(|x| x.is_finite()) && wanted[0] != wanted[10]);
    for (threads, chunk) in [(2, 12), (1, 1), (2, 5)] {
        assert_eq!(logits(threads, chunk), wanted, "{threads} threads, {chunk} at a time");
    }
}

#[test]
fn generation_ends_for_the_reason_it_gives() {
    let engine = open("", 1).unwrap();
    let count = |rule: StopRule| {
        let mut generation = engine.generate("ab", rule).unwrap();
        let tokens = generation.by_ref().filter(|piece| piece.as_ref().unwrap().token.is_some()).count();
        (tokens, generation.stop().unwrap(), generation.timings().generated_tokens)
    };
    let on = StopRule { ignore_ends: true, ..StopRule::default() };
    assert_eq!(count(StopRule { limit: Some(3), ..on.clone() }), (3, Stop::Limit, 3));
    assert_eq!(count(StopRule { limit: Some(0), ..on.clone() }), (0, Stop::Limit, 0));
    // Two tokens of prompt in 32 positions: the last token that is given out is never taken in.
    assert_eq!(count(on.clone()), (31, Stop::Context, 31));
    on.cancel.cancel();
    assert_eq!(count(on), (0, Stop::Cancelled, 0));
}

#[test]
fn what_cannot_be_fed_is_refused_and_nothing_is_lost() {
    let engine = open("", 1).unwrap();
    let mut sequence = engine.sequence().unwrap();
    assert!(matches!(sequence.logits(), Err(Error::NoLogits)));
    assert!(matches!(sequence.feed(&[]), Err(Error::EmptyPrompt)));
    sequence.feed(&[1, 7]).unwrap();
    let before = sequence.logits().unwrap();
    assert!(matches!(sequence.feed(&[10]), Err(Error::TokenId { id: 10, size: 10 })));
    assert!(matches!(sequence.feed(&[3; 31]), Err(Error::ContextFull { tokens: 33, context: 32 })));
    assert_eq!((sequence.len(), sequence.logits().unwrap()), (2, before));
    sequence.feed(&[3; 30]).unwrap();
    assert!(matches!(sequence.feed(&[3]), Err(Error::ContextFull { .. })));
}

#[test]
fn options_that_cannot_be_are_refused() {
    let engine = open("", 1).unwrap();
    let options = engine.sequence_options();
    for bad in [
        SequenceOptions { context: 0, ..options },
        SequenceOptions { context: 33, ..options },
        SequenceOptions { chunk: 0, ..options },
        SequenceOptions { kv: DType::Q4_K, ..options },
    ] {
        assert!(matches!(engine.sequence_with(&bad), Err(Error::Option { .. })), "{bad:?}");
    }
}

#[test]
fn files_that_are_wrong_in_one_way_say_which() {
    for (spoil, wanted) in [
        ("family", r#"no model family is called "mamba"; known are gemma2, gemma3, gpt-oss, llama (also"#),
        ("missing", r#"has no tensor "blk.1.attn_v.weight""#),
        ("shape", r#"tensor "blk.1.ffn_up.weight" has shape [13, 8], the model needs [12, 8]"#),
        ("heads", r#"tensor "blk.0.attn_k.weight" has shape [4, 8], the model needs [8, 8]"#),
        ("unused", r#"holds 1 tensors that this model does not use, the first is "blk.0.attn_q.extra""#),
        ("scaling", r#"uses rope scaling "dynamic", which cannot be run yet"#),
        (
            "rotated",
            r#"key "llama.rope.dimension_count" holds 64, an even number, at most the width of a head, is needed"#,
        ),
        ("layers", r#"key "llama.block_count" holds 16777216, a number below 2^24 is needed"#),
        (
            "columns",
            r#"key "llama.attention.head_count" holds 16, no more heads than the hidden state has columns is needed"#,
        ),
        ("kind", r#"tensor "blk.0.attn_q.weight" has an element type that is not known"#),
    ] {
        let error = open(spoil, 1).map(drop).unwrap_err().to_string();
        assert!(error.contains(wanted), "{spoil}: {error}");
    }
}

/// The text and the tokens of a generation.
pub(super) fn drain(generation: &mut Generation<'_>) -> (String, Vec<u32>) {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    for piece in generation {
        let piece = piece.unwrap();
        text.push_str(&piece.text);
        tokens.extend(piece.token);
    }
    (text, tokens)
}

#[test]
fn a_stop_text_ends_the_text_before_it_and_is_not_shown() {
    let engine = open("", 1).unwrap();
    let begin = |rule: StopRule| {
        // Hot enough to say a bit of everything.
        let options = SamplerOptions {
            temperature: 9.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplerOptions::default()
        };
        engine.generate_from(&[1, 7], rule, options.sampler(engine.tokenizer()).unwrap()).unwrap()
    };
    let rule = StopRule { ignore_ends: true, ..StopRule::after(25) };
    let (whole, ids) = drain(&mut begin(rule.clone()));
    assert!(whole.len() > 15, "{whole:?}");
    for start in 1..whole.len() - 2 {
        for end in start + 1..=whole.len().min(start + 5) {
            let text = &whole[start..end];
            let rule = StopRule { texts: vec![text.to_owned(), "never".to_owned()], ..rule.clone() };
            let mut generation = begin(rule);
            let (shown, tokens) = drain(&mut generation);
            assert_eq!(generation.stop(), Some(Stop::Text), "{text:?} in {whole:?}");
            assert_eq!(shown, whole[..whole.find(text).unwrap()], "{text:?} in {whole:?}");
            assert_eq!(tokens, ids[..tokens.len()]);
        }
    }
    let rule = StopRule { texts: vec!["never".to_owned()], ..rule };
    assert_eq!(drain(&mut begin(rule)), (whole, ids));
}

#[test]
fn what_is_cancelled_keeps_what_it_has() {
    let engine = open("", 1).unwrap();
    let rule = StopRule { ignore_ends: true, ..StopRule::default() };
    let mut generation = engine.generate("ab", rule.clone()).unwrap();
    let first: Vec<u32> = generation.by_ref().take(4).map(|piece| piece.unwrap().token.unwrap()).collect();
    rule.cancel.cancel();
    assert_eq!((generation.by_ref().count(), generation.stop()), (0, Some(Stop::Cancelled)));
    assert_eq!(first.len(), 4);

    // In a prompt, between its chunks: what was taken in stays, and the rest can follow later.
    rule.cancel.reset();
    let ids = [1, 7, 8, 4, 5, 6, 9, 3];
    let options = SequenceOptions { chunk: 3, ..engine.sequence_options() };
    let mut sequence = engine.sequence_with(&options).unwrap();
    let mut told = Vec::new();
    let mut progress = |done| {
        told.push(done);
        if done == 6 {
            rule.cancel.cancel();
        }
    };
    let generation =
        engine.generate_in(&mut sequence, &ids, rule.clone(), Box::new(Greedy), &mut progress).unwrap();
    assert_eq!((generation.stop(), generation.count()), (Some(Stop::Cancelled), 0));
    assert_eq!((told, sequence.tokens()), (vec![0, 3, 6], &ids[..6]));
    rule.cancel.reset();
    let rule = StopRule { limit: Some(5), ..rule };
    let mut generation =
        engine.generate_in(&mut sequence, &ids, rule.clone(), Box::new(Greedy), &mut |_| {}).unwrap();
    assert_eq!(generation.timings().reused_tokens, 6);
    let wanted = drain(&mut engine.generate_from(&ids, rule, Box::new(Greedy)).unwrap());
    assert_eq!(drain(&mut generation), wanted);
}

#[test]
fn a_text_that_begins_alike_is_computed_from_where_it_differs() {
    let engine = open("", 1).unwrap();
    let logits = |ids: &[u32]| {
        let mut sequence = engine.sequence().unwrap();
        sequence.feed(ids).unwrap();
        sequence.logits().unwrap()
    };
    let go = |_| ControlFlow::Continue(());
    let mut sequence = engine.sequence().unwrap();
    for (ids, reused) in [
        (&[1, 7, 8, 4, 5][..], 0),
        (&[1, 7, 8, 4, 5, 6, 6], 5),
        // The last token is computed again, for its logits.
        (&[1, 7, 8, 4, 5, 6, 6], 6),
        (&[1, 7, 3], 2),
        (&[2, 7, 3], 0),
    ] {
        assert_eq!(sequence.become_text(ids, go).unwrap(), reused);
        assert_eq!(sequence.tokens(), ids);
        assert_eq!(sequence.logits().unwrap(), logits(ids), "{ids:?}");
    }
    // What cannot be is refused before anything is forgotten.
    assert!(matches!(sequence.become_text(&[], go), Err(Error::EmptyPrompt)));
    assert!(matches!(
        sequence.become_text(&[3; 33], go),
        Err(Error::ContextFull { tokens: 33, context: 32 })
    ));
    assert!(matches!(sequence.become_text(&[2, 10], go), Err(Error::TokenId { id: 10, size: 10 })));
    assert!(matches!(sequence.roll_back(4), Err(Error::NoWayBack { .. })));
    assert_eq!(sequence.logits().unwrap(), logits(&[2, 7, 3]));
    sequence.roll_back(1).unwrap();
    assert!(matches!(sequence.logits(), Err(Error::NoLogits)));
    assert!(matches!(sequence.greedy(), Err(Error::NoLogits)));
    sequence.feed(&[9]).unwrap();
    assert_eq!(sequence.logits().unwrap(), logits(&[2, 9]));
}

#[test]
fn the_same_seed_draws_the_same_tokens_on_any_number_of_threads() {
    let draw = |threads: usize, seed: u64| {
        let engine = open("", threads).unwrap();
        let options = SamplerOptions { temperature: 1.5, top_k: 0, seed, ..SamplerOptions::default() };
        let rule = StopRule { ignore_ends: true, ..StopRule::after(25) };
        let sampler = options.sampler(engine.tokenizer()).unwrap();
        drain(&mut engine.generate_from(&[1, 7], rule, sampler).unwrap()).1
    };
    let one = draw(1, 5);
    assert_eq!((draw(1, 5), draw(2, 5)), (one.clone(), one.clone()));
    assert_ne!(draw(1, 6), one);
}

#[test]
fn hidden_states_come_for_every_row_or_the_last() {
    let engine = open("", 1).unwrap();
    let ids = [1, 7, 8, 4, 5];
    let hidden = |chunk: usize, all_logits: bool| {
        let options = SequenceOptions { chunk, all_logits, ..engine.sequence_options() };
        let mut rows = Vec::new();
        let mut each = |chunk: &[f32]| {
            rows.extend(chunk.chunks(WIDTH).map(<[f32]>::to_vec));
            Ok(())
        };
        engine.sequence_with(&options).unwrap().feed_hidden(&ids, &mut each).unwrap();
        rows
    };
    let all = hidden(5, true);
    assert_eq!((all.len(), hidden(2, true)), (5, all.clone()));
    assert_eq!(hidden(3, false), [all[2].clone(), all[4].clone()]);
    assert_ne!(all[2], all[4]);
}

#[test]
fn every_op_of_a_pass_is_explained_and_none_is_run() {
    let engine = open("", 1).unwrap();
    let mut sequence = engine.sequence().unwrap();
    sequence.feed(&[1, 7, 8]).unwrap();
    let before = sequence.logits().unwrap();
    for rows in [1, 5] {
        let notes = sequence.explain(rows).unwrap();
        let of = |op: &str| notes.iter().filter(|note| note.op == op).count();
        // Two layers of seven products each, and the head.
        assert_eq!((of("matmul"), of("attention"), of("embed")), (15, 2, 1));
        assert!(notes.iter().all(|note| !note.kernel.is_empty()), "{notes:?}");
    }
    assert_eq!((sequence.logits().unwrap(), sequence.len()), (before, 3));
    for rows in [0, 1000] {
        assert!(matches!(sequence.explain(rows), Err(Error::Option { name: "rows", .. })));
    }
    sequence.feed(&[4]).unwrap();
    let after = sequence.logits().unwrap();
    sequence.roll_back(0).unwrap();
    sequence.feed(&[1, 7, 8, 4]).unwrap();
    assert_eq!(sequence.logits().unwrap(), after);
}

#[test]
fn what_runs_models_goes_to_other_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Engine>();
    sync::<Engine>();
    send::<Sequence>();
    send::<Generation<'_>>();
    let engine = open("", 1).unwrap();
    let alone: Vec<_> = (0..3)
        .map(|n| drain(&mut engine.generate_from(&[1, 7 + n], StopRule::after(9), Box::new(Greedy)).unwrap()))
        .collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let run = |n: u32| {
            let engine = &engine;
            move || {
                drain(&mut engine.generate_from(&[1, 7 + n], StopRule::after(9), Box::new(Greedy)).unwrap())
            }
        };
        let threads: Vec<_> = (0..3u32).map(|n| scope.spawn(run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}
