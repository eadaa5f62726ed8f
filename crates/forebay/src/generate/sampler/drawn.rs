//! A draw from the largest logits, made by the device where that is apart from the host, and by the host in the same way elsewhere.
//!
//! It is the chain of top-k, top-p, min-p and temperature, reckoned as [`Draw`] says. What looks at more, or at the text, is a
//! [`Chain`](super::Chain).

use forebay_tensor::ops::Draw;

use super::{Candidates, Sampler};
use crate::{
    error::{Error, Result},
    generate::text::Text,
};

/// Draws the next token from the largest logits.
///
/// The token is a function of logits, length of the text and seed, and the same on every device that gives the same logits.
#[derive(Clone, Debug)]
pub struct Drawn {
    how: Draw,
    candidates: Candidates,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

impl Drawn {
    /// Draws of this kind; at least one candidate is kept.
    pub fn new(how: Draw) -> Self {
        let how = Draw { keep: how.keep.max(1), ..how };
        Self { how, candidates: Candidates::default(), ids: Vec::new(), logits: Vec::new() }
    }

    /// The token that follows a text of this length, of its logits.
    ///
    /// # Errors
    /// [`Error::NoToken`] if nothing can follow.
    pub fn choose(&mut self, logits: &[f32], length: usize) -> Result<u32> {
        self.candidates.fill(logits);
        self.draw(length)
    }

    fn draw(&mut self, length: usize) -> Result<u32> {
        let Self { how, candidates, ids, logits } = self;
        let kept = candidates.largest(how.keep as usize);
        ids.clear();
        ids.extend(kept.iter().map(|candidate| candidate.id));
        logits.clear();
        logits.extend(kept.iter().map(|candidate| candidate.logit));
        how.choose(logits, length as u64).map(|place| ids[place]).ok_or(Error::NoToken)
    }
}

impl Sampler for Drawn {
    fn pick(&mut self, text: &dyn Text) -> Result<u32> {
        match text.drawn(&self.how)? {
            Some(Draw::NONE) => return Err(Error::NoToken),
            Some(id) => return Ok(id),
            None => {}
        }
        let listed = |count: usize| self.how.keep as usize <= count;
        match text.shortlist()? {
            Some((ids, logits)) if listed(ids.len()) => self.candidates.fill_with_largest(&ids, &logits),
            _ => self.candidates.fill(&text.read_logits()?),
        }
        self.draw(text.tokens().len())
    }

    fn looks_at(&self) -> Option<usize> {
        Some(self.how.keep as usize)
    }

    fn draws(&self) -> Option<Draw> {
        Some(self.how)
    }
}
