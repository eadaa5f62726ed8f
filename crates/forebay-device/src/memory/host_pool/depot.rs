//! What a pool keeps for all threads: free buffers by capacity and by age.
//!
//! Owns: the search for the smallest buffer that fits, and the order of eviction. Never: locking, counting hits, caps.
//! Each distinct capacity has one bin; `ages` has one entry a bin, the stamp of its oldest buffer, so that both
//! questions take logarithmic time whatever the history of sizes was.
//! Next room: `shared`, which holds the depot behind its mutex.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::block::{Block, List};

/// Free buffers of one pool that any thread may take.
#[derive(Default)]
pub(super) struct Depot {
    bins: BTreeMap<usize, List>,
    ages: BTreeSet<(u64, usize)>,
    bytes: usize,
    len: usize,
}

/// The largest capacity that may serve a request of `asked` bytes: c - asked <= c/4.
pub(super) fn largest_fit(asked: usize) -> usize {
    asked.saturating_add(asked / 3)
}

impl Depot {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The smallest capacity here that may serve `asked` bytes.
    pub(super) fn smallest_fit(&self, asked: usize) -> Option<usize> {
        self.bins.range(asked..=largest_fit(asked)).next().map(|(&capacity, _)| capacity)
    }

    /// Takes up to `count` buffers of exactly this capacity, the most recent ones.
    pub(super) fn take(&mut self, capacity: usize, count: usize) -> List {
        let Entry::Occupied(mut bin) = self.bins.entry(capacity) else { return List::new() };
        let oldest = bin.get().oldest_stamp();
        let taken = bin.get_mut().take_newest(count);
        if bin.get().is_empty() {
            bin.remove();
            if let Some(stamp) = oldest {
                self.ages.remove(&(stamp, capacity));
            }
        }
        self.bytes -= capacity * taken.len();
        self.len -= taken.len();
        taken
    }

    /// Adds buffers, all of this capacity, more recent than what is here.
    pub(super) fn put(&mut self, capacity: usize, list: List) {
        let Some(stamp) = list.oldest_stamp() else { return };
        self.bytes += capacity * list.len();
        self.len += list.len();
        let bin = self.bins.entry(capacity).or_default();
        if bin.is_empty() {
            self.ages.insert((stamp, capacity));
        }
        bin.append(list);
    }

    /// Stamp of the buffer that came back longest ago.
    pub(super) fn oldest_stamp(&self) -> Option<u64> {
        self.ages.first().map(|&(stamp, _)| stamp)
    }

    /// Takes the buffer that came back longest ago.
    pub(super) fn pop_oldest(&mut self) -> Option<Box<Block>> {
        let (_, capacity) = self.ages.pop_first()?;
        let bin = self.bins.get_mut(&capacity)?;
        let block = bin.pop_oldest();
        match bin.oldest_stamp() {
            Some(stamp) => {
                self.ages.insert((stamp, capacity));
            }
            None => {
                self.bins.remove(&capacity);
            }
        }
        self.bytes -= capacity;
        self.len -= 1;
        block
    }

    /// Takes everything.
    pub(super) fn drain(&mut self, into: &mut List) {
        for (_, list) in std::mem::take(&mut self.bins) {
            into.append(list);
        }
        *self = Self::default();
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::{
        super::{shared::Shared, source::Bytes},
        *,
    };
    use crate::sync::Arc;

    fn put(depot: &mut Depot, shared: &Arc<Shared>, capacity: usize, stamp: u64) {
        let mut block = Block::new(Bytes::fresh(capacity).unwrap().0, Arc::clone(shared));
        block.stamp = stamp;
        let mut list = List::new();
        list.push_newest(block);
        depot.put(capacity, list);
    }

    #[test]
    fn the_fit_is_the_rule_itself() {
        let shared = Arc::new(Shared::new(usize::MAX));
        let mut depot = Depot::default();
        let kept = [1, 2, 3, 4, 5, 64, 100, 133, 134, 200, 300, 1000, 1001, 1333, 1334];
        for (stamp, &capacity) in (0..).zip(&kept) {
            put(&mut depot, &shared, capacity, stamp);
        }
        for asked in 1..2000 {
            let rule = kept.into_iter().filter(|&c| asked <= c && 4 * (c - asked) <= c).min();
            assert_eq!(depot.smallest_fit(asked), rule, "{asked}");
        }
        assert_eq!(depot.smallest_fit(usize::MAX), None);
    }

    #[test]
    fn age_is_the_order_of_return_across_capacities() {
        let shared = Arc::new(Shared::new(usize::MAX));
        let mut depot = Depot::default();
        for (capacity, stamp) in [(10, 1), (20, 2), (10, 3), (30, 4), (20, 5)] {
            put(&mut depot, &shared, capacity, stamp);
        }
        assert_eq!((depot.bytes(), depot.len()), (90, 5));
        let most_recent = depot.take(10, 1).pop_newest().unwrap();
        assert_eq!(most_recent.stamp, 3);
        let order: Vec<u64> = std::iter::from_fn(|| depot.pop_oldest()).map(|block| block.stamp).collect();
        assert_eq!(order, [1, 2, 4, 5]);
        assert_eq!((depot.bytes(), depot.len(), depot.oldest_stamp()), (0, 0, None));
        assert!(depot.take(10, 1).is_empty());
    }

    #[test]
    fn an_emptied_bin_leaves_no_trace() {
        let shared = Arc::new(Shared::new(usize::MAX));
        let mut depot = Depot::default();
        put(&mut depot, &shared, 10, 1);
        put(&mut depot, &shared, 10, 2);
        assert_eq!(depot.take(10, 9).len(), 2);
        assert_eq!(depot.smallest_fit(10), None);
        assert!(depot.pop_oldest().is_none());
        put(&mut depot, &shared, 10, 3);
        let mut all = List::new();
        depot.drain(&mut all);
        assert_eq!((all.len(), depot.len(), depot.bytes()), (1, 0, 0));
    }
}
