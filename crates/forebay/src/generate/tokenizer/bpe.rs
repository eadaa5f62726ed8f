//! Byte-pair merging: neighbours inside a word join in the order that training found.
//!
//! Merges go by the numbers of texts, so that no string is built while a text is cut. A piece that the merges
//! know and the vocabulary does not goes out byte by byte.
//! Next rooms: `words` for where words end, `merge` for the joining.

use hashbrown::HashMap;

use super::merge::{Merger, NONE};
use super::vocabulary::Vocabulary;
use super::words::{self, Scheme};
use crate::formats::gguf::Strings;

/// The merges of a vocabulary.
#[derive(Debug)]
pub(super) struct Bpe {
    /// The rank of each pair of texts, and the text they make.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// The text that stands for each byte.
    bytes: [u32; 256],
    scheme: Scheme,
}

impl Bpe {
    /// Reads the merges; their pieces are numbered behind the tokens.
    pub(super) fn new(vocabulary: &mut Vocabulary, merges: Strings<'_>, scheme: Scheme) -> Self {
        let mut ranks = HashMap::with_capacity(merges.len());
        let mut text = Vec::new();
        let mut last = 0;
        for (rank, merge) in merges.iter().enumerate() {
            // A piece may itself be a space, so the one that parts two pieces is not the first byte.
            let Some(space) = merge.iter().skip(1).position(|byte| *byte == b' ') else { continue };
            let (left, right) = (&merge[..=space], &merge[space + 2..]);
            text.clear();
            text.extend_from_slice(left);
            text.extend_from_slice(right);
            let [left, right] = [left, right].map(|piece| vocabulary.texts.intern(piece));
            // Most vocabularies number what merges make in the order of the merges.
            let next = Some(last + 1).filter(|next| vocabulary.texts.is(*next, &text));
            let joined = next.unwrap_or_else(|| vocabulary.texts.intern(&text));
            last = joined;
            ranks.entry((left, right)).or_insert((rank as u32, joined));
        }
        let mut buffer = [0; 4];
        let bytes = std::array::from_fn(|byte| {
            let c = char_of(byte as u8).encode_utf8(&mut buffer);
            vocabulary.texts.find(c.as_bytes()).unwrap_or(NONE)
        });
        Self { merges: ranks, bytes, scheme }
    }

    /// Whether tokens are written with spaces as U+2581 and not byte by byte.
    pub(super) fn is_plain(&self) -> bool {
        self.scheme.plain
    }

    /// Appends the ids of a text.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        merger: &mut Merger,
        text: &str,
        ids: &mut Vec<u32>,
    ) {
        let mut written = String::new();
        for word in words::cut(self.scheme.passes, text) {
            let word = &text[word];
            if self.whole(vocabulary, word, &mut written, ids) {
                continue;
            }
            merger.clear();
            if self.scheme.plain {
                let mut buffer = [0; 4];
                for c in word.chars() {
                    let c = c.encode_utf8(&mut buffer).as_bytes();
                    merger.push(c.len() as u32, vocabulary.texts.find(c).unwrap_or(NONE));
                }
            } else {
                for byte in word.bytes() {
                    merger.push(1, self.bytes[usize::from(byte)]);
                }
            }
            merger.run(|left, right| {
                if left.text == NONE || right.text == NONE {
                    return None;
                }
                self.merges.get(&(left.text, right.text)).copied()
            });
            for symbol in merger.symbols() {
                if vocabulary.is_token(symbol.text) {
                    ids.push(symbol.text);
                } else {
                    self.spell(vocabulary, &word.as_bytes()[symbol.range()], ids);
                }
            }
        }
    }

    /// Takes a word whole where it is a token and the scheme says so.
    fn whole(&self, vocabulary: &Vocabulary, word: &str, written: &mut String, ids: &mut Vec<u32>) -> bool {
        let breaks = self.scheme.plain && word.bytes().all(|byte| byte == b'\n');
        if !self.scheme.whole_words && !breaks {
            return false;
        }
        let id = if self.scheme.plain {
            vocabulary.find(word.as_bytes())
        } else {
            written.clear();
            written.extend(word.bytes().map(char_of));
            vocabulary.find(written.as_bytes())
        };
        ids.extend(id);
        id.is_some()
    }

    /// Appends what says these bytes one by one, where there is something.
    fn spell(&self, vocabulary: &Vocabulary, bytes: &[u8], ids: &mut Vec<u32>) {
        if self.scheme.plain {
            ids.extend(bytes.iter().filter_map(|byte| vocabulary.find(format!("<0x{byte:02X}>").as_bytes())));
        } else {
            let mut buffer = [0; 4];
            for byte in bytes {
                let written = char_of(*byte).encode_utf8(&mut buffer);
                ids.extend(written.bytes().filter_map(|byte| vocabulary.find(&[byte])));
            }
        }
    }
}

/// The character that stands for a byte in the tokens: itself where it shows, else one from U+0100 on.
pub(super) fn char_of(byte: u8) -> char {
    let shift = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => 0,
        0..=0x20 => 0x100,
        0x7f..=0xa0 => 0x121 - 0x7f,
        0xad => 0x143 - 0xad,
    };
    char::from_u32(u32::from(byte) + shift).unwrap_or_default()
}

/// The byte that a character stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let byte = match u32::from(c) {
        n @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => n,
        n @ 0x100..=0x120 => n - 0x100,
        n @ 0x121..=0x142 => n - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Appends the bytes that the characters of a token stand for; others stand for themselves.
pub(super) fn append_bytes(token: &[u8], bytes: &mut Vec<u8>) {
    match std::str::from_utf8(token) {
        Ok(token) => {
            let mut buffer = [0; 4];
            for c in token.chars() {
                match byte_of(c) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
                }
            }
        }
        Err(_) => bytes.extend_from_slice(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
            assert!(seen.insert(char_of(byte)));
        }
        assert_eq!(
            [' ', '\n', '\u{7f}', '\u{a0}', '\u{ad}'].map(|c| char_of(c as u8)),
            ['Ġ', 'Ċ', 'ġ', 'ł', 'Ń']
        );
        assert_eq!(byte_of('\u{144}'), None);
    }
}
