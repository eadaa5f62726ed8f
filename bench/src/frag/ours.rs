//! What forebay does: the range of the device layer, small requests in classes and apart from the others,
//! pages mapped late, and what idles longest unmapped before more is mapped than the last steps account for.
//!
//! Next room: `memory/range` of `forebay-device`, whose real file this compiles.

use std::collections::{HashMap, VecDeque};

use super::{Policy, Tag};

#[allow(
    dead_code,
    unused_imports,
    reason = "a part of the device layer that is private there, compiled as it is"
)]
#[path = "../../../crates/forebay-device/src/memory/range/mod.rs"]
mod range;

use range::{BlockId, End, GRANULE, Range, Reach};

const PAGE: u64 = 2 << 20;
/// Requests below this are rounded up to a class.
const CLASSED: u64 = 1 << 20;
/// Requests below this have pages of their own: one small block would keep a whole page of the others mapped.
const SMALL: u64 = 256 << 10;
/// Steps whose high-water marks decide how much may stay mapped, and how much above them: one part in so
/// many.
const STEPS: usize = 16;
const SLACK: u64 = 32;

pub(super) struct Ours {
    small: Lane,
    large: Lane,
    live: HashMap<u32, (bool, BlockId)>,
    /// Most bytes live in each of the last steps, the current one last.
    marks: VecDeque<u64>,
    calls: u64,
}

/// A range of one region, which grows when nothing free fits.
struct Lane(Range);

impl Lane {
    fn new() -> Self {
        let mut range = Range::new(PAGE);
        let added = range.add_region(0, PAGE, false);
        debug_assert!(added);
        Self(range)
    }

    fn alloc(&mut self, bytes: u64, end: End) -> Option<BlockId> {
        let range = &mut self.0;
        let found =
            range.alloc(bytes, 1, end, Reach::Mapped).or_else(|| range.alloc(bytes, 1, end, Reach::Any));
        found.or_else(|| {
            let more = (bytes - range.tail_bytes(0).min(bytes - 1)).next_multiple_of(PAGE);
            range.grow_region(0, more, false).then(|| range.alloc(bytes, 1, end, Reach::Any))?
        })
    }

    /// Unmaps what idles longest, `most` bytes or all there is; how many bytes and in how many calls.
    fn unmap(&mut self, most: u64) -> (u64, u64) {
        let (mut bytes, mut calls) = (0, 0);
        for mut idle in self.0.idle() {
            if bytes >= most {
                break;
            }
            idle.bytes.end = idle.bytes.end.min(idle.bytes.start + (most - bytes).next_multiple_of(PAGE));
            if self.0.unmapped(&idle) {
                bytes += idle.bytes.end - idle.bytes.start;
                calls += 1;
            }
        }
        (bytes, calls)
    }
}

impl Ours {
    pub(super) fn new() -> Self {
        let (small, large) = (Lane::new(), Lane::new());
        Self { small, large, live: HashMap::new(), marks: VecDeque::from([0]), calls: 0 }
    }

    fn note_live(&mut self) {
        let live = self.small.0.live_bytes() + self.large.0.live_bytes();
        if let Some(mark) = self.marks.back_mut() {
            *mark = live.max(*mark);
        }
    }

    /// Maps what a fresh block lacks, after unmapping elsewhere what would be too much.
    fn map(&mut self, small: bool, id: BlockId) {
        let lane = if small { &self.small } else { &self.large };
        let missing: Vec<_> = lane.0.missing(id).collect();
        if missing.is_empty() {
            return;
        }
        let more: u64 = missing.iter().map(|run| run.end - run.start).sum();
        let most = self.marks.iter().copied().max().unwrap_or(0);
        let over = (self.reserved() + more).saturating_sub(most + most / SLACK);
        let (bytes, calls) = self.large.unmap(over);
        let (_, more_calls) = self.small.unmap(over.saturating_sub(bytes));
        self.calls += calls + more_calls + missing.len() as u64;
        let lane = if small { &mut self.small } else { &mut self.large };
        missing.into_iter().for_each(|run| lane.0.mapped(id, run));
    }
}

/// The next of eight sizes to a doubling.
fn class(bytes: u64) -> u64 {
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(GRANULE))
}

impl Policy for Ours {
    fn alloc(&mut self, id: u32, bytes: u64, tag: Tag) {
        let end = match tag {
            Tag::Cache => End::Low,
            Tag::Activation => End::High,
        };
        let small = bytes < SMALL;
        let bytes = if bytes < CLASSED { class(bytes) } else { bytes };
        let lane = if small { &mut self.small } else { &mut self.large };
        if let Some(block) = lane.alloc(bytes, end) {
            self.live.insert(id, (small, block));
            self.note_live();
            self.map(small, block);
        }
    }

    fn free(&mut self, id: u32) {
        if let Some((small, block)) = self.live.remove(&id) {
            let lane = if small { &mut self.small } else { &mut self.large };
            lane.0.free(block);
        }
    }

    fn step_end(&mut self) {
        self.marks.push_back(self.small.0.live_bytes() + self.large.0.live_bytes());
        if self.marks.len() > STEPS {
            self.marks.pop_front();
        }
    }

    fn reserved(&self) -> u64 {
        self.small.0.mapped_bytes() + self.large.0.mapped_bytes()
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_an_eighth_at_most() {
        for bytes in 2048..CLASSED {
            assert!(bytes <= class(bytes) && (class(bytes) - bytes) * 8 <= bytes, "{bytes}");
        }
    }
}
