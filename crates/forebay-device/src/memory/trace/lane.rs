//! Where records are put: a ring that one thread at a time writes, without a lock of its own, and that others read.
//!
//! The writer is owned by whatever a lock guards already (a pool's state, the access table), so pushing needs no other.
//! In a ring that keeps the newest, old records are written over, and a reader finds out which of its copies are whole.
//! In one that is drained, the reader says how far it is and the writer asks for room. Rules for the order of accesses:
//! - T1 A record is stored before the head that counts it (release), so who sees the head sees the record.
//! - T2 The head is stored before the record after it (fence), so a reader that sees any word of that record sees, after
//!   a fence of its own, that the head has come so far.
//!
//! Next room: `recorder`, which numbers the records and collects them.

use super::record::Record;
use crate::sync::{Arc, AtomicU64, Ordering, fence};

/// A ring of records.
#[derive(Debug)]
pub(super) struct Lane {
    cells: Box<[[AtomicU64; 4]]>,
    /// Records that were ever put in.
    head: Line,
    /// Records that a drain has taken out.
    tail: Line,
}

/// On its own cache line: written by one side, read by the other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Line(pub(super) AtomicU64);

impl Lane {
    /// Room for so many records, rounded up to a power of two.
    pub(super) fn new(records: usize) -> Self {
        let records = records.max(1).next_power_of_two();
        let cells = (0..records).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect();
        Self { cells, head: Line::default(), tail: Line::default() }
    }

    fn room(&self) -> u64 {
        self.cells.len() as u64
    }

    fn copy(&self, at: u64) -> Record {
        let cell = &self.cells[at as usize & (self.cells.len() - 1)];
        Record(std::array::from_fn(|word| cell[word].load(Ordering::Relaxed)))
    }

    /// Takes all records out. Only one thread may drain at a time.
    pub(super) fn drain(&self, into: &mut Vec<Record>) {
        // T1: acquire pairs with the release in `put`.
        let (tail, head) = (self.tail.0.load(Ordering::Relaxed), self.head.0.load(Ordering::Acquire));
        into.extend((tail..head).map(|at| self.copy(at)));
        // Release: the copies are made before the writer sees the room.
        self.tail.0.store(head, Ordering::Release);
    }

    /// Copies the newest records, and says whether there were older ones.
    pub(super) fn newest(&self, into: &mut Vec<Record>) -> bool {
        let head = self.head.0.load(Ordering::Acquire);
        let first = head.saturating_sub(self.room());
        let start = into.len();
        into.extend((first..head).map(|at| self.copy(at)));
        fence(Ordering::Acquire);
        // T2: the record after the head may be half written, over the one a whole ring before it.
        let whole = (self.head.0.load(Ordering::Relaxed) + 1).saturating_sub(self.room());
        if whole > first {
            into.drain(start..start + ((whole.min(head) - first) as usize));
        }
        whole > 0
    }
}

/// The right to put records into a lane.
#[derive(Debug)]
pub(super) struct Pen {
    lane: Arc<Lane>,
    head: u64,
    /// Up to here there is room.
    limit: u64,
    keeps_newest: bool,
}

impl Pen {
    /// There must be no other pen for the lane.
    pub(super) fn new(lane: Arc<Lane>, keeps_newest: bool) -> Self {
        let head = lane.head.0.load(Ordering::Acquire);
        let mut pen = Self { lane, head, limit: u64::MAX, keeps_newest };
        if !keeps_newest {
            pen.look_for_room();
        }
        pen
    }

    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.head < self.limit
    }

    /// Asks how far the drain is.
    pub(super) fn look_for_room(&mut self) -> bool {
        if !self.keeps_newest {
            self.limit = self.lane.tail.0.load(Ordering::Acquire) + self.lane.room();
        }
        self.has_room()
    }

    /// Records that the drain has not taken out; none if nobody drains.
    pub(super) fn waiting(&mut self) -> u64 {
        if self.keeps_newest {
            return 0;
        }
        self.look_for_room();
        self.head + self.lane.room() - self.limit
    }

    /// Puts a record in. There must be room.
    #[inline]
    pub(super) fn put(&mut self, record: Record) {
        fence(Ordering::Release); // T2
        let cells = &self.lane.cells;
        let cell = &cells[self.head as usize & (cells.len() - 1)];
        for (to, word) in cell.iter().zip(record.0) {
            to.store(word, Ordering::Relaxed);
        }
        self.head += 1;
        self.lane.head.0.store(self.head, Ordering::Release); // T1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn record(n: u64) -> Record {
        Record([n; 4])
    }

    #[test]
    fn the_newest_are_kept() {
        let lane = Arc::new(Lane::new(6));
        let mut pen = Pen::new(lane.clone(), true);
        let mut seen = Vec::new();
        assert!(!lane.newest(&mut seen) && seen.is_empty());
        for n in 0..7 {
            pen.put(record(n));
        }
        assert!(!lane.newest(&mut seen));
        assert_eq!(seen, (0..7).map(record).collect::<Vec<_>>());
        for n in 7..21 {
            pen.put(record(n));
        }
        seen.clear();
        assert!(lane.newest(&mut seen));
        // One less than there is room for: the oldest could be under the pen.
        assert_eq!(seen, (14..21).map(record).collect::<Vec<_>>());
    }

    #[test]
    fn a_drained_lane_loses_nothing_and_runs_full() {
        let lane = Arc::new(Lane::new(4));
        let mut pen = Pen::new(lane.clone(), false);
        let mut seen = Vec::new();
        for n in 0..11 {
            if !pen.has_room() {
                assert!(!pen.look_for_room());
                lane.drain(&mut seen);
                assert!(pen.look_for_room());
            }
            pen.put(record(n));
        }
        lane.drain(&mut seen);
        assert_eq!(seen, (0..11).map(record).collect::<Vec<_>>());
        drop(pen);
        assert!(Pen::new(lane, false).has_room(), "the next pen goes on where the last one stopped");
    }

    #[test]
    fn copies_made_while_writing_are_whole() {
        const LAST: u64 = 200_000;
        let lane = Arc::new(Lane::new(16));
        let mut pen = Pen::new(lane.clone(), true);
        let writer = std::thread::spawn(move || (0..=LAST).for_each(|n| pen.put(record(n))));
        let mut seen = Vec::new();
        while seen.last() != Some(&record(LAST)) {
            seen.clear();
            lane.newest(&mut seen);
            for (pair, next) in seen.iter().zip(seen.iter().skip(1)) {
                assert_eq!(next.0, [pair.0[0] + 1; 4]);
            }
            assert!(seen.first().is_none_or(|first| first.0 == [first.0[0]; 4]));
        }
        writer.join().unwrap();
    }
}
