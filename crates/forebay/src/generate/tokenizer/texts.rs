//! Byte strings by number and numbers by byte string: the table under every vocabulary.
//!
//! It keeps all strings in one piece of memory. A string that comes twice keeps both numbers, and the later
//! one is found. Its numbers are `u32`; whoever fills it sees to it that they suffice.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Byte strings, numbered from 0 in the order they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Whether a string came more than once.
    repeats: bool,
}

impl Texts {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, number: u32) -> Option<&[u8]> {
        text(&self.bytes, &self.ends, number)
    }

    /// The number of this string, the latest where it came more than once.
    pub(super) fn find(&self, wanted: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(wanted);
        self.numbers.find(hash, |n| self.get(*n) == Some(wanted)).copied()
    }

    /// Whether a number is the one that would be found for this string.
    ///
    /// Quicker than finding it, and always no where strings came more than once.
    pub(super) fn is(&self, number: u32, wanted: &[u8]) -> bool {
        !self.repeats && self.get(number) == Some(wanted)
    }

    /// Makes room for so many more strings.
    pub(super) fn reserve(&mut self, count: usize) {
        let Self { bytes, ends, numbers, hasher, .. } = self;
        ends.reserve(count);
        numbers.reserve(count, |n| hasher.hash_one(text(bytes, ends, *n).unwrap_or_default()));
    }

    /// Adds a string under the next number.
    pub(super) fn push(&mut self, added: &[u8]) -> u32 {
        let number = self.ends.len() as u32;
        self.bytes.extend_from_slice(added);
        self.ends.push(self.bytes.len());
        let Self { bytes, ends, numbers, hasher, repeats } = self;
        let entry = numbers.entry(
            hasher.hash_one(added),
            |n| text(bytes, ends, *n) == Some(added),
            |n| hasher.hash_one(text(bytes, ends, *n).unwrap_or_default()),
        );
        let entry = entry.and_modify(|n| {
            *n = number;
            *repeats = true;
        });
        entry.or_insert(number);
        number
    }

    /// The number of this string, which is added where it is missing.
    pub(super) fn intern(&mut self, wanted: &[u8]) -> u32 {
        self.find(wanted).unwrap_or_else(|| self.push(wanted))
    }
}

fn text<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> Option<&'a [u8]> {
    let number = number as usize;
    let end = *ends.get(number)?;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    bytes.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_is_found_and_both_stay() {
        let mut texts = Texts::default();
        let numbers: Vec<u32> = ["a", "", "ab", "a"].iter().map(|t| texts.push(t.as_bytes())).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(texts.find(b"a"), Some(3));
        assert_eq!(texts.find(b""), Some(1));
        assert_eq!(texts.find(b"b"), None);
        assert_eq!(texts.get(0), Some(&b"a"[..]));
        assert_eq!(texts.get(4), None);
        assert_eq!(texts.intern(b"ab"), 2);
        assert_eq!(texts.intern(b"c"), 4);
        assert_eq!(texts.len(), 5);
    }
}
