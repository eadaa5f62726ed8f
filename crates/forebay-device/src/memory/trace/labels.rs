//! Labels are written once and named by number. Number 0 is the empty label.
//!
//! A lane looks in small tables of its own first, by address and then by text, so a label in use costs neither a lock
//! nor an allocation. The list that all lanes share only grows, up to a bound; what comes after that is known by one
//! number, as a label unknown.

use std::collections::HashMap;

use super::record::LABEL_UNKNOWN;
use crate::{
    label::Label,
    sync::{Arc, Mutex, lock},
};

/// The longest label that is kept whole.
pub(super) const LONGEST: usize = 1024;
/// How many different labels a trace tells apart.
const MOST: usize = 1 << 16;
/// Places of each of a lane's own tables.
const PLACES: usize = 512;
/// What stands for all labels beyond the bound.
pub(super) const UNKNOWN_NAME: &str = "(one of too many labels)";

/// The labels of a trace.
#[derive(Debug, Default)]
pub(super) struct Labels {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// All but the empty one, from number 1 on.
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Labels {
    fn number(&self, text: &str) -> u32 {
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        let mut list = lock(&self.list);
        if let Some(&number) = list.numbers.get(text) {
            return number;
        }
        if list.names.len() == MOST {
            return LABEL_UNKNOWN;
        }
        let name: Arc<str> = text.into();
        list.names.push(name.clone());
        let number = list.names.len() as u32;
        list.numbers.insert(name, number);
        number
    }

    /// All names after the first `known`.
    pub(super) fn after(&self, known: usize) -> Vec<Arc<str>> {
        lock(&self.list).names.iter().skip(known).cloned().collect()
    }
}

/// The labels that a lane saw lately. An empty place holds the empty label, which is never looked for.
#[derive(Debug)]
pub(super) struct Recent {
    by_address: Box<[(Label, u32)]>,
    by_text: Box<[(Label, u32)]>,
}

impl Default for Recent {
    fn default() -> Self {
        let empty = || vec![(Label::default(), 0); PLACES].into();
        Self { by_address: empty(), by_text: empty() }
    }
}

impl Recent {
    /// The number of a label.
    #[inline]
    pub(super) fn number(&mut self, label: &Label, labels: &Labels) -> u32 {
        let text = label.as_str();
        if text.is_empty() {
            return 0;
        }
        let address = text.as_ptr() as usize;
        let place = &mut self.by_address[(address ^ address >> 9) % PLACES];
        // The place holds the label, so bytes at its address are its own.
        if place.0.as_str().as_ptr() != text.as_ptr() || place.0.as_str().len() != text.len() {
            *place = (label.clone(), Self::by_text(&mut self.by_text, label, labels));
        }
        place.1
    }

    #[inline(never)]
    fn by_text(places: &mut [(Label, u32)], label: &Label, labels: &Labels) -> u32 {
        let text = label.as_str();
        let place = &mut places[place_of(text)];
        if place.0.as_str() != text {
            *place = (label.clone(), labels.number(text));
        }
        place.1
    }
}

fn place_of(text: &str) -> usize {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |sum: u64, word: &[u8; 8]| {
        (sum.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    };
    let sum = mix(words.iter().fold(text.len() as u64, mix), &last);
    (sum >> 32) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_one_number_whoever_holds_them() {
        let (labels, mut one, mut two) = (Labels::default(), Recent::default(), Recent::default());
        assert_eq!(one.number(&"".into(), &labels), 0);
        let first = one.number(&"blk.0.attn".into(), &labels);
        assert_eq!(first, 1);
        for n in 0..5000 {
            let label = Label::from(format!("blk.{n}.attn"));
            let number = one.number(&label, &labels);
            assert_eq!(number, n + 1);
            assert_eq!(one.number(&label, &labels), number);
            assert_eq!(two.number(&Label::from(format!("blk.{n}.attn")), &labels), number);
        }
        assert_eq!(two.number(&"blk.0.attn".into(), &labels), first, "also after others took its place");
        assert_eq!(labels.after(4998), ["blk.4998.attn".into(), Arc::<str>::from("blk.4999.attn")]);
    }

    #[test]
    fn there_is_a_bound_to_their_length_and_number() {
        let (labels, mut recent) = (Labels::default(), Recent::default());
        let long = format!("{}ä", "x".repeat(LONGEST - 1));
        let number = recent.number(&long.clone().into(), &labels);
        assert_eq!(&*labels.after(0)[number as usize - 1], &long[..LONGEST - 1], "cut between characters");
        for n in 0..MOST {
            recent.number(&n.to_string().into(), &labels);
        }
        assert_eq!(recent.number(&"one more".into(), &labels), LABEL_UNKNOWN);
        assert_eq!(labels.after(0).len(), MOST);
        assert_ne!(recent.number(&"17".into(), &labels), LABEL_UNKNOWN, "known ones keep theirs");
    }
}
