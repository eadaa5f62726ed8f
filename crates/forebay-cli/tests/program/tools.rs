//! The commands around running: devices, perplexity, embeddings, completions and the manual.

use crate::{
    program::{failure, forebay, forebay_reads, json, success},
    tiny::{FFN, Folder, WIDTH},
};

#[test]
fn devices_say_what_is_here_and_why_the_others_are_not() {
    let text = success(forebay(&["devices"]));
    assert!(text.starts_with("cpu") && text.contains("kernels for"), "{text}");
    let found = json(forebay(&["devices", "--json"]));
    let cpu = &found["devices"][0];
    assert!(cpu["device"] == "cpu" && cpu["memory"].as_u64() > Some(1 << 28), "{found}");
}

#[test]
fn a_card_that_is_not_here_is_one_clear_line() {
    // No machine has so many cards, and one without a driver has none.
    let (code, line) = failure(&["run", "ab", "--device", "cuda:9999"]);
    assert!(code == 1 && line.starts_with("forebay: ") && line.contains("cuda"), "{line}");
    let built = ["driver", "no card"].iter().any(|part| line.contains(part));
    assert!(built && !line.contains("this build"), "{line}");
}

#[test]
fn the_definition_gives_completions_and_a_manual() {
    for shell in ["bash", "zsh", "fish"] {
        let script = success(forebay(&["completions", shell]));
        assert!(script.contains("forebay") && script.contains("perplexity"), "{shell}");
    }
    assert!(success(forebay(&["man"])).contains(".TH forebay"));
    let folder = Folder::new();
    let pages = folder.path().join("man");
    success(forebay(&["man", "--out", pages.to_str().unwrap()]));
    let page = std::fs::read_to_string(pages.join("forebay-run.1")).unwrap();
    assert!(page.contains("ignore\\-eos"), "{page}");
    let (code, _) = failure(&["man", "--out", "/proc/none"]);
    assert_eq!(code, 1);
}

#[test]
fn perplexity_is_the_mean_surprise_and_a_model_does_not_differ_from_itself() {
    let folder = Folder::new();
    let (model, other) = (folder.plain_model(), folder.model());
    let text = folder.file("t.txt", "It was the best of times, it was the worst of times. ".repeat(3));
    let got = json(forebay(&["perplexity", &model, "--file", &text, "--ctx", "40", "--json"]));
    assert_eq!((got["pieces"].as_u64(), got["tokens"].as_u64()), (Some(4), Some(76)));
    let perplexity = got["perplexity"].as_f64().unwrap();
    assert!(perplexity > 1.0 && got["error"].as_f64().unwrap() > 0.0, "{got}");
    let base = ["perplexity", &model, "--file", &text, "--ctx", "40", "--kl-base", &other, "--json"];
    let got = json(forebay(&base));
    assert!(got["kl_divergence"].as_f64().unwrap().abs() < 1e-9 && got["same_top_1"] == 1.0, "{got}");
    assert_eq!((&got["base_perplexity"], &got["perplexity"]), (&perplexity.into(), &perplexity.into()));
    let (code, line) = failure(&["perplexity", &model, "--file", &text]);
    assert!(code == 1 && line.contains("give a longer text"), "{line}");
}

