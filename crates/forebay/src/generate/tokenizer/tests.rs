//! Token-exact cases of the fixtures. Vocabularies of others are found beside the cases, never kept here.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::{JsonFiles, Tokenizer};
use crate::formats::{gguf::Gguf, tokens};

/// The folder of fixtures, or `None` with a note where this machine has none.
fn fixtures() -> Option<PathBuf> {
    let found = std::env::var_os("FOREBAY_FIXTURES").map(PathBuf::from);
    if found.is_none() {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
    }
    found
}

/// The bytes of a file, unpacked where it is packed; `None` with a note where there is none.
fn read(file: &Path) -> Option<Vec<u8>> {
    if let Ok(bytes) = std::fs::read(file) {
        return Some(bytes);
    }
    let packed = std::fs::File::open(format!("{}.gz", file.display())).ok();
    let mut bytes = Vec::new();
    if let Some(packed) = packed {
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        return Some(bytes);
    }
    eprintln!("left out: there is no {}", file.display());
    None
}

fn open(file: &Path) -> Option<Tokenizer> {
    let bytes = read(file)?;
    let tokenizer = Tokenizer::from_gguf(Gguf::parse(file, &bytes).unwrap().metadata());
    Some(tokenizer.unwrap())
}

/// The tokenizer of the folder that holds this `tokenizer.json`.
fn open_folder(file: &Path) -> Option<Tokenizer> {
    let tokenizer = read(file)?;
    let config = std::fs::read(file.with_file_name("tokenizer_config.json")).ok();
    let generation = std::fs::read(file.with_file_name("generation_config.json")).ok();
    let model = std::fs::read(file.with_file_name("config.json")).ok();
    let (config, generation, model) = (config.as_deref(), generation.as_deref(), model.as_deref());
    let files = JsonFiles { tokenizer: &tokenizer, config, generation, model };
    Some(Tokenizer::from_json(file, &files).unwrap())
}

