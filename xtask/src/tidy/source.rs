//! A Rust file seen three ways: its text, its code with comments and literals blanked out, and its comments.
//!
//! Blanking keeps every byte position, so that a find in the code has its line in the text. This is a lexer, never a
//! parser: it knows where literals, comments and braces are, and nothing of what the code means.
//! Next: the checks beside this file, which all read the code through it.

use std::ops::Range;

/// A comment of one line, or one line of a block comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Counted from one.
    pub(crate) line: usize,
    /// With its slashes.
    pub(crate) text: String,
}

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals turned into blanks.
    pub(crate) code: String,
    /// The code with everything that exists only under `cfg(test)` turned into blanks too.
    pub(crate) product: String,
    pub(crate) comments: Vec<Comment>,
    /// Modules that are declared here, live in a file of their own and exist only under `cfg(test)`.
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, comments) = Lexer::read(text);
        let mut product = code.clone().into_bytes();
        let mut test_modules = Vec::new();
        for range in test_only(&code) {
            let item = &code[range.clone()];
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
                test_modules.push(name.1.trim().to_owned());
            }
            blank(&mut product, range);
        }
        let product = String::from_utf8_lossy(&product).into_owned();
        Source { path: path.to_owned(), text: text.to_owned(), code, product, comments, test_modules }
    }

    /// Turns the whole file into test code.
    pub(crate) fn make_test(&mut self) {
        let mut product = std::mem::take(&mut self.product).into_bytes();
        let all = 0..product.len();
        blank(&mut product, all);
        self.product = String::from_utf8_lossy(&product).into_owned();
    }

    /// The line of a position, counted from one.
    pub(crate) fn line(&self, position: usize) -> usize {
        1 + self.text.as_bytes()[..position].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The identifiers and keywords of blanked code, each with its position.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = code.as_bytes();
        while at < bytes.len() && !is_word(bytes[at]) {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        (start < at).then(|| (start, &code[start..at]))
    })
}

/// Whether a byte can be part of an identifier; bytes of wide characters count as such.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    for byte in &mut bytes[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    code: Vec<u8>,
    comments: Vec<Comment>,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn read(text: &'a str) -> (String, Vec<Comment>) {
        let code = text.as_bytes().to_vec();
        let mut lexer = Lexer { text, bytes: text.as_bytes(), code, comments: Vec::new(), at: 0, line: 1 };
        while lexer.at < lexer.bytes.len() {
            lexer.step();
        }
        (String::from_utf8_lossy(&lexer.code).into_owned(), lexer.comments)
    }

    fn step(&mut self) {
        let rest = &self.bytes[self.at..];
        match rest[0] {
            b'/' if rest.starts_with(b"//") => {
                let end = self.at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                self.comment(end);
            }
            b'/' if rest.starts_with(b"/*") => self.comment(self.block_end()),
            b'"' => self.literal(self.string_end(self.at + 1)),
            b'r' if self.raw_hashes().is_some() => {
                let hashes = self.raw_hashes().unwrap_or(0);
                let close = format!("\"{}", "#".repeat(hashes));
                let open = self.at + 1 + hashes + 1;
                let end = self.text[open..]
                    .find(&close)
                    .map_or(self.bytes.len(), |found| open + found + close.len());
                self.literal(end);
            }
            b'\'' => match self.char_end() {
                Some(end) => self.literal(end),
                None => self.at += 1,
            },
            byte => {
                self.line += usize::from(byte == b'\n');
                self.at += 1;
            }
        }
    }

    fn comment(&mut self, end: usize) {
        for line in self.text[self.at..end].split('\n') {
            self.comments.push(Comment { line: self.line, text: line.trim().to_owned() });
            self.line += 1;
        }
        self.line -= 1;
        blank(&mut self.code, self.at..end);
        self.at = end;
    }

    /// Blanks a literal but for its first and last byte.
    fn literal(&mut self, end: usize) {
        self.line += self.bytes[self.at..end].iter().filter(|byte| **byte == b'\n').count();
        if end - self.at > 2 {
            blank(&mut self.code, self.at + 1..end - 1);
        }
        self.at = end;
    }

    fn block_end(&self) -> usize {
        let mut depth = 0;
        let mut at = self.at;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            if rest.starts_with(b"/*") {
                depth += 1;
                at += 2;
            } else if rest.starts_with(b"*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            } else {
                at += 1;
            }
        }
        at
    }

    fn string_end(&self, mut at: usize) -> usize {
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'\\' => at += 2,
                b'"' => return at + 1,
                _ => at += 1,
            }
        }
        self.bytes.len()
    }

    /// How many hashes open the raw string that starts here, if one does.
    fn raw_hashes(&self) -> Option<usize> {
        let before = &self.bytes[..self.at];
        let prefixed = matches!(before.last(), Some(b'b' | b'c'));
        let before = if prefixed { &before[..before.len() - 1] } else { before };
        if before.last().is_some_and(|byte| is_word(*byte)) {
            return None;
        }
        let rest = &self.bytes[self.at + 1..];
        let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
        (rest.get(hashes) == Some(&b'"')).then_some(hashes)
    }

    /// The end of the character literal that starts here; `None` for a lifetime.
    fn char_end(&self) -> Option<usize> {
        let mut rest = self.text[self.at + 1..].char_indices();
        let (_, first) = rest.next()?;
        if first == '\\' {
            let (_, escaped) = rest.next()?;
            let after = self.at + 2 + escaped.len_utf8();
            return self.text[after..].find('\'').map(|found| after + found + 1);
        }
        let (after, next) = rest.next()?;
        (next == '\'').then_some(self.at + 1 + after + 1)
    }
}

