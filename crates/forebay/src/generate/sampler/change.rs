//! Processors that change logits: bias, penalties for what was said before, and temperature.

use super::{Candidates, LogitsProcessor, Step};
use crate::error::Result;

/// Adds to the logits of some tokens; minus infinity leaves a token out.
#[derive(Clone, Debug)]
pub struct LogitBias(pub Vec<(u32, f32)>);

impl LogitsProcessor for LogitBias {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        for &(id, bias) in &self.0 {
            candidates.change(id, |logit| logit + bias);
        }
        Ok(())
    }
}

/// Divides logits: below 1 the likely become likelier, above 1 all become more alike; 0 keeps the largest alone.
#[derive(Clone, Copy, Debug)]
pub struct Temperature(pub f32);

impl LogitsProcessor for Temperature {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        if self.0 <= 0.0 {
            candidates.keep_largest(1);
        } else if self.0 != 1.0 {
            // Differences to the largest stay finite however small the temperature is.
            let most = candidates.mass().map_or(0.0, |(most, _)| most);
            candidates.change_each(|_, logit| (logit - most) / self.0);
        }
        Ok(())
    }
}

/// Makes tokens less likely that were said lately.
#[derive(Clone, Debug)]
pub struct Penalties {
    /// How many tokens back it looks; 0 not at all.
    pub window: usize,
    /// Divides the logits of what was said, multiplies them where they are negative; 1 changes nothing.
    pub repetition: f32,
    /// Is taken from the logit for each time that the token was said.
    pub frequency: f32,
    /// Is taken from the logit once if the token was said.
    pub presence: f32,
    said: Vec<u32>,
}

impl Penalties {
    /// Penalties over the last so many tokens.
    pub fn new(window: usize, repetition: f32, frequency: f32, presence: f32) -> Self {
        Self { window, repetition, frequency, presence, said: Vec::new() }
    }
}

impl LogitsProcessor for Penalties {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step<'_>) -> Result<()> {
        self.said.clear();
        self.said.extend_from_slice(last(step.past, self.window));
        self.said.sort_unstable();
        for same in self.said.chunk_by(|a, b| a == b) {
            candidates.change(same[0], |logit| {
                let logit = if logit <= 0.0 { logit * self.repetition } else { logit / self.repetition };
                logit - same.len() as f32 * self.frequency - self.presence
            });
        }
        Ok(())
    }
}

/// The last so many tokens.
pub(super) fn last(past: &[u32], window: usize) -> &[u32] {
    &past[past.len() - window.min(past.len())..]
}
