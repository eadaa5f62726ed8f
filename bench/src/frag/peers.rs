//! What other pools do, by the rules their sources state: sizes, rounding, splitting; no streams, no memory.
//!
//! None of these gives memory back while a program runs, which is what they do short of running out.
//! Next room: `mod.rs` beside this, which plays traces against them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Policy, Tag};

const MIB: u64 = 1 << 20;
/// Requests up to this long are served apart from longer ones.
const SMALL: u64 = MIB;

/// Free stretches by address and by size; stretches that touch become one.
#[derive(Default)]
struct Stretches {
    by_start: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
}

impl Stretches {
    fn insert(&mut self, mut start: u64, mut bytes: u64) {
        if let Some((&below, &size)) = self.by_start.range(..start).next_back()
            && below + size == start
        {
            self.remove(below, size);
            (start, bytes) = (below, bytes + size);
        }
        if let Some(&size) = self.by_start.get(&(start + bytes)) {
            self.remove(start + bytes, size);
            bytes += size;
        }
        self.by_start.insert(start, bytes);
        self.by_size.insert((bytes, start));
    }

    fn remove(&mut self, start: u64, bytes: u64) {
        self.by_start.remove(&start);
        self.by_size.remove(&(bytes, start));
    }

    /// Takes out the smallest stretch with room, the lowest of these.
    fn take(&mut self, bytes: u64) -> Option<(u64, u64)> {
        let (size, start) = *self.by_size.range((bytes, 0)..).next()?;
        self.remove(start, size);
        Some((start, size))
    }

    /// Takes out the stretch that ends at `end`.
    fn take_last(&mut self, end: u64) -> Option<(u64, u64)> {
        let (&start, &size) = self.by_start.last_key_value().filter(|(start, size)| *start + *size == end)?;
        self.remove(start, size);
        Some((start, size))
    }
}

/// Each request rounded up to a power of two; freed blocks wait for a request of the same power.
#[derive(Default)]
pub(super) struct PowersOfTwo {
    waiting: HashMap<u64, u64>,
    live: HashMap<u32, u64>,
    reserved: u64,
    calls: u64,
}

impl Policy for PowersOfTwo {
    fn alloc(&mut self, id: u32, bytes: u64, _: Tag) {
        let bytes = bytes.next_power_of_two();
        let waiting = self.waiting.entry(bytes).or_default();
        if *waiting > 0 {
            *waiting -= 1;
        } else {
            self.reserved += bytes;
            self.calls += 1;
        }
        self.live.insert(id, bytes);
    }

    fn free(&mut self, id: u32) {
        if let Some(bytes) = self.live.remove(&id) {
            *self.waiting.entry(bytes).or_default() += 1;
        }
    }

    fn reserved(&self) -> u64 {
        self.reserved
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

/// PyTorch's caching allocator as it comes: segments from the driver, best fit inside, remainders kept unless
/// small.
#[derive(Default)]
pub(super) struct Segments {
    small: Stretches,
    large: Stretches,
    live: HashMap<u32, (u64, u64, bool)>,
    next_address: u64,
    reserved: u64,
    calls: u64,
}

impl Policy for Segments {
    fn alloc(&mut self, id: u32, bytes: u64, _: Tag) {
        let bytes = bytes.next_multiple_of(512);
        let small = bytes <= SMALL;
        let stretches = if small { &mut self.small } else { &mut self.large };
        let (start, size) = stretches.take(bytes).unwrap_or_else(|| {
            let segment = match bytes {
                _ if small => 2 * MIB,
                ..10_485_760 => 20 * MIB,
                _ => bytes.next_multiple_of(2 * MIB),
            };
            let start = self.next_address;
            // A byte between segments keeps them from becoming one.
            self.next_address += segment + 1;
            self.reserved += segment;
            self.calls += 1;
            (start, segment)
        });
        let rest = size - bytes;
        let taken = if (small && rest >= 512) || rest > MIB { bytes } else { size };
        if taken < size {
            stretches.insert(start + taken, size - taken);
        }
        self.live.insert(id, (start, taken, small));
    }

    fn free(&mut self, id: u32) {
        if let Some((start, bytes, small)) = self.live.remove(&id) {
            let stretches = if small { &mut self.small } else { &mut self.large };
            stretches.insert(start, bytes);
        }
    }

    fn reserved(&self) -> u64 {
        self.reserved
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

/// Address ranges that grow at their end by pages, best fit inside.
pub(super) struct Growing {
    granule: u64,
    /// Small requests and large ones, or all in one.
    ranges: Vec<GrowingRange>,
    live: HashMap<u32, (usize, u64, u64)>,
    calls: u64,
}

struct GrowingRange {
    stretches: Stretches,
    page: u64,
    end: u64,
}

impl Growing {
    /// PyTorch with expandable segments.
    pub(super) fn expandable() -> Self {
        Self::new(512, &[2 * MIB, 20 * MIB])
    }

    /// One range, exact to 256 bytes: what plain best fit reaches.
    pub(super) fn best_fit() -> Self {
        Self::new(256, &[2 * MIB])
    }

    fn new(granule: u64, pages: &[u64]) -> Self {
        let range = |page: &u64| GrowingRange { stretches: Stretches::default(), page: *page, end: 0 };
        Self { granule, ranges: pages.iter().map(range).collect(), live: HashMap::new(), calls: 0 }
    }
}

impl Policy for Growing {
    fn alloc(&mut self, id: u32, bytes: u64, _: Tag) {
        let bytes = bytes.next_multiple_of(self.granule);
        let which = usize::from(bytes > SMALL && self.ranges.len() > 1);
        let range = &mut self.ranges[which];
        let (start, size) = range.stretches.take(bytes).unwrap_or_else(|| {
            let (start, have) = range.stretches.take_last(range.end).unwrap_or((range.end, 0));
            let more = (bytes - have).next_multiple_of(range.page);
            range.end += more;
            self.calls += 1;
            (start, have + more)
        });
        if bytes < size {
            range.stretches.insert(start + bytes, size - bytes);
        }
        self.live.insert(id, (which, start, bytes));
    }

    fn free(&mut self, id: u32) {
        if let Some((which, start, bytes)) = self.live.remove(&id) {
            self.ranges[which].stretches.insert(start, bytes);
        }
    }

    fn reserved(&self) -> u64 {
        self.ranges.iter().map(|range| range.end).sum()
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}