/// The ranges of items that exist only under `cfg(test)`, from their attribute to their end.
fn test_only(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices("#[") {
        if ranges.last().is_some_and(|range| range.contains(&start)) {
            continue;
        }
        let Some(end) = closing(code, start + 1) else { continue };
        let attribute: String = code[start + 2..end - 1].split_whitespace().collect();
        let Some(predicate) = attribute.strip_prefix("cfg(").and_then(|rest| rest.strip_suffix(')')) else {
            continue;
        };
        let parts =
            predicate.strip_prefix("all(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(predicate);
        if parts.split(',').any(|part| part == "test") {
            ranges.push(start..item_end(code, end));
        }
    }
    ranges
}

/// The end of the item that follows `at`: behind its first block, or behind its semicolon.
fn item_end(code: &str, mut at: usize) -> usize {
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at + 1,
            b'{' => return closing(code, at).unwrap_or(bytes.len()),
            b'(' | b'[' => at = closing(code, at).unwrap_or(bytes.len()),
            _ => at += 1,
        }
    }
    at
}

/// One past the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (i, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(open + i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_words(text: &str) -> String {
        let source = Source::new("a.rs", text);
        assert_eq!(source.code.len(), text.len(), "positions are kept");
        words(&source.code).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn literals_and_comments_hide_what_they_say() {
        for (text, wanted) in [
            (r#"let a = "unsafe \" unsafe"; b"#, "let a b"),
            ("let a = r#\"x \" unsafe\"#; b", "let a r b"),
            ("br\"unsafe\\\"; b", "br b"),
            ("r#unsafe b", "r unsafe b"),
            ("for\"unsafe\" b", "for b"),
            ("a /* unsafe /* unsafe */ unsafe */ b", "a b"),
            ("a // unsafe\nb", "a b"),
            ("'\"' a '\\'' b '\\u{41}' c '\"'", "a b c"),
            ("fn f<'a>(x: &'a str) {}", "fn f a x a str"),
            ("'é' a 'x' \"é\" b", "a b"),
        ] {
            assert_eq!(code_words(text), wanted, "{text}");
        }
    }

    #[test]
    fn comments_keep_their_lines() {
        let source = Source::new("a.rs", "//! one\nlet a = \"\n\"; // two\n/* three\nfour */ b // five");
        let seen: Vec<_> =
            source.comments.iter().map(|comment| (comment.line, comment.text.as_str())).collect();
        assert_eq!(seen, [(1, "//! one"), (3, "// two"), (4, "/* three"), (5, "four */"), (5, "// five")]);
    }

    #[test]
    fn the_product_is_what_is_not_under_test() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { '}' } }\n#[cfg(all(loom, test))]\nmod loom;\n\
            #[cfg(not(test))] fn c() {}\n#[cfg(test)] #[derive(Debug)] struct D;\n#[cfg(any(test, x))] fn e() {}";
        let source = Source::new("a.rs", text);
        let left: Vec<_> =
            words(&source.product).map(|(_, word)| word).filter(|word| word.len() == 1).collect();
        assert_eq!(left, ["a", "c", "x", "e"]);
        assert_eq!(source.test_modules, ["loom"]);
    }
}
