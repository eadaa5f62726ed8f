//! The textbook best fit: free stretches in two B-trees, by address and by length; neighbours join at once.
//!
//! A yardstick in our own words, no crate of anybody. Lengths are in granules. Next room: `device_pool`, which plays it.

use std::collections::{BTreeMap, BTreeSet};

/// Free stretches of one range.
pub struct BestFit {
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
}

impl BestFit {
    /// A range of so many granules, all free.
    pub fn new(len: u64) -> Self {
        Self { by_start: BTreeMap::from([(0, len)]), by_len: BTreeSet::from([(len, 0)]) }
    }

    /// The shortest stretch with room, the lowest of these.
    pub fn alloc(&mut self, len: u64) -> Option<u64> {
        let (free, start) = *self.by_len.range((len, 0)..).next()?;
        self.take(start, free);
        if free > len {
            self.put(start + len, free - len);
        }
        Some(start)
    }

    pub fn free(&mut self, mut start: u64, mut len: u64) {
        if let Some((&below, &free)) = self.by_start.range(..start).next_back()
            && below + free == start
        {
            self.take(below, free);
            (start, len) = (below, len + free);
        }
        if let Some(&free) = self.by_start.get(&(start + len)) {
            self.take(start + len, free);
            len += free;
        }
        self.put(start, len);
    }

    fn take(&mut self, start: u64, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }

    fn put(&mut self, start: u64, len: u64) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }
}
