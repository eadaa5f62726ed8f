//! Joining neighbours in a text, best pair first, until no pair can be joined.
//!
//! It keeps the text as a linked list of symbols and the pairs in a heap, so a text of any kind costs
//! n log n steps. Which pairs join, and how well, is the caller's business.

use std::{cmp::Ordering, collections::BinaryHeap, ops::Range};

/// No neighbour, and no known text.
pub(super) const NONE: u32 = u32::MAX;

/// A part of the text that moves as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    start: u32,
    end: u32,
    before: u32,
    after: u32,
    /// The number of its text, or [`NONE`].
    pub(super) text: u32,
}

impl Symbol {
    /// The bytes of the text that it covers.
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The room that joining needs; kept from word to word.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

/// Two neighbours that can be joined.
#[derive(PartialEq, Eq)]
struct Pair {
    rank: u32,
    left: u32,
    right: u32,
    /// Bytes of both; another number means that one of them was joined meanwhile.
    len: u32,
    text: u32,
}

impl Ord for Pair {
    /// The greatest has the lowest rank, and among equals it is the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.rank, other.left).cmp(&(self.rank, self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Merger {
    /// Starts a new text.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.pairs.clear();
    }

    /// Adds the next symbol of the text, `len` bytes long.
    pub(super) fn push(&mut self, len: u32, text: u32) {
        let number = self.symbols.len() as u32;
        let start = self.symbols.last().map_or(0, |last| last.end);
        if let Some(last) = self.symbols.last_mut() {
            last.after = number;
        }
        let before = number.checked_sub(1).unwrap_or(NONE);
        self.symbols.push(Symbol { start, end: start + len, before, after: NONE, text });
    }

    /// Joins as long as `join` gives a rank (the lowest goes first) and the number of the joined text.
    pub(super) fn run(&mut self, mut join: impl FnMut(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let mut pairs = std::mem::take(&mut self.pairs).into_vec();
        for right in 1..self.symbols.len() as u32 {
            pairs.extend(self.pair(right - 1, right, &mut join));
        }
        self.pairs = pairs.into();
        while let Some(pair) = self.pairs.pop() {
            let (left, right) = (pair.left as usize, pair.right as usize);
            let (start, middle) = (self.symbols[left].start, self.symbols[left].end);
            let end = self.symbols[right].end;
            let empty = start == middle || self.symbols[right].start == end;
            if empty || self.symbols[right].start != middle || end - start != pair.len {
                continue;
            }
            let after = self.symbols[right].after;
            let joined = &mut self.symbols[left];
            (joined.end, joined.after, joined.text) = (end, after, pair.text);
            let before = joined.before;
            let gone = &mut self.symbols[right];
            gone.start = gone.end;
            if after != NONE {
                self.symbols[after as usize].before = pair.left;
            }
            for (left, right) in [(before, pair.left), (pair.left, after)] {
                let pair = self.pair(left, right, &mut join);
                self.pairs.extend(pair);
            }
        }
    }

    /// What is left, in the order of the text.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.start != symbol.end)
    }

    fn pair(
        &self,
        left: u32,
        right: u32,
        join: &mut impl FnMut(&Symbol, &Symbol) -> Option<(u32, u32)>,
    ) -> Option<Pair> {
        let (first, second) = (self.symbols.get(left as usize)?, self.symbols.get(right as usize)?);
        let (rank, text) = join(first, second)?;
        Some(Pair { rank, left, right, len: second.end - first.start, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins equal neighbours of equal length, short ones first.
    fn halves(text: &str) -> Vec<Range<usize>> {
        let mut merger = Merger::default();
        for c in text.bytes() {
            merger.push(1, c.into());
        }
        merger.run(|a, b| {
            let (m, n) = (a.range().len() as u32, b.range().len() as u32);
            (a.text == b.text && m == n).then_some((m, a.text))
        });
        merger.symbols().map(Symbol::range).collect()
    }

    #[test]
    fn lower_ranks_go_first_and_the_leftmost_among_equals() {
        assert_eq!(halves("aaaaa"), [0..4, 4..5]);
        assert_eq!(halves("aaabb"), [0..2, 2..3, 3..5]);
        assert_eq!(halves("abab"), [0..1, 1..2, 2..3, 3..4]);
        assert!(halves("").is_empty());
    }

    #[test]
    fn a_long_run_does_not_take_quadratic_time() {
        let whole = halves(&"a".repeat(1 << 20));
        assert_eq!((whole.len(), whole[0].clone()), (1, 0..1 << 20));
    }
}
