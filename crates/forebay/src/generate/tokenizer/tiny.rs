//! Vocabularies small enough to work out by hand, and ones that fit nothing.

use super::*;
use crate::error::VocabularyFault;
use crate::formats::gguf::{Gguf, builder::Builder};

/// Tokens with what each is for: 1 normal, 2 unknown, 3 control, 4 added, 6 a byte.
fn builder(model: &str, tokens: &[(&str, i32)]) -> Builder {
    let texts: Vec<&str> = tokens.iter().map(|(text, _)| *text).collect();
    let types: Vec<i32> = tokens.iter().map(|(_, kind)| *kind).collect();
    Builder::new()
        .text("tokenizer.ggml.model", model)
        .texts("tokenizer.ggml.tokens", &texts)
        .i32s("tokenizer.ggml.token_type", &types)
}

fn open(builder: Builder) -> Result<Tokenizer> {
    let bytes = builder.bytes();
    Tokenizer::from_gguf(Gguf::parse("t.gguf", &bytes)?.metadata())
}

fn fault(builder: Builder) -> VocabularyFault {
    match open(builder) {
        Err(Error::Vocabulary { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

const SPM: [(&str, i32); 12] = [
    ("<unk>", 2),
    ("<s>", 3),
    ("</s>", 3),
    ("<0xC3>", 6),
    ("<0xA9>", 6),
    ("▁", 1),
    ("a", 1),
    ("b", 1),
    ("ab", 1),
    ("ba", 1),
    ("▁a", 1),
    ("<mark>", 4),
];

fn spm() -> Builder {
    let scores = [0.0, 0.0, 0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, 0.0];
    builder("llama", &SPM).f32s("tokenizer.ggml.scores", &scores)
}

fn bpe(pre: &str, tokens: &[(&str, i32)], merges: &[&str]) -> Builder {
    builder("gpt2", tokens).text("tokenizer.ggml.pre", pre).texts("tokenizer.ggml.merges", merges)
}

#[test]
fn the_best_score_joins_first() {
    let tokenizer = open(spm()).unwrap();
    // "▁abab": "ba" has the best score of all, then "▁a".
    assert_eq!(tokenizer.encode("abab", false).unwrap(), [10, 9, 7]);
    assert_eq!(tokenizer.encode("abab", true).unwrap(), [1, 10, 9, 7]);
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
    // What no token says goes byte by byte, and is unknown where no byte token says it.
    assert_eq!(tokenizer.encode("é", false).unwrap(), [5, 3, 4]);
    assert_eq!(tokenizer.encode("\u{1}", false).unwrap(), [5, 0]);
}

#[test]
fn tokens_may_reach_over_words() {
    let tokens = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁", 1), ("a", 1), ("a▁", 1), ("▁a", 1), ("▁▁", 1)];
    let scores = |first: f32, second: f32| {
        let scores = [0.0, 0.0, 0.0, -9.0, -9.0, first, second, -3.0];
        open(builder("llama", &tokens).f32s("tokenizer.ggml.scores", &scores)).unwrap()
    };
    assert_eq!(scores(-1.0, -2.0).encode("a a", false).unwrap(), [3, 5, 4]);
    assert_eq!(scores(-2.0, -1.0).encode("a a", false).unwrap(), [6, 6]);
    let words = open(builder("llama", &[&tokens[..5], &tokens[6..]].concat())).unwrap();
    assert_eq!(words.encode("a  a   ", false).unwrap(), [5, 6, 4, 6, 3]);
}

#[test]
fn special_tokens_are_cut_out_where_they_are_asked_for() {
    let tokenizer = open(spm()).unwrap();
    assert_eq!(tokenizer.encode("a</s>b", true).unwrap(), [1, 10, 2, 5, 7]);
    assert_eq!(tokenizer.encode_prompt("<s>b").unwrap(), [1, 5, 7]);
    assert_eq!(tokenizer.encode_prompt("b").unwrap(), [5, 7]);
    // Control tokens are text without it; added tokens never are.
    assert!(!tokenizer.encode("a</s>", false).unwrap().contains(&2));
    assert_eq!(tokenizer.encode("a<mark>a", false).unwrap(), [10, 11, 10]);
}

#[test]
fn of_special_tokens_that_overlap_the_longest_wins_wherever_it_stands() {
    let tokens = [("<|a|>", 3), ("|><|", 3), ("<|a|><|", 4), ("|", 4), ("x", 1)];
    let tokenizer = open(bpe("gpt-2", &tokens, &[])).unwrap();
    assert_eq!(tokenizer.encode_prompt("<|a|><|a|>").unwrap(), [2, 3]);
    assert_eq!(tokenizer.encode_prompt("x<|a|>|x").unwrap(), [4, 0, 3, 4]);
    assert_eq!(tokenizer.encode("x<|a|>|x", false).unwrap(), [4, 3, 3, 3, 4]);
}

#[test]
fn space_around_special_tokens_goes_where_the_model_says_so() {
    let tokens = [("<s>", 3), ("<|user|>", 3), ("<unk>", 2), ("▁", 1), ("x", 1), ("</s>", 3)];
    let tokenizer = open(builder("llama", &tokens).text("general.name", "Phi-3 mini")).unwrap();
    assert_eq!(tokenizer.encode_prompt("<|user|> \n x").unwrap(), [1, 3, 4]);
    assert_eq!(tokenizer.encode_prompt("<s> x").unwrap(), [0, 3, 3, 4]);
    assert_eq!(tokenizer.encode_prompt("<|user|>\t").unwrap(), [1]);
}

#[test]
fn pairs_join_in_the_order_of_the_merges() {
    let tokens =
        [("a", 1), ("b", 1), ("c", 1), ("ab", 1), ("bc", 1), ("Ġ", 1), ("Ġa", 1), ("é", 1), ("Ãl", 1)];
    let tokenizer = open(bpe("gpt-2", &tokens, &["b c", "a b", "Ġ a", "ab c"])).unwrap();
    assert_eq!(tokenizer.encode("abc", false).unwrap(), [0, 4]);
    assert_eq!(tokenizer.encode("ab ab", false).unwrap(), [3, 5, 3]);
    // "abc" is known to the merges and not to the vocabulary: it goes out letter by letter.
    let tokenizer = open(bpe("gpt-2", &tokens, &["a b", "ab c"])).unwrap();
    assert_eq!(tokenizer.encode("abc", false).unwrap(), [0, 1, 2]);
    // Bytes that the vocabulary cannot say are left out.
    assert_eq!(tokenizer.encode("a\u{1}b", false).unwrap(), [0, 1]);
    assert_eq!(tokenizer.bytes(5).unwrap(), b" ");
    assert_eq!(tokenizer.bytes(7).unwrap(), [0xe9]);
    assert_eq!(tokenizer.text(7).unwrap(), "é".as_bytes());
}

#[test]
fn words_that_are_tokens_stay_whole_where_the_rules_say_so() {
    let tokens = [("a", 1), ("b", 1), ("ab", 1), ("aba", 1), ("<bos>", 3)];
    let settings = |pre| bpe(pre, &tokens, &["a b"]).u32("tokenizer.ggml.bos_token_id", 4);
    assert_eq!(open(settings("llama-bpe")).unwrap().encode("aba", true).unwrap(), [4, 3]);
    assert_eq!(open(settings("qwen2")).unwrap().encode("aba", true).unwrap(), [2, 0]);
    let off = settings("llama-bpe").bool("tokenizer.ggml.add_bos_token", false);
    assert_eq!(open(off).unwrap().encode("aba", true).unwrap(), [3]);
    let both = settings("qwen2")
        .bool("tokenizer.ggml.add_bos_token", true)
        .bool("tokenizer.ggml.add_eos_token", true)
        .u32("tokenizer.ggml.eos_token_id", 0);
    assert_eq!(open(both).unwrap().encode("b", true).unwrap(), [4, 1, 0]);
}

#[test]
fn plain_merges_write_spaces_as_a_low_line_and_spell_in_bytes() {
    let tokens = [("▁", 1), ("a", 1), ("▁a", 1), ("\n\n", 1), ("<0xC3>", 6), ("<0xA9>", 6), ("<bos>", 3)];
    let bytes = builder("gemma4", &tokens).texts("tokenizer.ggml.merges", &["▁ a"]);
    let tokenizer = open(bytes.u32("tokenizer.ggml.bos_token_id", 6)).unwrap();
    let ids = tokenizer.encode("a a\n\né", true).unwrap();
    assert_eq!(ids, [6, 1, 2, 3, 4, 5]);
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "a a\n\né");
}

#[test]
fn words_are_cut_into_the_longest_pieces() {
    let tokens = [
        ("[PAD]", 3),
        ("[UNK]", 2),
        ("[CLS]", 3),
        ("[SEP]", 3),
        ("▁un", 1),
        ("know", 1),
        ("n", 1),
        ("▁,", 1),
        ("▁中", 1),
    ];
    let ids = |builder: Builder| {
        builder
            .u32("tokenizer.ggml.bos_token_id", 2)
            .u32("tokenizer.ggml.seperator_token_id", 3)
            .u32("tokenizer.ggml.unknown_token_id", 1)
    };
    let tokenizer = open(ids(builder("bert", &tokens))).unwrap();
    assert_eq!(tokenizer.encode("UNKNOWS, ünknow 中中", true).unwrap(), [2, 1, 7, 4, 5, 8, 8, 3]);
    assert_eq!(tokenizer.encode("unknown,\u{0} x", false).unwrap(), [4, 5, 6, 7, 1]);
    assert_eq!(tokenizer.decode(&[4, 5, 6, 7], false).unwrap(), "unknown ,");
    let cased = ids(builder("bert", &tokens)).bool("tokenizer.ggml.normalizer.lowercase", false);
    assert_eq!(open(cased).unwrap().encode("Unknow unknow", false).unwrap(), [1, 4, 5]);
    let fault = fault(builder("bert", &tokens));
    assert_eq!(fault, VocabularyFault::NoSpecial { name: "bos" });
}

#[test]
fn characters_come_whole() {
    let tokenizer = open(spm()).unwrap();
    let mut decoder = tokenizer.decoder(&[1]);
    let pushed: Vec<String> = [10, 3, 4, 3, 6, 3, 1].map(|id| decoder.push(id).unwrap().to_owned()).into();
    // The space of the first token goes; half a character waits, shows as such, or is dropped by control tokens.
    assert_eq!(pushed, ["a", "", "é", "", "\u{fffd}a", "", ""]);
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.finish(), "");
    let mut decoder = tokenizer.decoder(&[1, 10]);
    assert_eq!(decoder.push(10).unwrap(), " a");
    assert_eq!(tokenizer.decode(&[1, 10, 3, 2], true).unwrap(), "<s>a\u{fffd}</s>");
    assert_eq!(tokenizer.decode(&[1, 10, 3, 2], false).unwrap(), "a\u{fffd}");
    assert!(matches!(tokenizer.decode(&[12], true), Err(Error::TokenId { id: 12, size: 12 })));
    assert!(matches!(tokenizer.text(u32::MAX), Err(Error::TokenId { .. })));
}

#[test]
fn every_id_that_ends_generation_is_known() {
    let tokens = [("a", 1), ("<|im_end|>", 1), ("<|endoftext|>", 3), ("<|fim_pad|>", 3), ("<eos2>", 3)];
    let tokenizer = open(bpe("qwen2", &tokens, &[]).u32("tokenizer.ggml.eos_token_id", 4)).unwrap();
    let specials = tokenizer.specials();
    assert_eq!((specials.eos, specials.eot, specials.bos), (Some(4), Some(1), None));
    assert_eq!(specials.ends, [1, 2, 3, 4]);
    assert!(tokenizer.is_end(1) && !tokenizer.is_end(0) && tokenizer.is_control(1));
    let channels = [("<|return|>", 3), ("<|call|>", 3), ("<|end|>", 3), ("<|start|>", 3)];
    let tokenizer = open(bpe("gpt-4o", &channels, &[])).unwrap();
    assert_eq!(tokenizer.specials().ends, [0, 1]);
    assert!(!tokenizer.is_control(2) && !tokenizer.is_control(3));
}

#[test]
fn vocabularies_that_fit_nothing_are_named() {
    let none = builder("llama", &[]);
    assert_eq!(fault(none), VocabularyFault::Size { found: 0 });
    assert!(matches!(fault(builder("rwkv", &SPM)), VocabularyFault::Model { found, .. } if found == "rwkv"));
    let error = open(bpe("odd", &SPM, &[])).unwrap_err().to_string();
    assert!(error.contains("pre-tokenizer \"odd\" is not known; known are default, llama-bpe"), "{error}");
    let short = builder("llama", &SPM).f32s("tokenizer.ggml.scores", &[1.0]);
    let list = "tokenizer.ggml.scores";
    assert_eq!(fault(short), VocabularyFault::Length { list, found: 1, wanted: 12 });
    let texts = builder("llama", &SPM).texts("tokenizer.ggml.scores", &["a"; 12]);
    assert!(matches!(fault(texts), VocabularyFault::Length { .. }));
    let lone = builder("llama", &[("a", 1)]);
    assert_eq!(fault(lone), VocabularyFault::NoSpecial { name: "bos" });
    assert!(
        matches!(open(builder("gpt2", &SPM)), Err(Error::MissingKey { key, .. }) if key.ends_with("merges"))
    );
    assert!(matches!(open(Builder::new()), Err(Error::MissingKey { .. })));
    let wrong = Builder::new().text("tokenizer.ggml.model", "llama").u32("tokenizer.ggml.tokens", 1);
    assert!(matches!(open(wrong), Err(Error::KeyValue { .. })));
}

#[test]
fn odd_vocabularies_work_as_far_as_they_go() {
    // Empty and repeated tokens, ids out of range, scores that are no numbers, merges that are none.
    let tokens = [("", 1), ("a", 1), ("a", 1), ("<0xZZ>", 6), ("<s>", 3)];
    let settings = builder("llama", &tokens)
        .f32s("tokenizer.ggml.scores", &[f32::NAN, f32::INFINITY, -0.0, f32::NEG_INFINITY, f32::NAN])
        .u32("tokenizer.ggml.bos_token_id", 4)
        .u32("tokenizer.ggml.eos_token_id", u32::MAX);
    let tokenizer = open(settings).unwrap();
    assert_eq!(tokenizer.encode("aa", false).unwrap(), [0, 2, 2]);
    assert_eq!(tokenizer.text(0).unwrap(), b"[EMPTY_0]");
    assert_eq!(tokenizer.bytes(3).unwrap(), b"");
    let tokenizer = open(bpe("gpt-2", &tokens, &["", " ", "a", "a ", " a", "a a a", "  "])).unwrap();
    assert_eq!(tokenizer.encode("aa", false).unwrap(), [2, 2]);
    assert_eq!(tokenizer.specials().bos, None);
}
