//! Ranges whose last handle is gone while queued work still uses them: they become free when that work has completed,
//! and may before that be taken by work that comes later on the same queue.
//!
//! Every entry stands in two lists, by tick and by size, both doubly linked through one table, so that leaving either
//! is a constant number of steps. Ticks come in from `Uses`; whether they have completed is asked by the pool.

use std::collections::{BTreeMap, VecDeque};

/// No entry.
const NONE: u32 = u32::MAX;

/// Retiring ranges by queue.
#[derive(Debug, Default)]
pub(crate) struct Retire {
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    queues: Vec<Lane>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Lane {
    /// Ticks in rising order, each with the first entry that waits for it.
    ticks: VecDeque<(u64, u32)>,
    /// First entry of each size.
    sizes: BTreeMap<u64, u32>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u32,
    queue: u32,
    tick: u64,
    bytes: u64,
    /// Only ranges that a single queue uses can be taken early by that queue.
    shared: bool,
    by_tick: Link,
    by_size: Link,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

impl Retire {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.len() == self.vacant.len()
    }

    /// Adds a range that is free once `queue` has completed `tick`. `shared`: other queues use it too.
    pub(crate) fn push(&mut self, slot: u32, queue: u32, tick: u64, bytes: u64, shared: bool) {
        if self.queues.len() <= queue as usize {
            self.queues.resize_with(queue as usize + 1, Lane::default);
        }
        let id = self.vacant.pop().unwrap_or(self.entries.len() as u32);
        let lane = &mut self.queues[queue as usize];
        let at = lane.ticks.partition_point(|&(other, _)| other < tick);
        if lane.ticks.get(at).is_none_or(|&(other, _)| other != tick) {
            lane.ticks.insert(at, (tick, NONE));
        }
        let tick_next = std::mem::replace(&mut lane.ticks[at].1, id);
        let size_next = if shared { NONE } else { lane.sizes.insert(bytes, id).unwrap_or(NONE) };
        lane.bytes += bytes;
        self.bytes += bytes;
        let entry = Entry {
            slot,
            queue,
            tick,
            bytes,
            shared,
            by_tick: Link { before: NONE, after: tick_next },
            by_size: Link { before: NONE, after: size_next },
        };
        match self.entries.get_mut(id as usize) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        if tick_next != NONE {
            self.entries[tick_next as usize].by_tick.before = id;
        }
        if size_next != NONE {
            self.entries[size_next as usize].by_size.before = id;
        }
    }

    /// Takes a range of just this size for later work on the queue that uses it.
    pub(crate) fn take(&mut self, queue: u32, bytes: u64) -> Option<u32> {
        let id = *self.queues.get(queue as usize)?.sizes.get(&bytes)?;
        Some(self.remove(id))
    }

    /// Takes one range whose tick has completed.
    pub(crate) fn pop_done(&mut self, is_done: impl Fn(u32, u64) -> bool) -> Option<u32> {
        let due = self.queues.iter().enumerate().find_map(|(queue, lane)| {
            lane.ticks.front().filter(|(tick, _)| is_done(queue as u32, *tick)).map(|&(_, id)| id)
        })?;
        Some(self.remove(due))
    }

    /// The next tick to wait for on each queue with waiting ranges, and the bytes that queue holds back.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.queues
            .iter()
            .enumerate()
            .filter_map(|(queue, lane)| lane.ticks.front().map(|&(tick, _)| (queue as u32, tick, lane.bytes)))
    }

    /// Empties it: every range with the queue and tick it waits for.
    pub(crate) fn drain(&mut self) -> Vec<(u32, u32, u64)> {
        let mut all = Vec::new();
        for queue in 0..self.queues.len() {
            while let Some(&(tick, id)) = self.queues[queue].ticks.front() {
                all.push((self.remove(id), queue as u32, tick));
            }
        }
        all
    }

