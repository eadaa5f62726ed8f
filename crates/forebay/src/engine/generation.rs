//! A generation: the loop that asks for a token, gives out its text and takes it in.
//!
//! The token that was given out last is not in the sequence yet; it is taken in when another one is asked for.

use std::{
    ops::{ControlFlow, Deref, DerefMut},
    time::{Duration, Instant},
};

use super::{Engine, outlet::Outlet};
use crate::{
    error::Result,
    generate::{
        sampler::Sampler,
        step::Sequence,
        stop::{Stop, StopRule},
    },
};

/// A token as it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The token; none for the rest of a text that was held back.
    pub token: Option<u32>,
    /// The text that is certain now; it may be empty.
    pub text: String,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them were in the sequence before.
    pub reused_tokens: usize,
    /// Time for the others, up to the logits of the last one.
    pub prompt: Duration,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Time for them.
    pub generated: Duration,
    /// How many of them the device went on with before the host knew them.
    pub ahead_tokens: usize,
}

/// Tokens as they are generated: an iterator that ends when a rule says so.
pub struct Generation<'a> {
    outlet: Outlet<'a>,
    sequence: Held<'a>,
    sampler: Box<dyn Sampler + 'a>,
    /// Whether the device chooses as the sampler does, and may run ahead of it.
    ahead: bool,
    /// The token that was given out and not yet taken in.
    next: Option<u32>,
    timings: Timings,
}

/// A sequence, whoever owns it.
pub(super) enum Held<'a> {
    Own(Box<Sequence>),
    Lent(&'a mut Sequence),
}

impl Deref for Held<'_> {
    type Target = Sequence;

    fn deref(&self) -> &Sequence {
        match self {
            Self::Own(sequence) => sequence,
            Self::Lent(sequence) => sequence,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Sequence {
        match self {
            Self::Own(sequence) => sequence,
            Self::Lent(sequence) => sequence,
        }
    }
}

impl<'a> Generation<'a> {
    /// Takes the prompt in.
    pub(super) fn begin(
        engine: &'a Engine,
        mut sequence: Held<'a>,
        prompt: &[u32],
        rule: StopRule,
        sampler: Box<dyn Sampler + 'a>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let begun = Instant::now();
        let cancel = rule.cancel.clone();
        let draws = sequence.set_draw(sampler.draws())?;
        sequence.set_shortlist(sampler.looks_at().filter(|_| !draws))?;
        let reused_tokens = sequence.become_text(prompt, |done| {
            progress(done);
            match cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        sequence.wait()?;
        let whole = sequence.len() == prompt.len();
        let timings = Timings {
            prompt_tokens: prompt.len(),
            reused_tokens,
            prompt: begun.elapsed(),
            ..Timings::default()
        };
        let mut outlet = Outlet::new(engine, prompt, rule);
        outlet.stop = (!whole).then_some(Stop::Cancelled);
        let ahead = draws || sampler.takes_largest();
        Ok(Self { outlet, sequence, sampler, ahead, next: None, timings })
    }

    /// Why it ended; none while it goes on.
    pub fn stop(&self) -> Option<Stop> {
        self.outlet.stop
    }

    /// How long things took so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// The sequence, as far as it has come.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Keeps a way back to here, as [`Sequence::checkpoint`] does.
    ///
    /// # Errors
    /// What the device says.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.sequence.checkpoint()
    }

    fn advance(&mut self) -> Result<Option<Piece>> {
        let begun = Instant::now();
        let left = self.sequence.context() - self.sequence.len() + usize::from(self.next.is_none());
        if self.outlet.goes_on(left) {
            if let Some(token) = self.next.take() {
                self.sequence.feed(&[token])?;
            }
            if self.ahead && self.outlet.would_go_on(left) && self.sequence.run_ahead()? {
                self.timings.ahead_tokens += 1;
            }
            let token = self.sampler.pick(&*self.sequence)?;
            if let Some(piece) = self.outlet.give(token)? {
                self.next = Some(token);
                self.timings.generated_tokens += 1;
                self.timings.generated += begun.elapsed();
                return Ok(Some(piece));
            }
        }
        Ok(self.outlet.rest())
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.outlet.stop.is_some() {
            return None;
        }
        let piece = self.advance();
        if piece.is_err() {
            // Nothing can be trusted after an error, so nothing follows it.
            self.outlet.stop = Some(Stop::Failure);
        }
        piece.transpose()
    }
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("sequence", &*self.sequence)
            .field("stop", &self.outlet.stop)
            .finish_non_exhaustive()
    }
}
