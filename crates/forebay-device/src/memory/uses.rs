//! Which queues use an allocation, and up to which tick: what decides when its bytes may be touched or given away.
//!
//! A use is stamped when a stage that binds the allocation is submitted. Two queues fit in place; more spill over.
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

/// The uses of one allocation that may still be under way, at most one a queue.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    first: Option<Use>,
    more: Vec<Use>,
}

impl Uses {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Use> {
        self.first.iter().chain(&self.more)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn clear(&mut self) {
        self.first = None;
        self.more.clear();
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
        if self.first.is_none_or(|first| first.queue == queue) {
            return self.first.get_or_insert(unused);
        }
        let at = self.more.iter().position(|entry| entry.queue == queue).unwrap_or_else(|| {
            self.more.push(unused);
            self.more.len() - 1
        });
        &mut self.more[at]
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
        self.more.retain(|entry| !over(entry));
        if self.first.as_ref().is_some_and(over) {
            self.first = self.more.pop();
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
