//! The largest logits of a step, found on the device: all that some samplers look at, and little to bring to the host.
//!
//! Larger logits come first, of equal ones the lower id, as candidates of samplers do. Next room: `replay`.

use forebay_device::Read;
use forebay_tensor::{DType, Recorder, Tensor, ops::TopK};

use super::seen::Seen;
use crate::error::Result;

/// So many of the largest logits.
#[derive(Debug)]
pub(super) struct Shortlist {
    ids: Tensor,
    logits: Tensor,
}

impl Shortlist {
    pub(super) fn new(seen: &Seen, count: usize) -> Result<Self> {
        let list = |dtype| seen.tensor(dtype, &[1, count], "shortlist");
        Ok(Self { ids: list(DType::U32)?, logits: list(DType::F32)? })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.elements()
    }

    /// Records the search among the logits of one token, `[1, vocabulary]`.
    pub(super) fn record(&self, ops: &mut Recorder<'_, '_>, logits: &Tensor) -> Result<()> {
        Ok(ops.record(&TopK { x: logits, values: &self.logits, ids: &self.ids })?)
    }

    /// The tokens and their logits.
    pub(super) fn read(&self) -> Result<(Read<'_, u32>, Read<'_, f32>)> {
        Ok((self.ids.read()?, self.logits.read()?))
    }
}
