//! Texts in JSON.

use std::fmt::Write as _;

/// A text as JSON has it.
pub(super) fn text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            // A page embeds it: nothing in it may end a script.
            letter if u32::from(letter) < 0x20 || letter == '<' => {
                let _ = write!(json, "\\u{:04x}", u32::from(letter));
            }
            letter => json.push(letter),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_reserves_is_escaped() {
        assert_eq!(text("a\"b\\c\n</x>é"), r#""a\"b\\c\u000a\u003c/x>é""#);
    }
}
