//! Cutting special tokens out of a text before its words are looked at.
//!
//! The longest token is cut first, wherever it stands; among equals the lowest id, and of one token the
//! leftmost. All occurrences are found in one pass over the text, so many special tokens cost no more than few.
//! Next room: the tokenizers, which get what lies between.

use std::{collections::BTreeMap, fmt, ops::Range};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::vocabulary::{Uses, Vocabulary};

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Text between special tokens, never empty.
    Text(Range<usize>),
    /// A special token.
    Token(u32),
}

/// Finds special tokens.
pub(super) struct Special {
    /// Its patterns are numbered as `tokens`.
    search: Option<AhoCorasick>,
    /// In the order in which they are cut.
    tokens: Vec<Token>,
}

#[derive(Clone, Copy)]
struct Token {
    id: u32,
    uses: Uses,
}

impl Special {
    pub(super) fn new(vocabulary: &Vocabulary) -> Self {
        let special = Uses::CONTROL.and(Uses::ADDED).and(Uses::UNKNOWN);
        let ids = (0..vocabulary.size() as u32).filter(|id| vocabulary.uses(*id).any(special));
        let mut tokens: Vec<Token> = ids.map(|id| Token { id, uses: vocabulary.uses(id) }).collect();
        let text = |token: &Token| vocabulary.text(token.id).unwrap_or_default();
        tokens.sort_by_key(|token| std::cmp::Reverse(text(token).len()));
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::NoncontiguousNFA))
            .build(tokens.iter().map(text));
        Self { search: search.ok().filter(|_| !tokens.is_empty()), tokens }
    }

    /// Cuts a text. Without `control`, only tokens that were added to be found in any text are cut out.
    pub(super) fn cut(&self, text: &str, control: bool) -> Vec<Fragment> {
        let hidden = Uses::CONTROL.and(Uses::UNKNOWN);
        // By token in the order of cutting; of one token in the order of the text.
        let mut found: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        for hit in self.search.iter().flat_map(|search| search.find_overlapping_iter(text)) {
            let number = hit.pattern().as_usize();
            if control || !self.tokens[number].uses.any(hidden) {
                found.entry(number).or_default().push(hit.range());
            }
        }
        // What is still text, and what was cut, by where it starts.
        let mut free: BTreeMap<usize, usize> = BTreeMap::new();
        let mut cut: BTreeMap<usize, u32> = BTreeMap::new();
        free.insert(0, text.len());
        for (number, hits) in found {
            let token = self.tokens[number];
            for hit in hits {
                let Some((&start, &end)) = free.range(..=hit.start).next_back() else { continue };
                if hit.end > end {
                    continue;
                }
                free.remove(&start);
                cut.insert(hit.start, token.id);
                let mut left = start..hit.start;
                let mut right = hit.end..end;
                if token.uses.any(Uses::STRIP_LEFT) {
                    left.end = left.start + text[left.clone()].trim_end_matches(is_space).len();
                }
                if token.uses.any(Uses::STRIP_RIGHT) {
                    right.start = right.end - text[right.clone()].trim_start_matches(is_space).len();
                }
                free.extend([left, right].into_iter().filter(|r| !r.is_empty()).map(|r| (r.start, r.end)));
            }
        }
        let mut fragments: Vec<(usize, Fragment)> = Vec::new();
        fragments.extend(free.into_iter().filter(|(s, e)| s < e).map(|(s, e)| (s, Fragment::Text(s..e))));
        fragments.extend(cut.into_iter().map(|(start, id)| (start, Fragment::Token(id))));
        fragments.sort_by_key(|(start, _)| *start);
        fragments.into_iter().map(|(_, fragment)| fragment).collect()
    }
}

impl fmt::Debug for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} special tokens", self.tokens.len())
    }
}

/// White space as the C library knows it.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}
