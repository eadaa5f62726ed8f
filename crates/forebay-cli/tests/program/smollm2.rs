//! A real chat model through the program: its perplexity beside that of its references, and a conversation of ten turns. Found
//! through FOREBAY_SMOLLM2, with the references among the fixtures.

use std::{fs, path::PathBuf};

use forebay::{formats::safetensors::Safetensors, generate::tokenizer::Tokenizer};

use crate::{
    program::{forebay, forebay_reads, json, success},
    tiny::Folder,
};

fn model() -> Option<String> {
    let found = std::env::var("FOREBAY_SMOLLM2").ok();
    if found.is_none() {
        println!("left out: FOREBAY_SMOLLM2 is not set");
    }
    found
}

#[test]
fn its_perplexity_is_that_of_its_references() {
    let Some(model) = model() else { return };
    let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
        println!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let path = PathBuf::from(root).join("smollm2/smollm2-135m.Q4_1.ref.safetensors");
    let bytes = fs::read(&path).unwrap();
    let table = Safetensors::parse(&path, &bytes).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> {
        let range = table.tensor(name).unwrap().range();
        bytes[range.start as usize..range.end as usize].as_chunks().0.to_vec()
    };
    let ids: Vec<u32> = words("text.ids").into_iter().map(u32::from_le_bytes).collect();
    let text = Tokenizer::open(&model).unwrap().decode(&ids, true).unwrap();
    let folder = Folder::new();
    let file = folder.file("t.txt", text);
    // Of a piece the second half counts; a token's surprise stands where the one before it does.
    let wanted = |name: &str| {
        let surprises: Vec<f64> =
            words(name).into_iter().map(|word| f64::from(f32::from_le_bytes(word))).collect();
        let half = &surprises[ids.len() / 2..];
        (half.iter().sum::<f64>() / half.len() as f64).exp()
    };
    let (exact, native) = (wanted("text.nll_exact"), wanted("text.nll_native"));
    for (precision, most) in [("strict", 1e-4), ("fast", 1.5 * (native / exact - 1.0).abs())] {
        let flags = ["--file", &file, "--ctx", "512", "--kv", "f32", "--precision", precision, "--json"];
        let told = json(forebay(&[&["perplexity", &model], &flags[..]].concat()));
        assert_eq!(told["tokens"], 255, "{told}");
        let far = (told["perplexity"].as_f64().unwrap() / exact - 1.0).abs();
        // Rounding moves it as far as llama.cpp's does; which of both is nearer is chance on so short a text.
        assert!(far <= most, "{precision}: {told}, {exact} wanted");
    }
}

#[test]
fn ten_turns_are_ten_replies_that_know_what_was_said() {
    let Some(model) = model() else { return };
    let folder = Folder::new();
    let saved = folder.path().join("talk.json");
    let asked: String = (1..=9).map(|turn| format!("Tell me the number {turn}.\n")).collect();
    let asked = format!("My name is Marigold.\n{asked}/save {}\n", saved.display());
    let flags = ["chat", &model, "-n", "12", "--greedy", "--ctx", "1024", "-t", "2"];
    let text = success(forebay_reads(&asked, &flags));
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
    let said: Vec<&str> = kept["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "assistant")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(said.len(), 10, "{text}");
    assert!(said.iter().all(|reply| !reply.trim().is_empty()), "{text}");
    assert_eq!(text, said.iter().map(|reply| format!("{reply}\n")).collect::<String>());
    // The last reply is what all of it leads to, and not what its own message would.
    let alone = success(forebay_reads("Tell me the number 9.\n", &flags));
    assert_ne!(alone.trim(), said[9].trim());
    assert!(said[9].contains('9'), "{text}");
}
