//! Small tokenizers that say one thing each.

use serde_json::json;

use super::*;

fn reader(json: &Json) -> Reader<'_> {
    Reader { file: Path::new("tokenizer.json").into(), json, rows: 8 }
}

fn of<'a>(entries: &'a Entries, key: &str) -> &'a Value {
    &entries.iter().find(|(own, _)| *own == key).unwrap().1
}

fn texts(value: &Value) -> Vec<String> {
    let Value::Array(array) = value else { panic!("{value:?}") };
    array.strings().unwrap().iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
}

fn scalars(value: &Value) -> Vec<Value> {
    let Value::Array(array) = value else { panic!("{value:?}") };
    array.scalars().unwrap().collect()
}

fn of_bytes(pre_tokenizer: Json) -> Json {
    json!({"normalizer": {"type": "NFC"}, "pre_tokenizer": pre_tokenizer,
        "added_tokens": [{"id": 4, "content": "<s>", "special": true}, {"id": 5, "content": "<t>", "special": false},
            {"id": 99, "content": "<far>", "special": true}],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})
}

#[test]
fn tokens_of_bytes_keep_their_ids_and_say_what_they_are_for() {
    let json = of_bytes(json!({"type": "ByteLevel", "add_prefix_space": false}));
    let reader = reader(&json);
    assert!(reader.is_of_bytes());
    let entries = reader.of_bytes().unwrap();
    assert_eq!(texts(of(&entries, "tokens")), ["a", "b", "ab", "[PAD3]", "<s>", "<t>", "[PAD6]", "[PAD7]"]);
    let kinds = [1, 1, 1, 5, 3, 4, 5, 5].map(Value::I32);
    assert_eq!(scalars(of(&entries, "token_type")), kinds);
    assert_eq!(texts(of(&entries, "merges")), ["a b"]);
    assert_eq!(of(&entries, "pre"), &Value::text("gpt-2"));
}

#[test]
fn words_are_cut_by_a_rule_that_has_a_name_or_not_at_all() {
    let split = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})
    };
    let llama = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    assert_eq!(name_of(&split(llama), true), Some("llama-bpe"));
    assert_eq!(name_of(&split(llama), false), Some("smaug-bpe"));
    assert_eq!(name_of(&split(&llama.replace("{1,3}", "")), false), Some("qwen2"));
    let tekken = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    assert_eq!(name_of(&split(tekken), true), Some("tekken"));
    let digits = json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]});
    assert_eq!(name_of(&digits, false), Some("smollm"));
    for other in [
        split(r"\p{L}+"),
        json!({"type": "Whitespace"}),
        json!({"type": "ByteLevel", "add_prefix_space": true}),
    ] {
        assert_eq!(name_of(&other, false), None, "{other}");
    }
    let json = of_bytes(split(r"\p{L}+"));
    let error = reader(&json).of_bytes().unwrap_err().to_string();
    assert!(error.starts_with("tokenizer.json: cannot be converted: the way the pre-tokenizer"), "{error}");
    let mut json = of_bytes(digits);
    json["normalizer"] = json!({"type": "Lowercase"});
    assert!(reader(&json).of_bytes().unwrap_err().to_string().contains("\"Lowercase\""));
}

fn of_pieces() -> Json {
    json!({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]}, "pre_tokenizer": null,
        "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}],
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "aab": 6, "aa": 7},
            "merges": ["a b", "a ab", "aa b", "a a"]}})
}

#[test]
fn scores_stand_for_merges_where_each_piece_has_one() {
    let mut json = of_pieces();
    assert!(!reader(&json).is_of_bytes());
    let entries = reader(&json).of_pieces(None).unwrap();
    let kinds = [2, 3, 6, 1, 1, 1, 1, 1].map(Value::I32);
    assert_eq!(scalars(of(&entries, "token_type")), kinds);
    let scores = [NEVER, NEVER, NEVER, NEVER, NEVER, 0.0, -1.0, -3.0].map(Value::F32);
    assert_eq!(scalars(of(&entries, "scores")), scores);
    assert_eq!(of(&entries, "add_space_prefix"), &Value::Bool(true));
    json["model"]["merges"] = json!(["a b", "a ab", "a a", "aa b"]);
    let error = reader(&json).of_pieces(None).unwrap_err().to_string();
    assert!(error.contains("tokenizer.model"), "{error}");
}

#[test]
fn special_tokens_are_those_of_the_settings() {
    let mut json = of_bytes(Json::Null);
    json["post_processor"] = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}]});
    let config = json!({"bos_token": {"content": "<s>"}, "eos_token": "b", "pad_token": null});
    let model = json!({"pad_token_id": 3, "eos_token_id": 0, "text_config": {"unk_token_id": 77}});
    let entries = reader(&json).specials(&config, &model, &json!({"eos_token_id": [1, 5, 2]}));
    let wanted = [("bos_token_id", 4), ("eos_token_id", 1), ("padding_token_id", 3), ("eot_token_id", 5)];
    for (key, id) in wanted {
        assert_eq!(of(&entries, key), &Value::U32(id), "{key}");
    }
    assert!(entries.iter().all(|(key, _)| *key != "unknown_token_id"));
    assert_eq!(of(&entries, "add_bos_token"), &Value::Bool(true));
    assert_eq!(of(&entries, "add_eos_token"), &Value::Bool(false));
}
