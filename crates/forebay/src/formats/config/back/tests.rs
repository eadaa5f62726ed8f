//! Configurations of folders, turned into keys and back; and what no configuration could say.

use std::path::PathBuf;

use super::*;
use crate::formats::{
    config::Config,
    gguf::{Gguf, builder::Builder},
};

/// Describes metadata with such tensors.
fn back(metadata: &Metadata, tensors: &[(String, Vec<f32>)], rows: usize) -> Result<Described> {
    let find = |name: &str| tensors.iter().find(|(own, _)| own == name).map(|(_, floats)| floats.clone());
    describe(&Facts {
        metadata,
        has: &|name| find(name).is_some(),
        floats: &|name| Ok(find(name)),
        rows,
        float: "bfloat16",
    })
}

#[test]
fn configurations_that_went_there_and_back_say_the_same() {
    let Some(fixtures) = std::env::var_os("FOREBAY_FIXTURES") else {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let mut compared = 0;
    for model in std::fs::read_dir(PathBuf::from(fixtures).join("models")).unwrap() {
        let file = model.unwrap().path().join("hf/config.json");
        let keys = |json: &[u8]| Config::parse(&file, json).unwrap().metadata();
        let (theirs, mut tensors) = keys(&std::fs::read(&file).unwrap());
        let json: Json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let text = if json["text_config"].is_object() { &json["text_config"] } else { &json };
        if json["tie_word_embeddings"] == false {
            tensors.push(("output.weight".to_owned(), vec![]));
        }
        if text["attention_bias"] == true {
            tensors.extend(["attn_q", "attn_output"].map(|name| (format!("blk.0.{name}.bias"), vec![])));
        }
        let rows = text["vocab_size"].as_u64().unwrap() as usize;
        let described = back(&theirs, &tensors, rows).unwrap();
        let (ours, given) = keys(described.json.to_string().as_bytes());
        for (key, value) in theirs.iter() {
            // The scale is a root, of which the square was rounded.
            assert_eq!(ours.value(key), Some(value), "{}: {key}", file.display());
            compared += 1;
        }
        // Patterns of windows are written down where they are usual, too.
        let mut more = ours.iter().filter(|(key, _)| theirs.value(key).is_none());
        assert!(more.all(|(key, _)| key.ends_with("sliding_window_pattern")), "{}", file.display());
        for (name, floats) in given {
            let before = &tensors.iter().find(|(own, _)| *own == name).unwrap().1;
            assert!(before.iter().zip(&floats).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
            compared += 1;
        }
        assert_eq!(described.around.is_empty(), !json["text_config"].is_object());
    }
    assert!(compared > 100, "{compared} keys");
}

/// Metadata of a small model of a family, which may say more.
fn metadata(family: &str, more: impl FnOnce(Builder) -> Builder) -> Metadata {
    let mut file = Builder::new().text("general.architecture", family);
    for key in ["block_count", "context_length", "embedding_length", "feed_forward_length"] {
        file = file.u32(&format!("{family}.{key}"), 64);
    }
    let file = file.u32(&format!("{family}.attention.head_count"), 4).raw(
        &format!("{family}.attention.layer_norm_rms_epsilon").into_bytes(),
        6,
        &1e-5f32.to_le_bytes(),
    );
    let bytes = more(file).bytes();
    Gguf::parse("m.gguf", &bytes).unwrap().metadata().clone()
}

#[test]
fn what_files_leave_to_their_reader_is_written_down() {
    let json = back(&metadata("llama", |file| file), &[], 7).unwrap().json;
    for (key, value) in [
        ("architectures", json!(["LlamaForCausalLM"])),
        ("model_type", json!("llama")),
        ("num_key_value_heads", json!(4)),
        ("head_dim", json!(16)),
        ("rope_theta", json!(10_000.0)),
        ("rms_norm_eps", json!(1e-5)),
        ("vocab_size", json!(7)),
        ("tie_word_embeddings", json!(true)),
        ("torch_dtype", json!("bfloat16")),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    let window = metadata("llama", |file| file.u32("llama.attention.sliding_window", 32));
    let json = back(&window, &[], 7).unwrap().json;
    assert_eq!((&json["model_type"], &json["sliding_window"]), (&json!("mistral"), &json!(32)));

    let json = back(&metadata("gemma3", |file| file), &[], 7).unwrap().json;
    assert_eq!((&json["sliding_window"], &json["sliding_window_pattern"]), (&json!(1024), &json!(6)));
    assert_eq!(json["layer_types"][5], "full_attention");
    assert_eq!(json["query_pre_attn_scalar"], 16);
}

#[test]
fn what_no_configuration_could_say_is_refused() {
    let refused = |metadata: &Metadata, tensors: &[&str]| {
        let tensors: Vec<_> = tensors.iter().map(|name| ((*name).to_owned(), vec![1.0, 3.0])).collect();
        back(metadata, &tensors, 7).unwrap_err().to_string()
    };
    let experts = metadata("llama", |file| file.u32("llama.expert_count", 8));
    let wide = metadata("llama", |file| file.u32("llama.attention.value_length", 8));
    let stretched = metadata("qwen3", |file| file.text("qwen3.rope.scaling.type", "ntk"));
    let window = metadata("qwen3", |file| file.u32("qwen3.attention.sliding_window", 8));
    let plain = metadata("llama", |file| file);
    for (metadata, tensors, wanted) in [
        (&experts, &[][..], "experts in the family llama"),
        (&wide, &[], "heads of values"),
        (&stretched, &[], "stretched by \"ntk\""),
        (&window, &[], "windows of attention"),
        (&plain, &["blk.0.attn_q.bias"], "only some have a bias"),
        (&plain, &["rope_freqs.weight"], "not those of Llama 3"),
        (&metadata("bert", |file| file), &[], "\"bert\""),
    ] {
        let error = refused(metadata, tensors);
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}