/// Checks all cases of one set, ids as they are and with special tokens, and the way back.
fn check(tokenizer: &Tokenizer, cases: &Path) {
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(cases).unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for case in cases {
        let text = case["text"].as_str().unwrap();
        for (key, special) in [("ids", false), ("ids_special", true)] {
            let wanted: Vec<u32> = serde_json::from_value(case[key].clone()).unwrap();
            let ids = tokenizer.encode(text, special).unwrap();
            if ids != wanted {
                wrong.push(format!("{key} of {text:?}:\n  {ids:?}, wanted\n  {wanted:?}"));
            }
        }
        let ids = tokenizer.encode(text, false).unwrap();
        let back = tokenizer.decode(&ids, true).unwrap();
        // Some tokenizers compose characters first, and say what comes back.
        let text = case["decoded"].as_str().unwrap_or(text);
        if back != text {
            wrong.push(format!("{text:?} came back as {back:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ, first\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
}

/// Checks one set of cases against one file, given by its path in the fixtures.
fn set(name: &str, file: &str) {
    let Some(folder) = fixtures() else { return };
    let open = if file.ends_with(".json") { open_folder } else { open };
    if let Some(tokenizer) = open(&folder.join(file)) {
        check(&tokenizer, &folder.join(format!("tokenizers/cases/{name}.json")));
    }
}

macro_rules! sets {
    ($($test:ident: $name:literal, $file:literal;)*) => {$(
        #[test]
        fn $test() {
            set($name, $file);
        }
    )*};
}

sets! {
    stories: "stories260K", "stories260K/gguf/stories260K.F16.gguf";
    llama_spm: "llama-spm", "tokenizers/vocab/ggml-vocab-llama-spm.gguf";
    phi_3: "phi-3", "tokenizers/vocab/ggml-vocab-phi-3.gguf";
    llama_bpe: "llama-bpe", "tokenizers/vocab/ggml-vocab-llama-bpe.gguf";
    qwen2: "qwen2", "tokenizers/vocab/ggml-vocab-qwen2.gguf";
    gpt_2: "gpt-2", "tokenizers/vocab/ggml-vocab-gpt-2.gguf";
    deepseek_coder: "deepseek-coder", "tokenizers/vocab/ggml-vocab-deepseek-coder.gguf";
    tiny_gemma: "tiny-gemma", "models/gemma2/gguf/gemma2.Q8_0.gguf";
    tiny_phi3: "tiny-phi3", "models/phi3/gguf/phi3.Q4_1.gguf";
    tiny_llama3: "tiny-llama3", "models/llama/gguf/llama.F16.gguf";
    tiny_qwen2: "tiny-qwen2", "models/qwen2/gguf/qwen2.Q8_0.gguf";
    tiny_qwen35: "tiny-qwen35", "models/qwen35/gguf/qwen35.Q4_K_M.gguf";
    tiny_gpt4o: "tiny-gpt4o", "models/gptoss/gguf/gptoss.MXFP4_MOE.gguf";
    json_gpt2: "hf-gpt2", "tokenizers/hf/gpt2/tokenizer.json";
    json_llama3: "hf-llama3", "tokenizers/hf/llama3/tokenizer.json";
    json_qwen3: "hf-qwen3", "tokenizers/hf/qwen3/tokenizer.json";
    json_gemma2: "hf-gemma2", "tokenizers/hf/gemma2/tokenizer.json";
    json_tiny_gemma: "tiny-gemma", "models/gemma2/hf/tokenizer.json";
    json_tiny_phi3: "tiny-phi3", "models/phi3/hf/tokenizer.json";
    json_tiny_llama3: "tiny-llama3", "models/llama/hf/tokenizer.json";
    json_tiny_qwen2: "tiny-qwen2", "models/qwen2/hf/tokenizer.json";
    json_tiny_qwen35: "tiny-qwen35", "models/qwen35/hf/tokenizer.json";
    json_tiny_gpt4o: "tiny-gpt4o", "models/gptoss/hf/tokenizer.json";
    json_stories: "stories260K", "stories260K/hf/tokenizer.json";
}

/// The tokenizer of a GGUF file, written as that of a folder.
fn refolded(file: &Path) -> Option<Tokenizer> {
    let bytes = read(file)?;
    let files = tokens::files(Gguf::parse(file, &bytes).unwrap().metadata()).unwrap();
    let [tokenizer, config, generation] = &files[..] else { panic!("{} files", files.len()) };
    let [tokenizer, config, generation] = [tokenizer, config, generation].map(|(_, json)| json.to_string());
    let (config, generation) = (Some(config.as_bytes()), Some(generation.as_bytes()));
    let files = JsonFiles { tokenizer: tokenizer.as_bytes(), config, generation, model: None };
    Some(Tokenizer::from_json("tokenizer.json", &files).unwrap())
}

/// Files and folders cut texts the same way, whichever was first.
#[test]
fn files_written_as_folders() {
    let Some(folder) = fixtures() else { return };
    for (name, file) in [
        ("stories260K", "stories260K/gguf/stories260K.F16.gguf"),
        ("llama-spm", "tokenizers/vocab/ggml-vocab-llama-spm.gguf"),
        ("phi-3", "tokenizers/vocab/ggml-vocab-phi-3.gguf"),
        ("llama-bpe", "tokenizers/vocab/ggml-vocab-llama-bpe.gguf"),
        ("qwen2", "tokenizers/vocab/ggml-vocab-qwen2.gguf"),
        ("gpt-2", "tokenizers/vocab/ggml-vocab-gpt-2.gguf"),
        ("tiny-gemma", "models/gemma2/gguf/gemma2.Q8_0.gguf"),
        ("tiny-phi3", "models/phi3/gguf/phi3.Q4_1.gguf"),
        ("tiny-llama3", "models/llama/gguf/llama.F16.gguf"),
        ("tiny-qwen2", "models/qwen2/gguf/qwen2.Q8_0.gguf"),
        ("tiny-qwen35", "models/qwen35/gguf/qwen35.Q4_K_M.gguf"),
        ("tiny-gpt4o", "models/gptoss/gguf/gptoss.MXFP4_MOE.gguf"),
    ] {
        let path = folder.join(file);
        let (Some(tokenizer), Some(first)) = (refolded(&path), open(&path)) else { continue };
        check(&tokenizer, &folder.join(format!("tokenizers/cases/{name}.json")));
        // Files name some ends by their texts alone, even of words.
        let (ours, all) = (&tokenizer.specials().ends, &first.specials().ends);
        assert!(!ours.is_empty() && ours.iter().all(|id| all.contains(id)), "{name}: {ours:?}, {all:?}");
    }
    let path = folder.join("tokenizers/vocab/ggml-vocab-deepseek-coder.gguf");
    if let Some(bytes) = read(&path) {
        let error = tokens::files(Gguf::parse(&path, &bytes).unwrap().metadata()).unwrap_err().to_string();
        assert!(error.contains("pre-tokenizer \"deepseek-coder\" has no rule"), "{error}");
    }
}

/// The same model names the same ends, whichever way it comes.
#[test]
fn ends_of_generation() {
    let Some(folder) = fixtures() else { return };
    let ends = |file: &str, wanted: &[u32]| {
        let open = if file.ends_with(".json") { open_folder } else { open };
        let tokenizer = open(&folder.join(file)).unwrap();
        assert_eq!(tokenizer.specials().ends, wanted, "{file}");
    };
    ends("models/llama/hf/tokenizer.json", &[508, 511]);
    ends("models/llama/mlx-4g64/tokenizer.json", &[508, 511]);
    ends("models/llama/gguf/llama.F16.gguf", &[508, 511]);
    ends("models/gptoss/hf/tokenizer.json", &[505, 506, 511]);
    ends("models/gptoss/gguf/gptoss.MXFP4_MOE.gguf", &[505, 506, 511]);
    ends("stories260K/hf/tokenizer.json", &[2]);
    ends("stories260K/gguf/stories260K.F16.gguf", &[2]);
}

/// The chat model that a package on PyPI carries; its file is named by FOREBAY_SMOLLM2.
#[test]
fn smollm2() {
    let Some(folder) = fixtures() else { return };
    match std::env::var_os("FOREBAY_SMOLLM2").map(PathBuf::from) {
        Some(file) => check(&open(&file).unwrap(), &folder.join("tokenizers/cases/smollm2.json")),
        None => eprintln!("left out: FOREBAY_SMOLLM2 is not set"),
    }
}

/// Vocabularies with texts (.inp) and their ids (.out) beside them, as llama.cpp distributes them.
#[test]
fn vocabularies_with_texts_beside_them() {
    let more = std::env::var_os("FOREBAY_VOCABULARIES").map(PathBuf::from);
    if more.is_none() {
        eprintln!("left out: FOREBAY_VOCABULARIES is not set");
    }
    let folders = [fixtures().map(|folder| folder.join("tokenizers/vocab")), more];
    for folder in folders.into_iter().flatten() {
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        names.retain(|name| name.extension().is_some_and(|end| end == "inp"));
        names.sort();
        assert!(!names.is_empty());
        for texts in names {
            let file = texts.with_extension("");
            let Some(tokenizer) = open(&file) else { continue };
            let ids = std::fs::read_to_string(texts.with_extension("out")).unwrap();
            let texts = std::fs::read_to_string(&texts).unwrap();
            let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
            let mut wrong = Vec::new();
            for (text, wanted) in texts.iter().zip(ids.lines()) {
                let wanted: Vec<u32> = wanted.split_whitespace().map(|id| id.parse().unwrap()).collect();
                let ids = tokenizer.encode(text, false).unwrap();
                if ids != wanted {
                    wrong.push(format!("{text:?}:\n  {ids:?}, wanted\n  {wanted:?}"));
                }
            }
            assert!(ids.lines().count() > 40);
            assert!(wrong.is_empty(), "{}: {} differ: {}", file.display(), wrong.len(), wrong.join("\n"));
        }
    }
}
