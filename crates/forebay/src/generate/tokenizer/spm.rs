//! SentencePiece-style merging: neighbours join into the token with the best score.
//!
//! It gets text whose spaces are written as U+2581 and gives ids; what no token says goes out byte by byte.
//! Next room: `merge`, which does the joining.

use super::merge::{Merger, NONE};
use super::native::SPACE;
use super::vocabulary::Vocabulary;

/// What joining can rely on, beyond the vocabulary.
#[derive(Debug)]
pub(super) struct Spm {
    /// Whether a token goes on behind a word into the next, so that words cannot be looked at alone.
    crosses: bool,
}

impl Spm {
    pub(super) fn new(vocabulary: &Vocabulary) -> Self {
        let crosses = |id: u32| {
            let text = vocabulary.text(id).unwrap_or_default();
            let spaces = text.windows(SPACE.len()).enumerate().filter(|(_, part)| *part == SPACE.as_bytes());
            spaces.into_iter().any(|(at, _)| at > 0 && !text[..at].ends_with(SPACE.as_bytes()))
        };
        Self { crosses: (0..vocabulary.size() as u32).any(crosses) }
    }

    /// Appends the ids of a text, its spaces written as U+2581.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        merger: &mut Merger,
        text: &str,
        ids: &mut Vec<u32>,
    ) {
        let mut rest = text;
        while !rest.is_empty() {
            let spaces = rest.len() - rest.trim_start_matches(SPACE).len();
            let word = rest[spaces..].find(SPACE).filter(|_| !self.crosses);
            let (word, after) = rest.split_at(word.map_or(rest.len(), |word| spaces + word));
            join(vocabulary, merger, word, ids);
            rest = after;
        }
    }
}

/// Appends the ids of a part of a text that no token reaches out of.
fn join(vocabulary: &Vocabulary, merger: &mut Merger, text: &str, ids: &mut Vec<u32>) {
    merger.clear();
    let bytes = text.as_bytes();
    let mut buffer = [0; 4];
    for c in text.chars() {
        let c = c.encode_utf8(&mut buffer).as_bytes();
        merger.push(c.len() as u32, vocabulary.find(c).unwrap_or(NONE));
    }
    merger.run(|left, right| {
        let joined = left.range().start..right.range().end;
        if joined.len() > vocabulary.longest() {
            return None;
        }
        let id = vocabulary.find(&bytes[joined])?;
        Some((!order(vocabulary.score(id)), id))
    });
    for symbol in merger.symbols() {
        if symbol.text != NONE {
            ids.push(symbol.text);
            continue;
        }
        // Byte tokens say all of it, or it is unknown as a whole.
        let spelled: Option<Vec<u32>> =
            bytes[symbol.range()].iter().map(|byte| vocabulary.byte_token(*byte)).collect();
        match spelled {
            Some(spelled) => ids.extend(spelled),
            None => ids.extend(vocabulary.specials().unknown),
        }
    }
}

/// A number that is greater for a greater score.
fn order(score: f32) -> u32 {
    // The sum makes one zero of two.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_their_order() {
        let scores = [f32::NEG_INFINITY, -1e9, -2.5, -0.0, 1e-40, 3.0, f32::INFINITY];
        assert!(scores.windows(2).all(|pair| order(pair[0]) < order(pair[1])));
        assert_eq!(order(-0.0), order(0.0));
    }
}
