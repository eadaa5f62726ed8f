//! DRY, "don't repeat yourself": a penalty for the token that would continue a repetition, the larger the longer it is.
//!
//! A repetition is an earlier place where the same tokens stand as at the end of the text. How long it is comes, for all places
//! at once, from the Z function of the text read backwards, in time that grows with its length only.

use super::{Candidates, LogitsProcessor, Step, change::last};
use crate::error::Result;

/// Makes tokens less likely that would continue a repetition: by `multiplier * base ^ (length - allowed)`.
#[derive(Clone, Debug)]
pub struct Dry {
    /// How strong it is; 0 not at all.
    pub multiplier: f32,
    /// By how much it grows with each token of the repetition.
    pub base: f32,
    /// Repetitions shorter than this are let be.
    pub allowed: usize,
    /// How many tokens back it looks.
    pub window: usize,
    /// Tokens that end a repetition, ascending; they are never made less likely.
    breakers: Vec<u32>,
    /// The text, the newest token first.
    backwards: Vec<u32>,
    /// How many tokens from there on are those that the text begins with, backwards.
    same: Vec<u32>,
    /// Tokens that would continue, each with the length of its repetition.
    found: Vec<(u32, u32)>,
}

impl Dry {
    /// A penalty for repetitions, which these tokens end.
    pub fn new(multiplier: f32, base: f32, allowed: usize, window: usize, mut breakers: Vec<u32>) -> Self {
        breakers.sort_unstable();
        let (backwards, same, found) = Default::default();
        Self { multiplier, base, allowed: allowed.max(1), window, breakers, backwards, same, found }
    }

    fn breaks(&self, id: u32) -> bool {
        self.breakers.binary_search(&id).is_ok()
    }

    /// Fills `found` from the past, the longest repetition of each token last among its own.
    fn find(&mut self, past: &[u32]) {
        self.found.clear();
        self.backwards.clear();
        self.backwards.extend(last(past, self.window).iter().rev());
        let limit = self.backwards.iter().position(|&id| self.breaks(id)).unwrap_or(self.backwards.len());
        if limit < self.allowed {
            return;
        }
        same_as_begin(&self.backwards, &mut self.same);
        for (place, &length) in self.same.iter().enumerate().skip(1) {
            let (length, next) = ((length as usize).min(limit), self.backwards[place - 1]);
            if length >= self.allowed && !self.breaks(next) {
                self.found.push((next, length as u32));
            }
        }
        self.found.sort_unstable();
    }
}

/// The Z function: for each place, how many elements from there on are those of the beginning.
fn same_as_begin(list: &[u32], same: &mut Vec<u32>) {
    same.clear();
    same.resize(list.len(), 0);
    let (mut from, mut to) = (0, 0);
    for place in 1..list.len() {
        let mut length = if place < to { (same[place - from] as usize).min(to - place) } else { 0 };
        while place + length < list.len() && list[length] == list[place + length] {
            length += 1;
        }
        if place + length > to {
            (from, to) = (place, place + length);
        }
        same[place] = length as u32;
    }
}

impl LogitsProcessor for Dry {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step<'_>) -> Result<()> {
        if self.multiplier <= 0.0 {
            return Ok(());
        }
        self.find(step.past);
        for of_token in self.found.chunk_by(|a, b| a.0 == b.0) {
            let (id, length) = of_token[of_token.len() - 1];
            let power = (length as usize - self.allowed) as f32;
            // A logit may become as small as there are numbers, and the token stays possible.
            let penalty = self.multiplier * self.base.powf(power);
            candidates.change(id, |logit| (logit - penalty).max(f32::MIN));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found, token by token with its longest repetition.
    fn found(past: &[u32], allowed: usize, window: usize, breakers: &[u32]) -> Vec<(u32, u32)> {
        let mut dry = Dry::new(1.0, 2.0, allowed, window, breakers.to_vec());
        dry.find(past);
        dry.found.chunk_by(|a, b| a.0 == b.0).map(|same| same[same.len() - 1]).collect()
    }

    #[test]
    fn the_longest_repetition_of_each_token_counts() {
        // The text ends in 1 2 3. After "1 2 3" came 4, after "9 2 3" came 5, after "3" alone 6.
        let past = [1, 2, 3, 4, 9, 2, 3, 5, 3, 6, 1, 2, 3];
        assert_eq!(found(&past, 1, 99, &[]), [(4, 3), (5, 2), (6, 1)]);
        assert_eq!(found(&past, 3, 99, &[]), [(4, 3)]);
        assert_eq!(found(&past, 1, 8, &[]), [(5, 2), (6, 1)]);
        assert_eq!(found(&past, 1, 7, &[]), [(5, 1), (6, 1)]);
        // What ends a repetition bounds its length and is no continuation of one.
        assert_eq!(found(&past, 1, 99, &[1, 6]), [(4, 2), (5, 2)]);
        assert_eq!(found(&past, 1, 99, &[3]), []);
        assert_eq!(found(&[7; 6], 2, 99, &[]), [(7, 5)]);
    }

    #[test]
    fn the_z_function_agrees_with_its_definition() {
        let mut seed = 1u32;
        for round in 0..50usize {
            let list: Vec<u32> = (0..round)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed >> 30
                })
                .collect();
            let mut same = Vec::new();
            same_as_begin(&list, &mut same);
            for place in 1..list.len() {
                let pairs = list.iter().zip(&list[place..]);
                assert_eq!(same[place] as usize, pairs.take_while(|(a, b)| a == b).count(), "{list:?}");
            }
        }
    }

    #[test]
    fn the_penalty_grows_with_the_length() {
        let mut candidates = Candidates::default();
        candidates.fill(&[0.0; 8]);
        let step = Step::new(&[1, 2, 3, 4, 5, 3, 6, 1, 2, 3], 0);
        Dry::new(0.5, 3.0, 1, 99, Vec::new()).apply(&mut candidates, &step).unwrap();
        let logits: Vec<f32> = candidates.as_slice().iter().map(|candidate| candidate.logit).collect();
        assert_eq!(logits, [0.0, 0.0, 0.0, 0.0, -4.5, 0.0, -0.5, 0.0]);
        // However long a repetition is, its token stays possible.
        let step = Step::new(&[1; 300], 0);
        Dry::new(1.0, 3.0, 1, 999, Vec::new()).apply(&mut candidates, &step).unwrap();
        candidates.settle();
        assert_eq!(candidates.len(), 8);
    }
}
