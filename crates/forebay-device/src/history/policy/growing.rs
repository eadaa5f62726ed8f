//! Address ranges that grow at their end by pages, best fit inside; at the limit, idle pages leave holes in them.

use std::collections::BTreeMap;

use super::{Held, Policy, stretches::Stretches};
use crate::Tag;

const MIB: u64 = 1 << 20;
/// Requests up to this long are served apart from longer ones, where there are two ranges.
const SMALL: u64 = MIB;

#[derive(Debug)]
pub(super) struct Growing {
    limit: u64,
    granule: u64,
    /// Small requests and large ones, or all in one.
    ranges: Vec<Range>,
    live: Held<(usize, u64, u64)>,
    reserved: u64,
    calls: u64,
    worst_waste: u64,
}

#[derive(Debug)]
struct Range {
    free: Stretches,
    /// Whole pages below the end that have no memory: their start and their length.
    unmapped: BTreeMap<u64, u64>,
    page: u64,
    end: u64,
}

impl Growing {
    /// PyTorch with expandable segments.
    pub(super) fn expandable(limit: u64) -> Self {
        Self::new(limit, 512, &[2 * MIB, 20 * MIB])
    }

    /// One range, exact to 256 bytes: what plain best fit reaches.
    pub(super) fn best_fit(limit: u64) -> Self {
        Self::new(limit, 256, &[2 * MIB])
    }

    fn new(limit: u64, granule: u64, pages: &[u64]) -> Self {
        let range =
            |&page: &u64| Range { free: Stretches::default(), unmapped: BTreeMap::new(), page, end: 0 };
        let ranges = pages.iter().map(range).collect();
        Self { limit, granule, ranges, live: Held::default(), reserved: 0, calls: 0, worst_waste: 0 }
    }

    /// Maps what is missing for a stretch of so many bytes.
    fn grow(&mut self, which: usize, bytes: u64) -> Option<(u64, u64)> {
        let room = self.limit - self.reserved;
        let (stretch, more) = match self.ranges[which].grow(bytes, room) {
            Ok(grown) => grown,
            Err(()) => {
                for range in &mut self.ranges {
                    let (gone, calls) = range.unmap();
                    self.reserved -= gone;
                    self.calls += calls;
                }
                // What was idle may have been in pieces that fit together no better: only mapping anew helps.
                self.ranges[which].grow(bytes, self.limit - self.reserved).ok()?
            }
        };
        self.reserved += more;
        self.calls += 1;
        Some(stretch)
    }
}

impl Range {
    /// A stretch of at least so many bytes that is free, or has no memory yet; and how much of it had none.
    fn grow(&mut self, bytes: u64, room: u64) -> Result<((u64, u64), u64), ()> {
        let found = self.unmapped.iter().map(|(&start, &len)| (start, len)).find(|&(start, len)| {
            let (below, above) = self.beside(start, len);
            below + len + above >= bytes
        });
        if let Some((start, len)) = found {
            let (below, _) = self.beside(start, len);
            let more = (bytes - below).next_multiple_of(self.page).min(len);
            if more <= room {
                self.unmapped.remove(&start);
                if more < len {
                    self.unmapped.insert(start + more, len - more);
                }
                let low = self.free.take_before(start).map_or(start, |(low, _)| low);
                let above = if more == len { self.free.take_at(start + len).unwrap_or(0) } else { 0 };
                return Ok(((low, start + more + above - low), more));
            }
            return Err(());
        }
        let have = self.beside(self.end, 0).0;
        let more = (bytes - have).next_multiple_of(self.page);
        if more > room {
            return Err(());
        }
        let start = self.free.take_before(self.end).map_or(self.end, |(start, _)| start);
        self.end += more;
        Ok(((start, have + more), more))
    }

    /// What is free right below and right above a stretch.
    fn beside(&self, start: u64, len: u64) -> (u64, u64) {
        (self.free.ends_at(start), self.free.starts_at(start + len))
    }

    /// Takes the memory from all pages in which nothing is used.
    fn unmap(&mut self) -> (u64, u64) {
        let (mut gone, mut calls) = (0, 0);
        let free: Vec<_> = self.free.all().collect();
        for (start, bytes) in free {
            let (low, high) = (start.next_multiple_of(self.page), (start + bytes) / self.page * self.page);
            if low >= high {
                continue;
            }
            self.free.remove(start, bytes);
            if start < low {
                self.free.insert(start, low - start);
            }
            if high < start + bytes {
                self.free.insert(high, start + bytes - high);
            }
            self.leave_hole(low, high - low);
            gone += high - low;
            calls += 1;
        }
        (gone, calls)
    }

    fn leave_hole(&mut self, mut start: u64, mut len: u64) {
        if let Some((&below, &size)) = self.unmapped.range(..start).next_back()
            && below + size == start
        {
            self.unmapped.remove(&below);
            (start, len) = (below, len + size);
        }
        len += self.unmapped.remove(&(start + len)).unwrap_or(0);
        if start + len == self.end {
            self.end = start;
        } else {
            self.unmapped.insert(start, len);
        }
    }
}

impl Policy for Growing {
    fn alloc(&mut self, id: u32, bytes: u64, _: Tag) -> bool {
        let taken = bytes.next_multiple_of(self.granule);
        let which = usize::from(taken > SMALL && self.ranges.len() > 1);
        let Some((start, size)) = self.ranges[which].free.take(taken).or_else(|| self.grow(which, taken))
        else {
            return false;
        };
        if taken < size {
            self.ranges[which].free.insert(start + taken, size - taken);
        }
        self.worst_waste = self.worst_waste.max(taken - bytes);
        self.live.put(id, (which, start, taken));
        true
    }

    fn free(&mut self, id: u32) {
        if let Some((which, start, bytes)) = self.live.take(id) {
            self.ranges[which].free.insert(start, bytes);
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
        self.ranges.iter().map(|range| range.free.largest()).max().unwrap_or(0)
    }
}

#[cfg(test)]
impl Growing {
    /// What is handed out, free or without memory covers each range once.
    pub(super) fn assert_disjoint(&self) {
        for (which, range) in self.ranges.iter().enumerate() {
            let live =
                self.live.0.iter().flatten().filter(|held| held.0 == which).map(|held| (held.1, held.2));
            let unmapped = range.unmapped.iter().map(|(&start, &bytes)| (start, bytes));
            let mut all: Vec<_> = live.chain(range.free.all()).chain(unmapped.clone()).collect();
            all.sort_unstable();
            let end = all.iter().fold(0, |at, (start, bytes)| {
                assert_eq!(at, *start, "{all:?}");
                at + bytes
            });
            assert_eq!(end, range.end);
            let gone: u64 = unmapped.map(|(_, bytes)| bytes).sum();
            assert!(self.ranges.len() > 1 || self.reserved == range.end - gone);
        }
    }
}
