//! Each request rounded up to a power of two; freed blocks wait for a request of the same power.

use std::collections::BTreeMap;

use super::{Held, Policy};
use crate::Tag;

#[derive(Debug)]
pub(super) struct PowersOfTwo {
    limit: u64,
    /// How many blocks of each size wait.
    waiting: BTreeMap<u64, u64>,
    live: Held<u64>,
    reserved: u64,
    calls: u64,
    worst_waste: u64,
}

impl PowersOfTwo {
    pub(super) fn with(limit: u64) -> Self {
        let (waiting, live) = (BTreeMap::new(), Held::default());
        Self { limit, waiting, live, reserved: 0, calls: 0, worst_waste: 0 }
    }

    fn give_back(&mut self) {
        for (bytes, count) in std::mem::take(&mut self.waiting) {
            self.reserved -= bytes * count;
            self.calls += count;
        }
    }
}

impl Policy for PowersOfTwo {
    fn alloc(&mut self, id: u32, bytes: u64, _: Tag) -> bool {
        let taken = bytes.next_power_of_two();
        match self.waiting.get_mut(&taken).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => {
                if self.reserved + taken > self.limit {
                    self.give_back();
                }
                if self.reserved + taken > self.limit {
                    return false;
                }
                self.reserved += taken;
                self.calls += 1;
            }
        }
        self.worst_waste = self.worst_waste.max(taken - bytes);
        self.live.put(id, taken);
        true
    }

    fn free(&mut self, id: u32) {
        if let Some(bytes) = self.live.take(id) {
            *self.waiting.entry(bytes).or_default() += 1;
        }
    }

    fn reserved(&self) -> u64 {
        self.reserved
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn worst_waste(&self) -> u64 {
        self.worst_waste
    }

    fn largest_hole(&self) -> u64 {
        self.waiting.iter().rev().find(|(_, count)| **count > 0).map_or(0, |(bytes, _)| *bytes)
    }
}
