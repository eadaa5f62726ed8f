//! WordPiece: each word is cut into the longest tokens from its front to its end, or is unknown as a whole.
//!
//! Words are lowercased and lose their accents where the file says so; white space and control characters go,
//! punctuation and ideographs stand alone. Texts therefore do not come back as they were.

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};
use unicode_general_category::{GeneralCategory, get_general_category};

use super::vocabulary::Vocabulary;

/// How the start of a word is written.
const START: char = '\u{2581}';

/// A vocabulary ready for longest matches.
#[derive(Debug)]
pub(super) struct Wpm {
    /// Its patterns are the tokens, the last one first, so that of equal ones the later is found.
    tokens: Option<AhoCorasick>,
    last: u32,
    lowercase: bool,
    strip_accents: bool,
}

impl Wpm {
    pub(super) fn new(vocabulary: &Vocabulary, lowercase: bool, strip_accents: bool) -> Self {
        let last = vocabulary.size() as u32 - 1;
        let texts = (0..=last).rev().map(|id| vocabulary.text(id).unwrap_or_default());
        let tokens = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Anchored)
            .build(texts);
        Self { tokens: tokens.ok(), last, lowercase, strip_accents }
    }

    /// Appends the ids of a text.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, ids: &mut Vec<u32>) {
        for word in self.words(text) {
            let known = ids.len();
            let mut at = 0;
            while at < word.len() {
                let input = Input::new(&word).range(at..).anchored(Anchored::Yes);
                match self.tokens.as_ref().and_then(|tokens| tokens.find(input)) {
                    Some(found) if found.end() > at => {
                        ids.push(self.last - found.pattern().as_u32());
                        at = found.end();
                    }
                    _ => {
                        ids.truncate(known);
                        break;
                    }
                }
            }
            if ids.len() == known {
                ids.extend(vocabulary.specials().unknown);
            }
        }
    }

    /// The words of a text, each with its start as tokens write it.
    fn words(&self, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut end = |word: &mut String| {
            if !word.is_empty() {
                words.push(format!("{START}{word}"));
                word.clear();
            }
        };
        for c in text.chars() {
            let c = if self.strip_accents { base(c) } else { c };
            let category = get_general_category(c);
            if c.is_whitespace() {
                end(&mut word);
                continue;
            }
            let accent = self.strip_accents && is_mark(category);
            let lost = accent || c == '\0' || c == char::REPLACEMENT_CHARACTER || is_control(category);
            if !lost {
                let alone = is_punctuation(c, category) || is_ideograph(c);
                let c = if self.lowercase { c.to_lowercase().next().unwrap_or(c) } else { c };
                if alone {
                    end(&mut word);
                }
                word.push(c);
                if alone {
                    end(&mut word);
                }
            }
        }
        end(&mut word);
        words
    }
}

/// The first character of the canonical decomposition.
fn base(c: char) -> char {
    let mut first = None;
    unicode_normalization::char::decompose_canonical(c, |part| {
        first.get_or_insert(part);
    });
    first.unwrap_or(c)
}

fn is_control(category: GeneralCategory) -> bool {
    use GeneralCategory::*;
    matches!(category, Control | Format | Surrogate | PrivateUse)
}

fn is_mark(category: GeneralCategory) -> bool {
    use GeneralCategory::*;
    matches!(category, NonspacingMark | SpacingMark | EnclosingMark)
}

fn is_punctuation(c: char, category: GeneralCategory) -> bool {
    use GeneralCategory::*;
    c.is_ascii_punctuation()
        || matches!(
            category,
            ConnectorPunctuation
                | DashPunctuation
                | OpenPunctuation
                | ClosePunctuation
                | InitialPunctuation
                | FinalPunctuation
                | OtherPunctuation
        )
}

/// The blocks of ideographs, with the gap at U+2B820 that the original of this tokenizer has.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b73f}' | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}'
        | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}
