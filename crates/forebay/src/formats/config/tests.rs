//! Configurations: those of the fixtures beside the files made from them, and small ones that say one thing each.

use std::path::PathBuf;

use super::*;
use crate::formats::gguf::Gguf;

const PLAIN: &str = r#""hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "vocab_size": 10"#;

fn parse(class: &str, more: &str) -> Result<Config> {
    let json = format!(r#"{{"architectures": ["{class}"], {PLAIN}{more}}}"#);
    Config::parse("config.json", json.as_bytes())
}

fn of(class: &str, more: &str) -> Metadata {
    parse(class, more).unwrap().metadata().0
}

fn given(class: &str, more: &str) -> Vec<(String, Vec<f32>)> {
    parse(class, more).unwrap().metadata().1
}

fn error(class: &str, more: &str) -> String {
    parse(class, more).unwrap_err().to_string()
}

#[test]
fn keys_are_those_of_the_files_that_were_made_from_it() {
    let Some(fixtures) = std::env::var_os("FOREBAY_FIXTURES") else {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    // What the files leave to the reader, or say in another way.
    let ours =
        ["rope.half_split", "ssm.grouped_heads", "attention.scale", "expert_weights_norm", "vocab_size"];
    let mut compared = 0;
    for model in std::fs::read_dir(PathBuf::from(fixtures).join("models")).unwrap() {
        let model = model.unwrap().path();
        let json = std::fs::read(model.join("hf/config.json")).unwrap();
        let (config, _) = Config::parse(model.join("hf/config.json"), &json).unwrap().metadata();
        let file = std::fs::read_dir(model.join("gguf")).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        let gguf = Gguf::parse(&file, &bytes).unwrap();
        let family = config.get::<&str>("general.architecture").unwrap().to_owned();
        let ours = ours.map(|key| format!("{family}.{key}"));
        for (key, value) in gguf.metadata().iter().filter(|(key, _)| key.starts_with(&family)) {
            let Some(found) = config.value(key) else {
                // They may write down that there is none.
                assert_eq!(numbers(value), Some(vec![0]), "{}: no {key}", model.display());
                continue;
            };
            let same = found == value || numbers(found).is_some_and(|found| numbers(value) == Some(found));
            assert!(
                same || key.ends_with("vocab_size"),
                "{}: {key} is {found:?}, {value:?}",
                model.display()
            );
            compared += 1;
        }
        for (key, _) in config.iter().filter(|(key, _)| key.starts_with(&family)) {
            let known = gguf.metadata().value(key).is_some() || ours.iter().any(|ours| ours == key);
            // What files leave out where it is usual.
            let usual = [
                "key_length",
                "value_length",
                "dimension_count",
                "freq_base",
                "sliding_window_pattern",
                "feed_forward_length",
            ];
            assert!(known || usual.iter().any(|usual| key.ends_with(usual)), "{}: {key}", model.display());
        }
    }
    assert!(compared > 100, "{compared} keys");
}

fn numbers(value: &Value) -> Option<Vec<i64>> {
    match value {
        Value::U32(number) => Some(vec![i64::from(*number)]),
        Value::I32(number) => Some(vec![i64::from(*number)]),
        Value::Array(array) => {
            array.scalars()?.map(|value| numbers(&value).map(|numbers| numbers[0])).collect()
        }
        _ => None,
    }
}

#[test]
fn a_plain_configuration_gives_the_plain_keys() {
    let config =
        of("MistralForCausalLM", r#", "num_key_value_heads": 2, "sliding_window": 32, "rms_norm_eps": 1e-5"#);
    assert_eq!(config.get::<&str>("general.architecture").unwrap(), "llama");
    for (key, wanted) in [
        ("block_count", 2),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 16),
        ("rope.dimension_count", 16),
        ("attention.sliding_window", 32),
        ("vocab_size", 10),
    ] {
        assert_eq!(config.get::<u32>(&format!("llama.{key}")).unwrap(), wanted, "{key}");
    }
    assert_eq!(config.get::<f32>("llama.rope.freq_base").unwrap(), 10_000.0);
    assert!(config.get::<bool>("llama.rope.half_split").unwrap());
}

#[test]
fn scalings_become_keys_or_factors() {
    let llama3 = r#", "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
        "high_freq_factor": 4, "original_max_position_embeddings": 64}"#;
    let given_here = given("LlamaForCausalLM", llama3);
    let [(name, factors)] = &given_here[..] else { panic!("{given_here:?}") };
    assert_eq!((name.as_str(), factors.len(), factors[0], factors[7]), ("rope_freqs.weight", 8, 1.0, 8.0));
    assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));

    let yarn = r#", "rope_parameters": {"rope_type": "yarn", "rope_theta": 7.0, "factor": 4.0, "beta_fast": 16,
        "truncate": false, "attention_factor": 1.0}"#;
    let config = of("Qwen3ForCausalLM", yarn);
    assert_eq!(config.get::<f32>("qwen3.rope.freq_base").unwrap(), 7.0);
    assert_eq!(config.get::<f32>("qwen3.rope.scaling.yarn_beta_fast").unwrap(), 16.0);
    assert_eq!(config.get::<u32>("qwen3.rope.scaling.original_context_length").unwrap(), 128);
    assert!(!config.get::<bool>("qwen3.rope.scaling.yarn_truncate").unwrap());
    let magnitude = config.get::<f32>("qwen3.rope.scaling.attn_factor").unwrap();
    assert!((magnitude * (0.1 * 4f32.ln() + 1.0) - 1.0).abs() < 1e-6);

    let long = r#", "original_max_position_embeddings": 32, "rope_scaling": {"type": "longrope",
        "short_factor": [1, 1, 1, 1, 1, 1, 1, 1.5], "long_factor": [2, 2, 2, 2, 2, 2, 2, 3]}"#;
    assert_eq!(given("Phi3ForCausalLM", long)[1].1[7], 3.0);
    let magnitude = of("Phi3ForCausalLM", long).get::<f32>("phi3.rope.scaling.attn_factor").unwrap();
    assert!((magnitude - (1.0 + 4f32.ln() / 32f32.ln()).sqrt()).abs() < 1e-6);
    let short = long.replace(", 1.5]", "]");
    assert!(error("Phi3ForCausalLM", &short).contains("rope_scaling.short_factor"));

    let odd = of("LlamaForCausalLM", r#", "rope_scaling": {"type": "dynamic", "factor": 2.0}"#);
    assert_eq!(odd.get::<&str>("llama.rope.scaling.type").unwrap(), "dynamic");
    let error = error("LlamaForCausalLM", r#", "rope_scaling": {"rope_type": "linear"}"#);
    assert!(error.contains(r#"config.json: has no key "rope_scaling.factor""#), "{error}");
}

#[test]
fn gemma_3_leaves_out_what_is_usual_and_has_two_kinds_of_layers() {
    let json = br#"{"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"hidden_size": 2560,
        "intermediate_size": 10240, "num_hidden_layers": 7, "sliding_window": 1024, "sliding_window_pattern": 6,
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}}"#;
    let (config, _) = Config::parse("c", json).unwrap().metadata();
    assert_eq!(config.get::<u32>("gemma3.attention.head_count").unwrap(), 8);
    assert_eq!(config.get::<u32>("gemma3.attention.key_length").unwrap(), 256);
    assert_eq!(config.get::<f32>("gemma3.attention.scale").unwrap(), 0.0625);
    assert_eq!(config.get::<f32>("gemma3.rope.freq_base").unwrap(), 1e6);
    assert_eq!(config.get::<f32>("gemma3.rope.freq_base_swa").unwrap(), 1e4);
    assert_eq!(config.get::<f32>("gemma3.rope.scaling.factor").unwrap(), 8.0);
    let near = config.get::<Vec<bool>>("gemma3.attention.sliding_window_pattern").unwrap();
    assert_eq!(near, [true, true, true, true, true, false, true]);
}

#[test]
fn what_cannot_be_run_is_named() {
    let unknown = error("MambaForCausalLM", "");
    assert!(unknown.contains(r#"no model family is called "MambaForCausalLM""#), "{unknown}");
    assert!(unknown.contains("LlamaForCausalLM") && unknown.contains("Qwen3_5MoeForConditionalGeneration"));
    for (class, more, wanted) in [
        ("LlamaForCausalLM", r#", "hidden_act": "relu""#, r#"the activation "relu""#),
        ("Gemma2ForCausalLM", r#", "hidden_activation": "silu""#, r#"the activation "silu""#),
        ("Qwen2ForCausalLM", r#", "use_sliding_window": true, "sliding_window": 8"#, "windows of attention"),
        ("Qwen3MoeForCausalLM", "", r#"has no key "num_experts""#),
        ("LlamaForCausalLM", r#", "head_dim": "x""#, r#"key "head_dim" holds "x""#),
        ("LlamaForCausalLM", r#", "head_dim": 4294967296"#, r#"key "head_dim" holds 4294967296"#),
        (
            "Qwen3MoeForCausalLM",
            r#", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "decoder_sparse_step": 2"#,
            "layers without experts",
        ),
        (
            "Gemma3ForCausalLM",
            r#", "sliding_window": 8, "layer_types": ["full_attention"]"#,
            "one text for each layer",
        ),
    ] {
        let error = error(class, more);
        assert!(error.starts_with("config.json: ") && error.contains(wanted), "{class}: {error}");
    }
    let error = |json: &str| Config::parse("c", json.as_bytes()).unwrap_err().to_string();
    assert!(error("{").contains("c: header"));
    assert!(error("{}").contains(r#"has no key "architectures""#));
    assert!(error(r#"{"model_type": "llama"}"#).contains(r#"has no key "num_hidden_layers""#));
    let no_heads = format!(r#"{{"model_type": "llama", {}}}"#, PLAIN.replace("_heads\": 4", "_heads\": 0"));
    assert!(error(&no_heads).contains("a number above 0"));
}

#[test]
fn layers_that_keep_a_state_have_heads_that_fit() {
    let state = r#", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "head_dim": 32,
        "shared_expert_intermediate_size": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 6,
        "linear_key_head_dim": 16, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4,
        "partial_rotary_factor": 0.25, "layer_types": ["linear_attention", "full_attention"]"#;
    let config = parse("Qwen3NextForCausalLM", state).unwrap();
    assert_eq!((config.norms_around_one, config.naming.after_is_before), (Norms::LessOneButByMlx, false));
    let (config, _) = config.metadata();
    assert_eq!(config.get::<u32>("qwen3next.ssm.inner_size").unwrap(), 48);
    assert_eq!(config.get::<u32>("qwen3next.rope.dimension_count").unwrap(), 8);
    assert_eq!(config.get::<Vec<bool>>("qwen3next.attention.recurrent_layers").unwrap(), [true, false]);
    let odd = state.replace("value_heads\": 6", "value_heads\": 5");
    assert!(error("Qwen3NextForCausalLM", &odd).contains("a multiple of linear_num_key_heads"));
}
