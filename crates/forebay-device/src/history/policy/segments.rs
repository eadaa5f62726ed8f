//! PyTorch's caching allocator as it comes: segments from the driver, best fit inside, remainders kept unless small.

use std::collections::BTreeMap;

use super::{Held, Policy, stretches::Stretches};
use crate::Tag;

const MIB: u64 = 1 << 20;
/// Requests up to this long are served apart from longer ones.
const SMALL: u64 = MIB;

#[derive(Debug)]
pub(super) struct Segments {
    limit: u64,
    /// Small requests and large ones.
    free: [Stretches; 2],
    /// Each segment: its start, its length, and which of the two it serves.
    segments: BTreeMap<u64, (u64, usize)>,
    live: Held<(u64, u64, usize)>,
    next_address: u64,
    reserved: u64,
    calls: u64,
    worst_waste: u64,
}

impl Segments {
    pub(super) fn with(limit: u64) -> Self {
        Self {
            limit,
            free: Default::default(),
            segments: BTreeMap::new(),
            live: Held::default(),
            next_address: 0,
            reserved: 0,
            calls: 0,
            worst_waste: 0,
        }
    }

    fn segment(&mut self, bytes: u64, which: usize) -> Option<(u64, u64)> {
        let size = match bytes {
            _ if which == 0 => 2 * MIB,
            ..10_485_760 => 20 * MIB,
            _ => bytes.next_multiple_of(2 * MIB),
        };
        if self.reserved + size > self.limit {
            self.give_back();
        }
        if self.reserved + size > self.limit {
            return None;
        }
        let start = self.next_address;
        // A byte between segments keeps them from becoming one.
        self.next_address += size + 1;
        self.reserved += size;
        self.calls += 1;
        self.segments.insert(start, (size, which));
        Some((start, size))
    }

    /// Gives back the segments in which nothing is used.
    fn give_back(&mut self) {
        let Self { free, segments, reserved, calls, .. } = self;
        segments.retain(|&start, &mut (size, which)| {
            let idle = free[which].all_of(start, size);
            if idle {
                free[which].remove(start, size);
                *reserved -= size;
                *calls += 1;
            }
            !idle
        });
    }
}

impl Policy for Segments {
    fn alloc(&mut self, id: u32, bytes: u64, _: Tag) -> bool {
        let wanted = bytes.next_multiple_of(512);
        let which = usize::from(wanted > SMALL);
        let Some((start, size)) = self.free[which].take(wanted).or_else(|| self.segment(wanted, which))
        else {
            return false;
        };
        let rest = size - wanted;
        let taken = if (which == 0 && rest >= 512) || rest > MIB { wanted } else { size };
        if taken < size {
            self.free[which].insert(start + taken, size - taken);
        }
        self.worst_waste = self.worst_waste.max(taken - bytes);
        self.live.put(id, (start, taken, which));
        true
    }

    fn free(&mut self, id: u32) {
        if let Some((start, bytes, which)) = self.live.take(id) {
            self.free[which].insert(start, bytes);
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
        self.free.iter().map(Stretches::largest).max().unwrap_or(0)
    }
}