#[test]
fn embeddings_have_length_one_and_tell_texts_apart() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let texts = folder.file("t.json", r#"["one text", "another"]"#);
    for pooling in ["last", "mean", "first"] {
        let one = json(forebay_reads("one text", &["embed", &model, "--pooling", pooling]));
        let one = numbers(&one["embedding"]);
        assert!(one.len() == 8 && (one.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
        let both = json(forebay(&["embed", &model, "--pooling", pooling, "--batch", &texts]));
        assert_eq!(numbers(&both["embeddings"][0]), one, "{pooling}");
        // The first token begins every text alike.
        assert_eq!(numbers(&both["embeddings"][1]) == one, pooling == "first");
    }
    let long = json(forebay(&["embed", &model, "--text", "one text", "--no-normalize"]));
    assert!((numbers(&long["embedding"]).iter().map(|x| x * x).sum::<f64>() - 1.0).abs() > 0.01);
}

#[test]
fn inspect_tells_what_is_in_a_file_and_whether_it_fits() {
    let folder = Folder::new();
    let model = folder.model();
    let text = success(forebay(&["inspect", &model, "--ctx", "100", "--kv", "f32"]));
    for wanted in [
        "GGUF version 3",
        "general.architecture: \"llama\"",
        "tokenizer.ggml.tokens: 356 of string: [\"<unk>\", \"<s>\", \"</s>\", \"<|im_start|>\", …]",
        "2 layers of width 8",
        "356 tokens, made for a context of 256",
        "Memory at a context of 100",
        "fits cpu",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    for (limit, wanted) in [("1KiB", "does not fit cpu within"), ("1GiB", "  fits cpu within")] {
        let text = success(forebay(&["inspect", &model, "--memory-limit", limit]));
        assert!(text.contains(wanted), "{text}");
    }
    let told = json(forebay(&["inspect", &model, "--ctx", "100", "--kv", "f32", "--json", "--tensors"]));
    assert_eq!(told["types"]["f32"]["tensors"], 20);
    assert_eq!(told["tensors"].as_array().unwrap().len(), 20);
    assert_eq!(told["metadata"]["llama.context_length"], 256);
    // Two layers, keys and values of one head of four, f32.
    assert_eq!(told["fit"]["cache"], 2 * 2 * 4 * 4 * 100);
    assert!(told["fit"]["activations"].as_u64().unwrap() > 356 * 4);

    let out = folder.path().join("q.safetensors");
    let name = "blk.1.attn_q.weight";
    let one = ["inspect", &model, "--tensor", name, "--dequantize", "--out", out.to_str().unwrap(), "--json"];
    let told = json(forebay(&one));
    assert!(told["shape"] == serde_json::json!([8, 8]) && told["not_finite"] == 0, "{told}");
    let bytes = std::fs::read(&out).unwrap();
    let first = f32::from_le_bytes(bytes[bytes.len() - 256..][..4].try_into().unwrap());
    assert_eq!(f64::from(first), told["first"][0].as_f64().unwrap());
    let (code, line) = failure(&["inspect", &model, "--tensor", "none"]);
    assert!(code == 1 && line.contains("has no tensor \"none\""), "{line}");
    for wrong in
        [&["inspect", &model, "--out", "x"][..], &["inspect", &model, "--tensor", name, "--dequantize"]]
    {
        assert_eq!(forebay(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn inspect_looks_into_folders_too() {
    let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
        println!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let folder = std::path::PathBuf::from(root).join("stories260K/hf");
    let text = success(forebay(&["inspect", folder.to_str().unwrap(), "--tensors"]));
    for wanted in
        [": safetensors\n", "llama.block_count: 5", "model.layers.0.self_attn.q_proj.weight", "fits cpu"]
    {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn bench_reports_each_test_and_asks_for_no_memory_in_between() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let flags = ["bench", &model, "-p", "16", "-n", "8,0", "-d", "0,32", "-r", "3", "-t", "1", "--json"];
    let told = json(forebay(&flags));
    let tests = told["tests"].as_array().unwrap();
    let of = |key: &str| tests.iter().map(|test| test[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("n_prompt"), of("n_gen")), (vec![16, 0, 16, 0], vec![0, 8, 0, 8]));
    assert_eq!(of("depth"), [0, 0, 32, 32]);
    for test in tests {
        let samples: Vec<f64> =
            test["samples"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert!(samples.len() == 3 && samples.iter().all(|rate| *rate > 0.0), "{test}");
        let mean = samples.iter().sum::<f64>() / 3.0;
        assert!((test["tokens_per_second"].as_f64().unwrap() / mean - 1.0).abs() < 1e-9, "{test}");
        assert_eq!(test["bandwidth_share"].is_null(), test["n_gen"] == 0);
        assert_eq!(test["memory_requests"], 0, "{test}");
    }
    assert!(told["bandwidth"].as_f64().unwrap() > 1e8 && told["threads"] == 1, "{told}");
    let flags =
        ["bench", &model, "-p", "4", "-n", "6", "--sequences", "1,3", "-d", "0,9", "-r", "2", "--json"];
    let told = json(forebay(&flags));
    let tests = told["tests"].as_array().unwrap();
    let of = |key: &str| tests.iter().map(|test| test[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("n_sequences"), of("n_gen")), (vec![1, 1, 3, 1, 1, 3], vec![0, 6, 6, 0, 6, 6]));
    for test in tests.iter().filter(|test| test["n_gen"] == 6) {
        let [all, step] = ["tokens_per_second", "seconds_per_step"].map(|key| test[key].as_f64().unwrap());
        // A mean of rates and one of times differ as rates do.
        assert!((0.9..4.0).contains(&(all * step / test["n_sequences"].as_f64().unwrap())), "{test}");
        assert_eq!(test["memory_requests"], 0, "{test}");
    }
    let (code, line) = failure(&["bench", &model, "--sequences", "0"]);
    assert!(code == 2 && line.contains("from 1 on"), "{line}");
    let text = success(forebay(&["bench", &model, "-p", "4", "-n", "0", "-r", "1"]));
    assert!(text.contains("\npp4 ") && !text.contains("tg"), "{text}");
    for sequences in ["1", "3"] {
        let flags = ["-n", "2", "-r", "1", "--sequences", sequences, "--profile"];
        let profiled = forebay(&[&["bench", &model, "-p", "4"][..], &flags].concat());
        let told = String::from_utf8_lossy(&profiled.stderr).into_owned();
        assert!(told.lines().any(|line| line.starts_with("argmax ") && line.ends_with(" %")), "{told}");
        success(profiled);
    }
    let (code, line) = failure(&["bench", &model, "-p", "0", "-n", "0"]);
    assert!(code == 2 && line.contains("nothing to measure"), "{line}");
    let made = folder.path().join("made.gguf");
    let shape = ["bench", "--shape", "qwen9", "--save", made.to_str().unwrap()];
    let (code, line) = failure(&shape);
    assert!(code == 2 && line.contains("qwen3-0.6b") && !made.exists(), "{line}");
    let kept = folder.path().to_str().unwrap();
    let (code, line) = failure(&["bench", "--shape", "qwen3-0.6b", "--quant", "mlx4", "--save", kept]);
    assert!(code == 2 && line.contains("nothing is yet") && folder.path().exists(), "{line}");
    let (code, line) = failure(&["bench", &model, "-p", "300"]);
    assert!(code == 2 && line.contains("made for 256"), "{line}");
}

#[test]
fn bench_explains_what_each_launch_of_a_step_moves() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let flags = ["bench", &model, "-p", "0", "-n", "8", "-d", "32", "-r", "1", "--ctx", "256", "--explain"];
    let told = json(forebay(&[&flags[..], &["--json"]].concat()));
    let step = &told["step"];
    let lines = step["launches"].as_array().unwrap();
    let sum = |key: &str| lines.iter().map(|line| line[key].as_u64().unwrap()).sum::<u64>();
    // Floats of 32 bits: what is looked up of the table is a row, and all of it is the output as well.
    let (width, ffn, vocabulary) = (WIDTH as u64, FFN as u64, 356);
    let layer = 2 * width + 3 * width * width + 3 * width * ffn;
    assert_eq!(sum("weight_bytes"), 4 * (2 * layer + width + width * vocabulary + width), "{step}");
    // Caches of 16 bits, half as wide: so many positions are read and one is written, of keys and of values.
    let depth = step["depth"].as_u64().unwrap();
    assert_eq!(sum("cache_bytes"), 2 * 2 * width * (depth + 2), "{step}");
    assert_eq!(sum("weight_bytes") + sum("cache_bytes") + sum("row_bytes"), step["bytes"].as_u64().unwrap());
    let of = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{step}"));
    assert_eq!(of("blk.*.ffn_down matmul")["weight_bytes"], 2 * 4 * width * ffn);
    assert_eq!((&of("attention")["count"], &of("argmax")["count"]), (&2.into(), &1.into()));
    let time = |of: &serde_json::Value, key: &str| of[key].as_f64().unwrap();
    let apart = lines.iter().map(|line| time(line, "seconds")).sum::<f64>();
    assert!((time(step, "seconds_apart") / apart - 1.0).abs() < 1e-6 && time(step, "seconds_replayed") > 0.0);
    let text = success(forebay(&flags));
    for name in ["blk.*.attn_q matmul ", "attention ", "launch by launch ", "replayed "] {
        assert!(text.lines().any(|line| line.starts_with(name) && line.ends_with(" %")), "{name}: {text}");
    }
}

#[test]
fn a_file_becomes_a_folder_that_says_the_same() {
    let folder = Folder::new();
    let (model, made) = (folder.model(), folder.path().join("made"));
    let made = made.to_str().unwrap();
    assert_eq!(success(forebay(&["quantize", &model, made, "--type", "mlx8"])), "");
    let said = |model: &str| {
        let flags = ["Hello you", "--greedy", "-n", "24", "--precision", "strict", "--kv", "f32", "--json"];
        json(forebay(&[&["run", model], &flags[..]].concat()))
    };
    let (first, then) = (said(&model), said(made));
    for key in ["prompt_tokens", "tokens", "text"] {
        assert_eq!(then[key], first[key], "{key}");
    }
    let (code, line) = failure(&["quantize", &model, made, "--type", "mlx8"]);
    assert!(code == 2 && line.contains("made is there"), "{line}");
}
