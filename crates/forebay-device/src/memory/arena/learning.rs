//! What an arena observes while no plan serves it: sizes, and how long each buffer was there.

use super::{super::options::Request, plan::Observed};

/// Looks at live buffers that an epoch may spend on learning lifetimes. What is not seen to go is taken to stay.
const LOOKS: u32 = 200_000;

#[derive(Debug)]
pub(super) struct Learning {
    observed: Vec<Observed>,
    /// Buffers of this epoch that were there when last looked at.
    live: Vec<u32>,
    budget: u32,
    /// The last epoch.
    before: Vec<Observed>,
    /// Epochs to sit out after a plan that did not hold, and how many to sit out after the next.
    pause: u32,
    patience: u32,
}

impl Default for Learning {
    fn default() -> Self {
        let (observed, live, before) = (Vec::new(), Vec::new(), Vec::new());
        Self { observed, live, before, budget: LOOKS, pause: 0, patience: 1 }
    }
}

impl Learning {
    /// Whether this epoch is sat out.
    #[inline]
    pub(super) fn pauses(&self) -> bool {
        self.pause > 0
    }

    /// Notes a request, and which earlier ones are gone by now.
    pub(super) fn note(&mut self, request: &Request, gone: impl Fn(u32) -> bool) {
        let step = self.observed.len() as u32;
        self.look(gone, step);
        self.live.push(step);
        self.observed.push(Observed { bytes: request.bytes, tag: request.tag, gone_by: u32::MAX });
    }

    fn look(&mut self, gone: impl Fn(u32) -> bool, step: u32) {
        self.budget = self.budget.saturating_sub(self.live.len() as u32);
        if self.budget == 0 {
            return;
        }
        let observed = &mut self.observed;
        self.live.retain(|&earlier| {
            let gone = gone(earlier);
            if gone {
                observed[earlier as usize].gone_by = step;
            }
            !gone
        });
    }

    /// A plan did not hold: some epochs go by before the next one is made.
    pub(super) fn surprised(&mut self) {
        self.before.clear();
        self.pause = self.patience;
        self.patience = (self.patience * 2).min(1024);
    }

    /// Ends an epoch that no plan served all through. Returns what the next one will ask for, if this one asked for
    /// the same as the one before.
    pub(super) fn end(&mut self) -> Option<Vec<Observed>> {
        self.live.clear();
        self.budget = LOOKS;
        let now = std::mem::take(&mut self.observed);
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let same = !now.is_empty()
            && now.len() == self.before.len()
            && now.iter().zip(&self.before).all(|(a, b)| (a.bytes, a.tag) == (b.bytes, b.tag));
        if !same {
            self.before = now;
            return None;
        }
        let later = |(a, b): (&Observed, &Observed)| Observed { gone_by: a.gone_by.max(b.gone_by), ..*a };
        let expected = now.iter().zip(&self.before).map(later).collect();
        self.before = now;
        Some(expected)
    }

    /// Forgets an epoch that a plan served.
    pub(super) fn skip(&mut self) {
        self.live.clear();
        self.observed.clear();
        self.budget = LOOKS;
    }
}
