//! From logits to a token: the largest, or one drawn after a chain of processors.
//!
//! A sampler sees a text after a step and never runs one. [`SamplerOptions`] says what people say, and makes a [`Chain`] of it;
//! whoever wants another order, or a processor of their own, puts a chain together.
//! Next rooms: `chain`; `cut` and `change` for the processors, `dry` for the long one, `grammar` for texts in a given form, `gbnf` for one notation of it; `drawn` for what the device may do.

mod candidates;
mod chain;
mod change;
mod cut;
mod drawn;
mod dry;
#[cfg(feature = "schema")]
mod gbnf;
#[cfg(feature = "schema")]
mod grammar;
mod options;
#[cfg(test)]
mod tests;

#[doc(inline)]
pub use forebay_tensor::ops::{Draw, Random};

use super::text::Text;
use crate::error::Result;

pub use candidates::{Candidate, Candidates};
pub use chain::Chain;
pub use change::{LogitBias, Penalties, Temperature};
pub use cut::{MinP, TopK, TopNSigma, TopP, Typical, Xtc};
pub use drawn::Drawn;
pub use dry::Dry;
#[cfg(feature = "schema")]
pub use grammar::Grammar;
pub use options::{DryOptions, SamplerOptions, XtcOptions};

/// Chooses the next token.
///
/// ```
/// use forebay::{Result, generate::{sampler::Sampler, text::Text}};
///
/// /// Never chooses token 0.
/// struct WithoutFirst;
///
/// impl Sampler for WithoutFirst {
///     fn pick(&mut self, text: &dyn Text) -> Result<u32> {
///         let logits = text.logits()?;
///         let best = (1..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
///         Ok(best.unwrap_or_default() as u32)
///     }
/// }
/// ```
pub trait Sampler: Send {
    /// The token that follows.
    ///
    /// # Errors
    /// Those of reading logits, and [`Error::NoToken`](crate::Error::NoToken) if none can follow.
    fn pick(&mut self, text: &dyn Text) -> Result<u32>;

    /// Whether it never chooses anything but what [`Text::greedy`] gives, and looks at nothing else. The device may then run
    /// ahead of it.
    fn takes_largest(&self) -> bool {
        false
    }

    /// How many of the largest logits it looks at, if it looks at no others. The device may then find them
    /// ([`Sequence::set_shortlist`](super::step::Sequence::set_shortlist)), and bring only those to the host.
    fn looks_at(&self) -> Option<usize> {
        None
    }

    /// How it draws from the largest logits, if it looks at nothing else. The device may then draw in its place
    /// ([`Sequence::set_draw`](super::step::Sequence::set_draw)) and run ahead of it; [`Text::drawn`] is what it drew.
    fn draws(&self) -> Option<Draw> {
        None
    }
}

impl<S: Sampler + ?Sized> Sampler for &mut S {
    fn pick(&mut self, text: &dyn Text) -> Result<u32> {
        (**self).pick(text)
    }

    fn takes_largest(&self) -> bool {
        (**self).takes_largest()
    }

    fn looks_at(&self) -> Option<usize> {
        (**self).looks_at()
    }

    fn draws(&self) -> Option<Draw> {
        (**self).draws()
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn pick(&mut self, text: &dyn Text) -> Result<u32> {
        (**self).pick(text)
    }

    fn takes_largest(&self) -> bool {
        (**self).takes_largest()
    }

    fn looks_at(&self) -> Option<usize> {
        (**self).looks_at()
    }

    fn draws(&self) -> Option<Draw> {
        (**self).draws()
    }
}

/// Chooses the largest logit, found on the device: of equal ones the lowest id, and never what is not a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greedy;

impl Sampler for Greedy {
    fn pick(&mut self, text: &dyn Text) -> Result<u32> {
        text.greedy()
    }

    fn takes_largest(&self) -> bool {
        true
    }
}

/// Changes what may follow, before a token is drawn: one link of a [`Chain`].
///
/// ```
/// use forebay::{Result, generate::sampler::{Candidates, Chain, LogitsProcessor, Step}};
///
/// /// Keeps the text from saying the same token twice in a row.
/// struct NoStutter;
///
/// impl LogitsProcessor for NoStutter {
///     fn apply(&mut self, candidates: &mut Candidates, step: &Step<'_>) -> Result<()> {
///         if let Some(&last) = step.past.last() {
///             candidates.change(last, |_| f32::NEG_INFINITY);
///         }
///         Ok(())
///     }
/// }
///
/// let mut chain = Chain::new(1).with(NoStutter);
/// assert_eq!(chain.choose(&[0.0, 90.0], &[1])?, 0);
/// # Ok::<(), forebay::Error>(())
/// ```
pub trait LogitsProcessor: Send {
    /// Changes the logits of candidates, or leaves some out.
    ///
    /// # Errors
    /// Whatever keeps it from saying what may follow.
    fn apply(&mut self, candidates: &mut Candidates, step: &Step<'_>) -> Result<()>;

    /// How many of the largest candidates it looks at, if it leaves all others out.
    fn looks_at(&self) -> Option<usize> {
        None
    }
}

/// What a processor knows beside the candidates.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The text so far, the prompt included.
    pub past: &'a [u32],
    random: Random,
}

impl<'a> Step<'a> {
    /// The draw that chooses the token.
    const TOKEN: u32 = 0;
    /// The draw that decides whether the likeliest are left out.
    const XTC: u32 = 1;
    /// Draws from here on are free for processors of one's own.
    pub const FREE: u32 = 16;

    /// The step after this text, with the random numbers of a seed.
    pub fn new(past: &'a [u32], seed: u64) -> Self {
        Self { past, random: Random::new(seed) }
    }

    /// A random number from 0 on and below 1, the same whenever it is asked for after a text of this length: use a `draw` of
    /// [`FREE`](Self::FREE) and above for each thing that is decided.
    pub fn random(&self, draw: u32) -> f64 {
        self.random.uniform(self.past.len() as u64, draw)
    }
}
