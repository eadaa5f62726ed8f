//! How a step chooses the token that follows: the largest logit, or one that is drawn from the largest, with a list of those for
//! samplers of the host beside it.
//!
//! What is drawn by lies in memory of the device, so that a recorded step serves any seed. Next rooms: `replay` and
//! [`step`](super), which record it behind a pass.

use forebay_device::{Device, Tag};
use forebay_tensor::{
    DType, Recorder, Tensor,
    ops::{Argmax, Draw, Sample},
};

use super::shortlist::Shortlist;
use crate::error::Result;

/// How tokens are chosen.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Those that the host looks at, if it wants them.
    pub(super) shortlist: Option<Shortlist>,
    /// How one is drawn, if it is not the largest.
    pub(super) drawing: Option<Drawing>,
}

/// A draw on the device.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) how: Draw,
    pub(super) list: Shortlist,
    rule: Tensor,
}

impl Drawing {
    pub(super) fn new(device: &Device, how: Draw) -> Result<Self> {
        let shape = &[1, Draw::WORDS];
        let request = Tensor::request(DType::U32, shape)?.tag(Tag::Activations).label("rule");
        let rule = Tensor::of(DType::U32, shape, device.alloc(request)?)?;
        rule.copy_from(&how.words())?;
        Ok(Self { how, list: Shortlist::inside(device, 1, how.keep as usize)?, rule })
    }

    /// Draws in another way from now on, from a list as long.
    pub(super) fn change(&mut self, how: Draw) -> Result<()> {
        self.rule.copy_from(&how.words())?;
        self.how = how;
        Ok(())
    }
}

impl Choice {
    /// Records the choice of what follows a row of logits whose token is at this position.
    pub(super) fn record(
        &self,
        ops: &mut Recorder<'_, '_>,
        logits: &Tensor,
        position: &Tensor,
        out: &Tensor,
    ) -> Result<()> {
        self.shortlist.as_ref().map_or(Ok(()), |list| list.record(ops, logits))?;
        let Some(Drawing { list, rule, .. }) = &self.drawing else {
            return Ok(ops.record(&Argmax { x: logits, out })?);
        };
        list.record(ops, logits)?;
        let [values, ids] = &list.lists(1)?;
        Ok(ops.record(&Sample { values, ids, positions: position, rules: rule, places: None, out })?)
    }
}
