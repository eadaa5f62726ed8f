//! What a program asked of memory, apart from who served it: sizes, purposes and lifetimes, in order.
//!
//! Memory of others and requests for nothing are left out, since no policy has to serve them. Memory counts as given
//! back when its last handle goes: a policy may hand it to the same queue at once. Next room: `policy`.

use std::collections::HashMap;

use crate::{
    Result,
    memory::{
        stats::Tag,
        trace::event::{Entry, Event, Served},
    },
};

/// One request, or one return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Memory is wanted. `id` is nobody else's until it is given back.
    Alloc {
        /// Who.
        id: u32,
        /// How much.
        bytes: u64,
        /// What for.
        tag: Tag,
    },
    /// It is given back.
    Free {
        /// Who.
        id: u32,
    },
}

/// The most that all requests together may ask for: policies add sizes up, and sums have to fit.
const MOST: u64 = 1 << 61;

/// What a program asked for, in order.
///
/// ```
/// use forebay_device::{Tag, history::Demand};
///
/// let mut demand = Demand::default();
/// let first = demand.alloc(1000, Tag::Kv);
/// let second = demand.alloc(500, Tag::Activations);
/// demand.free(first);
/// demand.free(second);
/// assert_eq!((demand.calls().len(), demand.peak_live()), (4, 1500));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Demand {
    calls: Vec<Call>,
    sizes: Vec<u64>,
    vacant: Vec<u32>,
    live: u64,
    peak_live: u64,
    asked: u64,
    allocations: u64,
    left_out: u64,
}

impl Demand {
    /// What the events of a trace say. Returns of what was taken before the first event are left out.
    ///
    /// # Errors
    /// The first error among the events.
    pub fn of(entries: impl IntoIterator<Item = Result<Entry>>) -> Result<Self> {
        let mut reading = Reading::default();
        for entry in entries {
            reading.take(&entry?.event);
        }
        Ok(reading.demand)
    }

    /// Asks for memory, and gives the number to give it back with. What goes beyond all sense is left out.
    pub fn alloc(&mut self, bytes: u64, tag: Tag) -> u32 {
        if self.asked.saturating_add(bytes) > MOST || self.sizes.len() == u32::MAX as usize {
            self.left_out += 1;
            return u32::MAX;
        }
        self.asked += bytes;
        self.allocations += 1;
        let id = match self.vacant.pop() {
            Some(id) => {
                self.sizes[id as usize] = bytes;
                id
            }
            None => {
                self.sizes.push(bytes);
                (self.sizes.len() - 1) as u32
            }
        };
        self.live += bytes;
        self.peak_live = self.peak_live.max(self.live);
        self.calls.push(Call::Alloc { id, bytes, tag });
        id
    }

    /// Gives memory back; once.
    pub fn free(&mut self, id: u32) {
        if let Some(bytes) = self.sizes.get_mut(id as usize).map(std::mem::take).filter(|bytes| *bytes > 0) {
            self.live -= bytes;
            self.vacant.push(id);
            self.calls.push(Call::Free { id });
        }
    }

    /// All requests and returns.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The most that was held at once.
    pub fn peak_live(&self) -> u64 {
        self.peak_live
    }

    /// How many requests there are.
    pub fn allocations(&self) -> u64 {
        self.allocations
    }

    /// Requests that are not in it: they would have been for more than can be counted.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The numbers in use are below this.
    pub(super) fn ids(&self) -> usize {
        self.sizes.len()
    }
}

/// Events on their way to a demand.
#[derive(Default)]
struct Reading {
    demand: Demand,
    held: HashMap<(u32, u32), u32>,
}

impl Reading {
    fn take(&mut self, event: &Event) {
        match *event {
            Event::Allocated { pool, lease, bytes, tag, served, .. } => {
                // An earlier owner of the lease went without a word only if events are missing.
                self.give_back(pool, lease);
                if bytes > 0 && !matches!(served, Served::Outside | Served::Nothing) {
                    let id = self.demand.alloc(bytes, tag);
                    self.held.insert((pool, lease), id);
                }
            }
            Event::FreeRequested { pool, lease, .. } => self.give_back(pool, lease),
            Event::PoolClosed { pool, .. } => {
                let mut left: Vec<_> = self.held.keys().copied().filter(|key| key.0 == pool).collect();
                left.sort_unstable();
                left.into_iter().for_each(|(pool, lease)| self.give_back(pool, lease));
            }
            _ => {}
        }
    }

    fn give_back(&mut self, pool: u32, lease: u32) {
        if let Some(id) = self.held.remove(&(pool, lease)) {
            self.demand.free(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, DeviceOptions, Request, TraceOptions};

    #[test]
    fn a_trace_gives_what_its_pool_was_asked() {
        let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1000))).unwrap();
        let weights = device.alloc(Request::new(5000).tag(Tag::Weights)).unwrap();
        drop(device.alloc(0).unwrap());
        drop(device.alloc(300).unwrap());
        drop(weights);
        let demand = Demand::of(device.trace().unwrap().read().unwrap()).unwrap();
        assert_eq!(
            demand.calls(),
            [
                Call::Alloc { id: 0, bytes: 5000, tag: Tag::Weights },
                Call::Alloc { id: 1, bytes: 300, tag: Tag::Other },
                Call::Free { id: 1 },
                Call::Free { id: 0 },
            ]
        );
        assert_eq!((demand.peak_live(), demand.peak_live()), (5300, device.pool().stats().peak_live));
    }

    #[test]
    fn what_is_freed_twice_or_beyond_counting_changes_nothing() {
        let mut demand = Demand::default();
        let id = demand.alloc(10, Tag::Other);
        demand.free(id);
        demand.free(id);
        demand.free(77);
        for _ in 0..3 {
            let huge = demand.alloc(u64::MAX / 2, Tag::Other);
            demand.free(huge);
        }
        assert_eq!((demand.calls().len(), demand.left_out(), demand.peak_live()), (2, 3, 10));
    }
}
