//! What a pool tells the trace, under its own lock. One branch and nothing more if the device keeps none.

use super::{
    event::{Event, Served, Shortage, Spot},
    record::{self, Allocation},
    recorder::LaneWriter,
};
use crate::{
    backend::Region,
    memory::{
        lease::Handle,
        options::Request,
        stats::{PoolStats, Tag},
    },
    sync::{Arc, Mutex, lock},
};

/// Readings of the clock in a pool's lane between two notes of what it counts.
const LEVEL: u32 = 4;

/// The numbers of a device's pools, and the lanes of those that are gone.
pub(super) type Vacant = Mutex<Vec<(u32, Arc<super::lane::Lane>)>>;

/// A pool's side of the trace.
#[derive(Debug, Default)]
pub(in crate::memory) struct PoolTrace(Option<Box<PoolLane>>);

#[derive(Debug)]
struct PoolLane {
    lane: LaneWriter,
    pool: u32,
    /// Counters at the last allocation: their steps tell how the next one was served.
    misses: u64,
    early: u64,
    splits: u64,
    until_level: u32,
    vacant: Arc<Vacant>,
}

impl PoolTrace {
    pub(super) fn open(lane: LaneWriter, pool: u32, limit: u64, vacant: Arc<Vacant>) -> Self {
        let mut lane = PoolLane { lane, pool, misses: 0, early: 0, splits: 0, until_level: LEVEL, vacant };
        lane.lane.note(&Event::PoolOpened { pool, limit });
        Self(Some(Box::new(lane)))
    }

    /// An allocation that was handed out and counted.
    #[inline]
    pub(in crate::memory) fn allocated(&mut self, handle: &Handle, served: Served, stats: &PoolStats) {
        if let Some(lane) = &mut self.0 {
            lane.allocated(handle, served, stats);
        }
    }

    /// The last handle is gone; `after` is the queue and the tick that the memory waits for.
    #[inline]
    pub(in crate::memory) fn free_requested(
        &mut self,
        lease: u32,
        bytes: u64,
        tag: Tag,
        after: Option<(u32, u64)>,
    ) {
        if let Some(lane) = &mut self.0 {
            let after = after.map(|(queue, tick)| super::event::Moment { queue, tick });
            let record = record::free_requested(lane.pool, lease, bytes, tag, after);
            lane.lane.put(record);
        }
    }

    /// Memory that waited is free.
    #[inline]
    pub(in crate::memory) fn free_completed(&mut self, lease: u32, bytes: u64, tag: Tag) {
        if let Some(lane) = &mut self.0 {
            let record = record::free_completed(lane.pool, lease, bytes, tag);
            lane.lane.put(record);
        }
    }

    /// Address space was taken; `bytes` count for the pool if the region has memory behind it.
    pub(in crate::memory) fn region_reserved(&mut self, region: &Region, bytes: u64, mapped: bool) {
        let (region, address) = (region.id, region.address);
        self.note(|pool| Event::RegionReserved { pool, region, bytes, address, mapped });
    }

    pub(in crate::memory) fn region_mapped(&mut self, region: u32, offset: u64, bytes: u64) {
        self.note(|pool| Event::RegionMapped { pool, region, offset, bytes });
    }

    pub(in crate::memory) fn region_unmapped(&mut self, region: u32, offset: u64, bytes: u64) {
        self.note(|pool| Event::RegionUnmapped { pool, region, offset, bytes });
    }

    pub(in crate::memory) fn region_released(&mut self, region: u32, bytes: u64) {
        self.note(|pool| Event::RegionReleased { pool, region, bytes });
    }

    /// A call into the driver that was counted brought nothing.
    pub(in crate::memory) fn driver_refused(&mut self, bytes: u64) {
        self.note(|pool| Event::DriverRefused { pool, bytes });
    }

    pub(in crate::memory) fn trimmed(&mut self, gone: u64, keep: u64) {
        self.note(|pool| Event::Trimmed { pool, gone, keep });
    }

    /// A request was refused.
    pub(in crate::memory) fn out_of_memory(
        &mut self,
        request: &Request,
        limit: u64,
        why: Shortage,
        stats: &PoolStats,
    ) {
        self.note(|pool| Event::OutOfMemory {
            pool,
            asked: request.bytes,
            limit,
            tag: request.tag,
            label: request.label.clone(),
            why,
        });
        self.note(|pool| level(pool, stats));
    }

    /// The pool's number in the trace.
    pub(in crate::memory) fn number(&self) -> Option<u32> {
        self.0.as_ref().map(|lane| lane.pool)
    }

    /// The pool is no more. Its number and lane go to the next one.
    pub(in crate::memory) fn closed(&mut self, reserved: u64) {
        self.note(|pool| Event::PoolClosed { pool, reserved });
        if let Some(lane) = self.0.take() {
            let PoolLane { lane, pool, vacant, .. } = *lane;
            let left = lane.lane();
            drop(lane);
            lock(&vacant).push((pool, left));
        }
    }

    fn note(&mut self, event: impl FnOnce(u32) -> Event) {
        if let Some(lane) = &mut self.0 {
            // None of these is frequent, and a driver call takes longer than a look at the clock.
            lane.lane.read_clock();
            lane.lane.note(&event(lane.pool));
        }
    }
}

impl PoolLane {
    #[inline]
    fn allocated(&mut self, handle: &Handle, served: Served, stats: &PoolStats) {
        let facts = handle.facts();
        let pooled = matches!(served, Served::Hit | Served::Miss);
        let record = record::allocated(&Allocation {
            pool: self.pool,
            lease: facts.slot,
            bytes: facts.len,
            taken: facts.taken(),
            tag: facts.tag,
            label: self.lane.label(&facts.label),
            spot: (served != Served::Nothing).then_some(Spot { region: facts.region, offset: facts.offset }),
            served: if pooled && stats.misses != self.misses { Served::Miss } else { served },
            early: stats.early_reuses != self.early,
            split: stats.splits != self.splits,
        });
        (self.misses, self.early, self.splits) = (stats.misses, stats.early_reuses, stats.splits);
        if self.lane.put(record) {
            self.until_level -= 1;
            if self.until_level == 0 {
                self.until_level = LEVEL;
                self.lane.note(&level(self.pool, stats));
            }
        }
    }
}

fn level(pool: u32, stats: &PoolStats) -> Event {
    Event::Level { pool, live: stats.live, reserved: stats.reserved, in_use: stats.in_use }
}
