//! What forebay does: the range of the device layer, small requests in classes, pages mapped late and given back early.
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

use range::{BlockId, End, Range, Reach};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 2 * MIB;
/// Steps whose high-water mark decides how much may stay mapped.
const STEPS: usize = 16;
/// The one region, which grows.
const REGION: u32 = 0;

pub(super) struct Ours {
    range: Range,
    live: HashMap<u32, BlockId>,
    /// High-water marks of the last steps, the current one last.
    marks: VecDeque<u64>,
    calls: u64,
}

impl Ours {
    pub(super) fn new() -> Self {
        let mut range = Range::new(PAGE);
        let added = range.add_region(REGION, PAGE, false);
        debug_assert!(added);
        Self { range, live: HashMap::new(), marks: VecDeque::from([0]), calls: 0 }
    }

    /// Bytes that may be mapped: a twentieth above what was live lately.
    fn budget(&self) -> u64 {
        let most = self.marks.iter().copied().max().unwrap_or(0);
        most + most / 20
    }

    /// Unmaps what idles longest until `more` can be mapped within the budget.
    fn make_room(&mut self, more: u64) {
        let over = (self.range.mapped_bytes() + more).saturating_sub(self.budget());
        if over == 0 {
            return;
        }
        let mut left = over.div_ceil(PAGE) * PAGE;
        for mut idle in self.range.idle() {
            if left == 0 {
                break;
            }
            let bytes = idle.bytes.end - idle.bytes.start;
            idle.bytes.end = idle.bytes.start + bytes.min(left);
            left -= bytes.min(left);
            let unmapped = self.range.unmapped(&idle);
            debug_assert!(unmapped);
            self.calls += 1;
        }
    }

    fn place(&mut self, bytes: u64, end: End) -> Option<BlockId> {
        if let Some(id) = self.range.alloc(bytes, 1, end, Reach::Mapped) {
            return Some(id);
        }
        let id = self.range.alloc(bytes, 1, end, Reach::Any).or_else(|| {
            let more = (bytes - self.range.tail_bytes(REGION).min(bytes - 1)).next_multiple_of(PAGE);
            let grown = self.range.grow_region(REGION, more, false);
            debug_assert!(grown);
            self.range.alloc(bytes, 1, end, Reach::Any)
        })?;
        let missing: Vec<_> = self.range.missing(id).collect();
        self.note_live();
        self.make_room(missing.iter().map(|run| run.end - run.start).sum());
        for run in missing {
            self.range.mapped(id, run);
            self.calls += 1;
        }
        Some(id)
    }

    fn note_live(&mut self) {
        let live = self.range.live_bytes();
        if let Some(mark) = self.marks.back_mut() {
            *mark = live.max(*mark);
        }
    }
}

/// Below a mebibyte, the next of eight sizes to a doubling.
fn class(bytes: u64) -> u64 {
    if bytes >= MIB {
        return bytes;
    }
    let step = (bytes.next_power_of_two() / 16).max(range::GRANULE);
    bytes.next_multiple_of(step)
}

impl Policy for Ours {
    fn alloc(&mut self, id: u32, bytes: u64, tag: Tag) {
        let end = match tag {
            Tag::Cache => End::Low,
            Tag::Activation => End::High,
        };
        if let Some(block) = self.place(class(bytes), end) {
            self.live.insert(id, block);
        }
        self.note_live();
    }

    fn free(&mut self, id: u32) {
        if let Some(block) = self.live.remove(&id) {
            self.range.free(block);
        }
    }

    fn step_end(&mut self) {
        self.marks.push_back(self.range.live_bytes());
        if self.marks.len() > STEPS {
            self.marks.pop_front();
        }
    }

    fn reserved(&self) -> u64 {
        self.range.mapped_bytes()
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}
