//! SentencePiece-style merging: neighbours join into the token with the best score.
//!
//! It gets text whose spaces are written as U+2581 and gives ids; what no token says goes out byte by byte.
//! Next room: `merge`, which does the joining.

use super::merge::{Merger, NONE};
use super::vocabulary::Vocabulary;

/// Appends the ids of a text.
pub(super) fn encode(vocabulary: &Vocabulary, merger: &mut Merger, text: &str, ids: &mut Vec<u32>) {
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
        for byte in &bytes[symbol.range()] {
            ids.extend(vocabulary.byte_token(*byte).or(vocabulary.specials().unknown));
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
