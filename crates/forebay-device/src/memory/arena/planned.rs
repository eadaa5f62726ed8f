//! An epoch that a plan serves: whether each request is the one expected, and whether what lies beneath is gone.
//!
//! Here for leases that are handed out; for the buffers of a scope, beside them in `scope`.

use super::{
    super::{lease::Handle, options::Request, pool::Pool},
    chunk::Chunk,
    plan::Plan,
};
use crate::{error::Result, label::Label};

/// An epoch served from a plan.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) chunk: Chunk,
    /// A lease for each step; none for a scope.
    pub(super) leases: Vec<Handle>,
    pub(super) scoped: bool,
    pub(super) next: usize,
    pub(super) broken: bool,
}

impl Planned {
    /// With a lease for each step and these labels, or for a scope.
    pub(super) fn new(pool: &Pool, plan: Plan, labels: Option<&[Handle]>) -> Result<Self> {
        let chunk = Chunk::take(pool, plan.bytes, 0)?;
        let mut leases = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let Some(labels) = labels else { break };
            if index == leases.len() {
                pool.shared.spare_leases(&mut leases);
            }
            let label = labels.get(index).map_or_else(Label::default, |lease| lease.facts().label.clone());
            chunk.cut(&mut leases[index], step.offset, step.bytes, step.tag, &label);
        }
        Ok(Self { plan, chunk, leases, scoped: labels.is_none(), next: 0, broken: false })
    }

    /// Takes the next step, if it is this request and everything beneath it is gone.
    #[inline]
    pub(super) fn advance(&mut self, request: &Request) -> bool {
        let Some(step) = self.plan.steps.get(self.next) else { return false };
        if (step.bytes, step.tag) != (request.bytes, request.tag) || self.scoped {
            return false;
        }
        let mut stamped = !self.chunk.uses.is_empty();
        for &below in self.plan.beneath(step) {
            match self.leases[below as usize].sole() {
                Some(mut gone) => stamped |= !gone.uses().is_empty(),
                None => return false,
            }
        }
        if stamped {
            self.order();
        }
        if let Some(mut next) = self.leases[self.next].sole() {
            next.facts().label.clone_from(&request.label);
        }
        self.next += 1;
        true
    }

    /// Orders the next step after whatever work still uses the bytes that it takes over.
    #[cold]
    fn order(&mut self) {
        let step = &self.plan.steps[self.next];
        let (earlier, rest) = self.leases.split_at_mut(self.next);
        if let Some(mut sole) = rest.first_mut().and_then(Handle::sole) {
            sole.uses().inherit(&self.chunk.uses);
            for &below in self.plan.beneath(step) {
                if let Some(mut below) = earlier[below as usize].sole() {
                    sole.uses().inherit(below.uses());
                }
            }
        }
    }
}
