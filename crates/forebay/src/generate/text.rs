//! A text after a step, as samplers see it: its tokens, and what follows the last one.
//!
//! Nothing here runs a model. Next rooms: [`step`](super::step) for one text, [`batch`](super::batch) for several at once.

use forebay_device::Read;
use forebay_tensor::ops::Draw;

use crate::error::Result;

/// A text on a model: what a sampler chooses the next token by.
pub trait Text {
    /// The tokens so far.
    fn tokens(&self) -> &[u32];

    /// The token of the largest logit, found on the device.
    ///
    /// # Errors
    /// [`Error::NoLogits`](crate::Error::NoLogits) where there are none, and those of the device.
    fn greedy(&self) -> Result<u32>;

    /// The logits of the last token, where they lie.
    ///
    /// # Errors
    /// As [`greedy`](Self::greedy), and where only the largest one is known.
    fn read_logits(&self) -> Result<Read<'_, f32>>;

    /// The largest logits and whose they are, the largest first and of equal ones the lower id; none where no such list is made.
    ///
    /// # Errors
    /// As [`read_logits`](Self::read_logits).
    fn shortlist(&self) -> Result<Option<(Read<'_, u32>, Read<'_, f32>)>>;

    /// What the device drew in this way, or [`Draw::NONE`] if nothing could be drawn; none where it does not draw, or in another way.
    ///
    /// # Errors
    /// As [`greedy`](Self::greedy).
    fn drawn(&self, how: &Draw) -> Result<Option<u32>> {
        let _ = how;
        Ok(None)
    }

    /// The logits of the last token.
    ///
    /// # Errors
    /// As [`read_logits`](Self::read_logits).
    fn logits(&self) -> Result<Vec<f32>> {
        Ok(self.read_logits()?.to_vec())
    }
}
