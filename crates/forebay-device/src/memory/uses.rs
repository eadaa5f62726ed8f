//! Which queues use an allocation, and up to which tick: what decides when its bytes may be touched or given away.
//!
//! A use is stamped when a stage that binds the allocation is submitted. One queue fits in place; more spill over.
//! This file compares numbers; who waits is the business of `access`, `retire` and `command`.

use crate::backend::timeline::Timeline;

/// The last ticks at which one queue reads and writes an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) queue: u32,
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Of whoever had the bytes before. It orders what comes next, and its outcome is not this allocation's business.
    pub(crate) before: u64,
}

impl Use {
    pub(crate) fn last(&self) -> u64 {
        self.read.max(self.write).max(self.before)
    }

    /// The tick that has to pass before somebody reads, or changes, the bytes.
    pub(crate) fn blocks(&self, writes: bool) -> u64 {
        if writes { self.last() } else { self.write.max(self.before) }
    }
}

/// The queue of a use that there is not.
const NONE: u32 = u32::MAX;

/// The uses of one allocation that may still be under way, at most one a queue.
#[derive(Debug)]
pub(crate) struct Uses {
    /// Of the queue [`NONE`] if there is no use at all.
    first: Use,
    more: Option<Box<More>>,
}

/// Uses by more queues than one. Boxed: few allocations ever see a second queue.
#[derive(Debug, Default)]
struct More(Vec<Use>);

impl Default for Uses {
    fn default() -> Self {
        Self { first: Use { queue: NONE, read: 0, write: 0, before: 0 }, more: None }
    }
}

impl Uses {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Use> {
        let first = (!self.is_empty()).then_some(&self.first);
        first.into_iter().chain(self.more.iter().flat_map(|more| &more.0))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.queue == NONE
    }

    pub(crate) fn clear(&mut self) {
        self.first.queue = NONE;
        if let Some(more) = &mut self.more {
            more.0.clear();
        }
    }

    /// Notes a use. Ticks of a queue only rise.
    pub(crate) fn stamp(&mut self, queue: u32, tick: u64, reads: bool, writes: bool) {
        let entry = self.entry(queue);
        if reads {
            entry.read = entry.read.max(tick);
        }
        if writes {
            entry.write = entry.write.max(tick);
        }
    }

    fn entry(&mut self, queue: u32) -> &mut Use {
        let unused = Use { queue, read: 0, write: 0, before: 0 };
        if self.is_empty() {
            self.first = unused;
        }
        if self.first.queue == queue {
            return &mut self.first;
        }
        let more = &mut self.more.get_or_insert_default().0;
        let at = more.iter().position(|entry| entry.queue == queue).unwrap_or_else(|| {
            more.push(unused);
            more.len() - 1
        });
        &mut more[at]
    }

    /// Adds the uses of other bytes that were here before: they order what comes next just the same.
    pub(crate) fn inherit(&mut self, other: &Self) {
        for used in other.iter() {
            let entry = self.entry(used.queue);
            entry.before = entry.before.max(used.last());
        }
    }

    /// Forgets uses that are over.
    pub(crate) fn prune(&mut self, timeline: &Timeline) {
        let over = |entry: &Use| timeline.is_done(entry.queue, entry.last());
        let mut more = self.more.as_mut().map(|more| &mut more.0);
        if let Some(more) = &mut more {
            more.retain(|entry| !over(entry));
        }
        if self.first.queue != NONE && over(&self.first) {
            match more.and_then(Vec::pop) {
                Some(used) => self.first = used,
                None => self.first.queue = NONE,
            }
        }
    }

    /// A use that has to be over before the host may read (or write) the bytes.
    pub(crate) fn blocks_host(&self, timeline: &Timeline, writes: bool) -> Option<(u32, u64)> {
        self.iter().find_map(|entry| {
            let tick = entry.blocks(writes);
            (tick > 0 && !timeline.is_done(entry.queue, tick)).then_some((entry.queue, tick))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_queue_is_kept_apart() {
        let mut uses = Uses::default();
        uses.stamp(0, 3, true, false);
        uses.stamp(1, 5, false, true);
        uses.stamp(2, 7, true, false);
        uses.stamp(0, 4, false, true);
        let seen: Vec<_> = uses.iter().map(|u| (u.queue, u.read, u.write)).collect();
        assert_eq!(seen, [(0, 3, 4), (1, 0, 5), (2, 7, 0)]);

        let timeline = Timeline::default();
        timeline.advance(0, 4, Ok(()));
        assert_eq!(uses.blocks_host(&timeline, false), Some((1, 5)), "a write holds readers back");
        timeline.advance(1, 5, Ok(()));
        assert_eq!(uses.blocks_host(&timeline, false), None, "a read does not");
        assert_eq!(uses.blocks_host(&timeline, true), Some((2, 7)));
        uses.prune(&timeline);
        assert_eq!(uses.iter().map(|u| u.queue).collect::<Vec<_>>(), [2]);
        timeline.advance(2, 7, Ok(()));
        uses.prune(&timeline);
        assert_eq!(uses.iter().count(), 0);
    }
}