    fn remove(&mut self, id: u32) -> u32 {
        let entry = self.entries[id as usize];
        let lane = &mut self.queues[entry.queue as usize];
        lane.bytes -= entry.bytes;
        self.bytes -= entry.bytes;
        let Link { before, after } = entry.by_tick;
        if after != NONE {
            self.entries[after as usize].by_tick.before = before;
        }
        if before != NONE {
            self.entries[before as usize].by_tick.after = after;
        } else if let Ok(at) = lane.ticks.binary_search_by_key(&entry.tick, |&(tick, _)| tick) {
            match after {
                NONE => _ = lane.ticks.remove(at),
                _ => lane.ticks[at].1 = after,
            }
        }
        if !entry.shared {
            let Link { before, after } = entry.by_size;
            if after != NONE {
                self.entries[after as usize].by_size.before = before;
            }
            if before != NONE {
                self.entries[before as usize].by_size.after = after;
            } else if after == NONE {
                lane.sizes.remove(&entry.bytes);
            } else {
                lane.sizes.insert(entry.bytes, after);
            }
        }
        self.vacant.push(id);
        entry.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_back_by_tick_whatever_the_order_they_were_dropped_in() {
        let mut retire = Retire::default();
        for (slot, tick) in [(0, 5), (1, 3), (2, 4), (3, 3)] {
            retire.push(slot, 1, tick, 256, false);
        }
        assert_eq!(retire.pop_done(|_, tick| tick <= 2), None);
        let mut early: Vec<_> = std::iter::from_fn(|| retire.pop_done(|_, tick| tick <= 3)).collect();
        early.sort_unstable();
        assert_eq!(early, [1, 3]);
        assert_eq!(retire.pending().collect::<Vec<_>>(), [(1, 4, 512)]);
        assert_eq!(retire.pop_done(|_, _| true), Some(2));
        assert_eq!(retire.pop_done(|_, _| true), Some(0));
        assert_eq!((retire.bytes(), retire.pending().count()), (0, 0));
    }

    #[test]
    fn the_same_queue_takes_a_size_early_and_no_other_queue_does() {
        let mut retire = Retire::default();
        retire.push(7, 0, 9, 512, false);
        retire.push(8, 0, 9, 512, true);
        assert_eq!(retire.take(1, 512), None);
        assert_eq!(retire.take(0, 256), None);
        assert_eq!(retire.take(0, 512), Some(7));
        assert_eq!(retire.take(0, 512), None, "what two queues use is not taken early");
        assert_eq!(retire.pop_done(|_, _| true), Some(8));
    }

    #[test]
    fn both_lists_stay_whole_under_any_mixture() {
        let mut retire = Retire::default();
        let mut inside = std::collections::BTreeSet::new();
        let mut seed = 1u64;
        for slot in 0..5_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (queue, tick, bytes) = ((seed >> 60) as u32 % 3, (seed >> 40) % 50, 256 * ((seed >> 50) % 4));
            retire.push(slot, queue, tick, bytes, seed & 1 == 0);
            inside.insert(slot);
            let taken = match (seed >> 20) % 3 {
                0 => retire.take(queue, bytes),
                1 => retire.pop_done(|_, t| t < tick),
                _ => None,
            };
            assert!(taken.is_none_or(|slot| inside.remove(&slot)));
        }
        while let Some(slot) = retire.pop_done(|_, _| true) {
            assert!(inside.remove(&slot));
        }
        assert!(inside.is_empty());
        assert!(
            retire
                .queues
                .iter()
                .all(|lane| lane.sizes.is_empty() && lane.ticks.is_empty() && lane.bytes == 0)
        );
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};

    use super::*;
    use crate::{
        backend::timeline::Timeline,
        sync::{Arc, AtomicU32, Mutex, Ordering, lock},
    };

    /// A range that a queue writes, and its pool.
    struct Told {
        bytes: AtomicU32,
        timeline: Timeline,
        retire: Mutex<Retire>,
    }

    impl Told {
        /// What is free by now; whoever gets it sees what the queue wrote.
        fn collect(&self) -> usize {
            let freed = lock(&self.retire).pop_done(|queue, tick| self.timeline.is_done(queue, tick));
            assert!(freed.is_none_or(|slot| slot == 7 && self.bytes.load(Ordering::Relaxed) == 1));
            usize::from(freed.is_some())
        }
    }

    #[test]
    fn what_retires_is_free_once_and_after_all_that_the_queue_wrote() {
        model(|| {
            let told = Arc::new(Told {
                bytes: AtomicU32::new(0),
                timeline: Timeline::default(),
                retire: Mutex::new(Retire::default()),
            });
            let queue = {
                let told = told.clone();
                thread::spawn(move || {
                    told.bytes.store(1, Ordering::Relaxed);
                    told.timeline.advance(0, 1, Ok(()));
                })
            };
            lock(&told.retire).push(7, 0, 1, 256, false);
            let other = {
                let told = told.clone();
                thread::spawn(move || told.collect())
            };
            let early = told.collect();
            queue.join().unwrap();
            let freed = early + other.join().unwrap();
            assert_eq!(freed + told.collect(), 1, "free once, and not later than its tick");
            assert_eq!(lock(&told.retire).bytes(), 0);
        });
    }
}
