//! Token-exact cases of the fixtures. Vocabularies of others are found beside the cases, never kept here.

use std::path::{Path, PathBuf};

use super::Tokenizer;
use crate::formats::gguf::Gguf;

/// The folder of fixtures, or `None` with a note where this machine has none.
fn fixtures() -> Option<PathBuf> {
    let found = std::env::var_os("FOREBAY_FIXTURES").map(PathBuf::from);
    if found.is_none() {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
    }
    found
}

fn open(file: &Path) -> Tokenizer {
    let bytes = std::fs::read(file).unwrap();
    Tokenizer::from_gguf(Gguf::parse(file, &bytes).unwrap().metadata()).unwrap()
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
        if back != text {
            wrong.push(format!("{text:?} came back as {back:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ, first\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
}

#[test]
fn stories() {
    let Some(folder) = fixtures() else { return };
    let tokenizer = open(&folder.join("stories260K/gguf/stories260K.F16.gguf"));
    check(&tokenizer, &folder.join("tokenizers/cases/stories260K.json"));
}
