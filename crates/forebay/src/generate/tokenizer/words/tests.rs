//! How each rule cuts text into words: English, capitals, figures, scripts, spaces.
//!
//! Next: `mod.rs`, the rules.

use super::*;

fn words<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
    let cut = cut(scheme(name).unwrap().passes, text);
    cut.into_iter().map(|word| &text[word]).collect()
}

#[test]
fn english() {
    let text = "I'm  HERE'S\n\n 12345 (ok)!  \n x";
    assert_eq!(
        words("gpt-2", text),
        ["I", "'m", " ", " HERE", "'", "S", "\n\n", " 12345", " (", "ok", ")!", "  \n", " x"]
    );
    assert_eq!(
        words("llama-bpe", text),
        ["I", "'m", " ", " HERE", "'S", "\n\n", " ", "123", "45", " (", "ok", ")!", "  \n", " x"]
    );
    assert_eq!(
        words("qwen2", text),
        ["I", "'m", " ", " HERE", "'S", "\n\n", " ", "1", "2", "3", "4", "5", " (", "ok", ")!", "  \n", " x"]
    );
    assert_eq!(
        words("gpt-4o", text),
        ["I'm", " ", " HERE'S", "\n\n", " ", "123", "45", " (", "ok", ")!", "  \n", " x"]
    );
    assert_eq!(words("deepseek-coder", "a\r\nbc  12 x."), ["a", "\r", "\n", "bc", "  ", "1", "2", " x", "."]);
    assert_eq!(words("smollm", "a 12 b"), ["a", " ", "1", "2", " b"]);
    assert_eq!(words("gemma4", "a b\n\nc"), ["a b", "\n\n", "c"]);
    assert_eq!(words("falcon", "x 12 1234"), ["x", " 12", " ", "123", "4"]);
    assert_eq!(words("afmoe", "a1234567b 12"), ["a", "1", "234", "567", "b", " ", "12"]);
}

#[test]
fn capitals_and_small_letters() {
    assert_eq!(
        words("gpt-4o", "iPhoneXRPro HTTPServer éA"),
        ["i", "Phone", "XRPro", " HTTPServer", " é", "A"]
    );
    assert_eq!(words("tekken", "it's 12/"), ["it", "'s", " ", "1", "2", "/"]);
    assert_eq!(words("kimi-k2", "ab中文cd's"), ["ab", "中文", "cd's"]);
}

#[test]
fn marks_go_with_letters_where_the_rules_say_so() {
    assert_eq!(words("qwen2", "e\u{301}a"), ["e", "\u{301}a"]);
    assert_eq!(words("qwen35", "e\u{301}a"), ["e\u{301}a"]);
    assert_eq!(words("deepseek-v3", "e\u{301}a日本 x+y"), ["e\u{301}a", "日本", " x", "+y"]);
}

#[test]
fn every_scheme_gives_the_whole_text_back() {
    let text = " \u{0}\u{1}a\u{301}\u{85}\u{a0}x1२३4567٣½ Ⅳ\r\n\t'll'LL''s  \u{3000}中文ひカ한국..!? 🙂\u{200d}🙂/// \n /\n\nZz ";
    let names = names();
    for name in names.split(", ") {
        for text in [text, "", "\n", " ", "'", "''", "a", &text.repeat(3)] {
            assert_eq!(words(name, text).concat(), text, "{name}");
            assert!(words(name, text).iter().all(|word| !word.is_empty()));
        }
    }
}

#[test]
fn long_runs_of_anything_take_linear_time() {
    let names = names();
    for part in ["a", " ", "\n", "1", "A", "é", "\u{301}", "'", "'s", ". ", " \n", "中", "\u{1}", "éA"] {
        let text = part.repeat(20_000);
        for name in names.split(", ") {
            assert_eq!(words(name, &text).concat().len(), text.len());
        }
    }
}
