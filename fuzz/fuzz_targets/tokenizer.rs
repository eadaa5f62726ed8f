//! Any vocabulary and any text: ids are tokens, and text comes out of any ids.

#![no_main]

use arbitrary::Arbitrary;
use forebay::{formats::gguf::Gguf, generate::tokenizer::Tokenizer};
use libfuzzer_sys::fuzz_target;

const MODELS: [&str; 4] = ["llama", "gpt2", "gemma4", "bert"];
const WORDS: [&str; 16] = [
    "default",
    "llama-bpe",
    "qwen2",
    "qwen35",
    "gpt-2",
    "gpt-4o",
    "tekken",
    "smollm",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-v3",
    "falcon",
    "kimi-k2",
    "youtu",
    "jais-2",
    "afmoe",
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    model: u8,
    words: u8,
    name: &'a str,
    tokens: Vec<(&'a [u8], i8, f32)>,
    /// Whether a list of scores, and one of types, is there.
    lists: (bool, bool),
    merges: Vec<(&'a [u8], &'a [u8])>,
    specials: Vec<(u8, i16)>,
    flags: Vec<(u8, bool)>,
    text: &'a str,
    ids: Vec<u16>,
}

/// The metadata of a GGUF file.
#[derive(Default)]
struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        self.bytes.extend(string(key.as_bytes()));
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn list(&mut self, key: &str, kind: u32, values: Vec<Vec<u8>>) {
        let count = (values.len() as u64).to_le_bytes();
        self.entry(key, 9, &[&kind.to_le_bytes()[..], &count, &values.concat()].concat());
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

fn file(input: &Input<'_>) -> Vec<u8> {
    let mut metadata = Metadata::default();
    let pick = |list: &'static [&'static str], n: u8| list[usize::from(n) % list.len()].as_bytes();
    metadata.entry("tokenizer.ggml.model", 8, &string(pick(&MODELS, input.model)));
    metadata.entry("tokenizer.ggml.pre", 8, &string(pick(&WORDS, input.words)));
    metadata.entry("general.name", 8, &string(input.name.as_bytes()));
    let tokens = input.tokens.iter();
    metadata.list("tokenizer.ggml.tokens", 8, tokens.clone().map(|(text, ..)| string(text)).collect());
    if input.lists.0 {
        let scores = tokens.clone().map(|(_, _, score)| score.to_le_bytes().to_vec());
        metadata.list("tokenizer.ggml.scores", 6, scores.collect());
    }
    if input.lists.1 {
        let types = tokens.map(|(_, kind, _)| i32::from(*kind).to_le_bytes().to_vec());
        metadata.list("tokenizer.ggml.token_type", 5, types.collect());
    }
    let merges = input.merges.iter().map(|(left, right)| string(&[left, &b" "[..], right].concat()));
    metadata.list("tokenizer.ggml.merges", 8, merges.collect());
    const IDS: [&str; 6] = ["bos", "eos", "eot", "unknown", "seperator", "padding"];
    for (key, id) in input.specials.iter().take(IDS.len()) {
        let key = format!("tokenizer.ggml.{}_token_id", IDS[usize::from(*key) % IDS.len()]);
        metadata.entry(&key, 5, &i32::from(*id).to_le_bytes());
    }
    const FLAGS: [&str; 5] = [
        "add_bos_token",
        "add_eos_token",
        "add_space_prefix",
        "normalizer.lowercase",
        "normalizer.strip_accents",
    ];
    for (key, value) in input.flags.iter().take(FLAGS.len()) {
        let key = format!("tokenizer.ggml.{}", FLAGS[usize::from(*key) % FLAGS.len()]);
        metadata.entry(&key, 7, &[u8::from(*value)]);
    }
    [&b"GGUF\x03\0\0\0"[..], &[0; 8], &metadata.count.to_le_bytes(), &metadata.bytes].concat()
}

fuzz_target!(|input: Input<'_>| {
    let bytes = file(&input);
    let Ok(gguf) = Gguf::parse("f.gguf", &bytes) else { return };
    let Ok(tokenizer) = Tokenizer::from_gguf(gguf.metadata()) else { return };
    for special in [false, true] {
        let ids = tokenizer.encode(input.text, special).unwrap();
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.size()));
        let _ = tokenizer.decode(&ids, special).unwrap();
    }
    let _ = tokenizer.encode_prompt(input.text).unwrap();
    let ids: Vec<u32> = input.ids.iter().map(|id| u32::from(*id) % tokenizer.size() as u32).collect();
    let mut decoder = tokenizer.decoder(&ids[..ids.len() / 2]);
    let mut text = String::new();
    for id in &ids[ids.len() / 2..] {
        text.push_str(decoder.push(*id).unwrap());
    }
    text.push_str(decoder.finish());
    assert!(tokenizer.decode(&[tokenizer.size() as u32], true).is_err());
});
