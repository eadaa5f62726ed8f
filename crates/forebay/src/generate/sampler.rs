//! From logits to a token. So far the largest one; every other way of choosing belongs here.
//!
//! A sampler sees a sequence after a step and never runs one.

use super::step::Sequence;
use crate::error::Result;

/// Chooses the next token.
///
/// ```
/// use forebay::{Result, generate::{sampler::Sampler, step::Sequence}};
///
/// /// Never chooses token 0.
/// struct WithoutFirst;
///
/// impl Sampler for WithoutFirst {
///     fn pick(&mut self, sequence: &Sequence) -> Result<u32> {
///         let logits = sequence.logits()?;
///         let best = (1..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
///         Ok(best.unwrap_or_default() as u32)
///     }
/// }
/// ```
pub trait Sampler: Send {
    /// The token that follows.
    ///
    /// # Errors
    /// Those of reading logits.
    fn pick(&mut self, sequence: &Sequence) -> Result<u32>;
}

/// Chooses the largest logit, found on the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greedy;

impl Sampler for Greedy {
    fn pick(&mut self, sequence: &Sequence) -> Result<u32> {
        sequence.greedy()
    }
}
