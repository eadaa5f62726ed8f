//! A chain: processors in their order, then a draw.
//!
//! It keeps what it works on from one token to the next, so that a step allocates nothing.

use super::{Candidates, LogitsProcessor, Sampler, Step, candidates::share};
use crate::{
    error::{Error, Result},
    generate::text::Text,
};

/// Draws the next token from what processors leave of the logits, each as likely as its share of `e^logit`.
///
/// The token is a function of logits, text and seed, and of nothing else.
///
/// ```
/// use forebay::generate::sampler::{Chain, Temperature, TopK};
///
/// let mut chain = Chain::new(42).with(TopK(2)).with(Temperature(0.5));
/// let token = chain.choose(&[1.0, 3.0, 2.5], &[])?;
/// assert!(token == 1 || token == 2);
/// assert_eq!(chain.chances(&[1.0, 3.0, 2.5], &[])?.len(), 2);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Default)]
pub struct Chain {
    processors: Vec<Box<dyn LogitsProcessor>>,
    candidates: Candidates,
    seed: u64,
}

impl Chain {
    /// A chain without processors.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Adds a processor behind those that are there.
    #[must_use]
    pub fn with(mut self, processor: impl LogitsProcessor + 'static) -> Self {
        self.processors.push(Box::new(processor));
        self
    }

    /// The token that follows this text, of its logits.
    ///
    /// # Errors
    /// Those of processors, and [`Error::NoToken`] if nothing can follow.
    pub fn choose(&mut self, logits: &[f32], past: &[u32]) -> Result<u32> {
        self.candidates.fill(logits);
        self.draw(past)
    }

    /// The tokens that may follow and their probabilities, the likeliest first.
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn chances(&mut self, logits: &[f32], past: &[u32]) -> Result<Vec<(u32, f64)>> {
        self.candidates.fill(logits);
        self.process(past)?;
        Ok(self.candidates.chances())
    }

    /// Draws from what processors leave of the candidates.
    fn draw(&mut self, past: &[u32]) -> Result<u32> {
        let (most, sum) = self.process(past)?;
        let mut left = Step::new(past, self.seed).random(Step::TOKEN) * sum;
        let (mut at, mut known) = (0, 64);
        let last = self.candidates.len() - 1;
        loop {
            let candidate = self.candidates.largest(known)[at];
            left -= share(candidate.logit, most);
            if left < 0.0 || at == last {
                return Ok(candidate.id);
            }
            at += 1;
            known = known.max((at + 1).next_power_of_two());
        }
    }

    /// Runs the processors, and gives the largest logit that is left and the sum of all shares.
    fn process(&mut self, past: &[u32]) -> Result<(f32, f64)> {
        let step = Step::new(past, self.seed);
        for processor in &mut self.processors {
            processor.apply(&mut self.candidates, &step)?;
            self.candidates.settle();
        }
        self.candidates.mass().ok_or(Error::NoToken)
    }
}

impl Sampler for Chain {
    fn pick(&mut self, text: &dyn Text) -> Result<u32> {
        // A list that is longer than what is looked at has all of that, too.
        let listed = |count: usize| self.looks_at().is_some_and(|looks_at| looks_at <= count);
        match text.shortlist()? {
            Some((ids, logits)) if listed(ids.len()) => self.candidates.fill_with_largest(&ids, &logits),
            _ => self.candidates.fill(&text.read_logits()?),
        }
        self.draw(text.tokens())
    }

    fn looks_at(&self) -> Option<usize> {
        self.processors.first().and_then(|first| first.looks_at())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let processors = self.processors.len();
        f.debug_struct("Chain")
            .field("seed", &self.seed)
            .field("processors", &processors)
            .finish_non_exhaustive()
    }
}
