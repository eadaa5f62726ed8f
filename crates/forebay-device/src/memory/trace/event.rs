//! What happened, as a reader of a trace sees it.
//!
//! Plain data. How an event lies in 32 bytes is `record`; what it is read from, `reader`.

use std::time::Duration;

use crate::{label::Label, memory::stats::Tag};

/// An event, and where it stands among all others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Events are numbered from 0 on as they happen, over all pools and queues; the trace has them in this order.
    pub number: u64,
    /// The last reading of the clock before it, counted from when the device was opened.
    pub at: Duration,
    /// What happened.
    pub event: Event,
}

/// A position on the timeline of a queue, as the trace names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment {
    /// The queue.
    pub queue: u32,
    /// The tick.
    pub tick: u64,
}

/// Where an allocation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spot {
    /// The region, as the device numbers them.
    pub region: u32,
    /// First byte, counted from the start of the region.
    pub offset: u64,
}

/// Where the memory of an allocation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Served {
    /// The pool had it.
    Hit,
    /// The driver was asked.
    Miss,
    /// It is a region of its own.
    Dedicated,
    /// It belongs to somebody else.
    Outside,
    /// No bytes were asked for.
    Nothing,
    /// It is part of a chunk that an arena held, and stays when the rest of the chunk goes.
    Carved,
}

/// What was missing when a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shortage {
    /// The limit of the pool or the device was reached.
    Limit,
    /// The driver has none left.
    Driver,
    /// The budget of the tag was reached.
    Budget,
}

/// What happened. Sizes are bytes. Pools and leases are numbered; a number is used again when its bearer is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields mean the same in every event; the few that differ say so")]
#[non_exhaustive]
pub enum Event {
    /// The clock was read; nothing else happened.
    Clock,
    /// A pool was made.
    PoolOpened { pool: u32, limit: u64 },
    /// The last handle on a pool and its memory is gone. What it had `reserved` goes back to the driver as soon as
    /// queued work is done with it.
    PoolClosed { pool: u32, reserved: u64 },
    /// What the pool counts at this moment, noted now and then, and after a refusal.
    Level { pool: u32, live: u64, reserved: u64, in_use: u64 },
    /// Memory was handed out. `taken`: what it takes, rounding included. `early`: it is memory that work on the same
    /// queue still uses; the lease is that of the earlier owner. `split`: a larger free piece was cut.
    Allocated {
        pool: u32,
        lease: u32,
        bytes: u64,
        taken: u64,
        tag: Tag,
        label: Label,
        spot: Option<Spot>,
        served: Served,
        early: bool,
        split: bool,
    },
    /// The last handle was dropped. `after`: the work that its memory waits for, or none if it is free at once.
    FreeRequested { pool: u32, lease: u32, bytes: u64, tag: Tag, after: Option<Moment> },
    /// Memory that waited for queued work is free.
    FreeCompleted { pool: u32, lease: u32, bytes: u64, tag: Tag },
    /// Address space was taken; if `mapped`, with memory behind all of it.
    RegionReserved { pool: u32, region: u32, bytes: u64, address: u64, mapped: bool },
    /// Memory was put behind a part of a region.
    RegionMapped { pool: u32, region: u32, offset: u64, bytes: u64 },
    /// Memory was taken away from a part of a region.
    RegionUnmapped { pool: u32, region: u32, offset: u64, bytes: u64 },
    /// A region with its memory was given back.
    RegionReleased { pool: u32, region: u32, bytes: u64 },
    /// The driver refused memory.
    DriverRefused { pool: u32, bytes: u64 },
    /// Idle memory was given back, of which `keep` bytes were to stay.
    Trimmed { pool: u32, gone: u64, keep: u64 },
    /// A request was refused.
    OutOfMemory { pool: u32, asked: u64, limit: u64, tag: Tag, label: Label, why: Shortage },
    /// An epoch of an arena began.
    ArenaEpoch { pool: u32, arena: u32, epoch: u64, capacity: u64 },
    /// An arena was reset: so many buffers are used again; `held` others with `held_bytes` stay with their
    /// holders.
    ArenaReset { pool: u32, arena: u32, recycled: u64, held: u32, held_bytes: u64 },
    /// Work was submitted, binding `bound` allocations. Its waits follow.
    Submitted { at: Moment, label: Label, waits: u32, bound: u32, fenced: bool, replayed: bool },
    /// A submission waits on the device for `on`; if `cascade`, it fails if that failed.
    Waits { of: Moment, on: Moment, cascade: bool },
    /// The backend refused the submission just noted; its tick is used by the next one.
    SubmissionRefused { at: Moment },
    /// The host saw that a queue is done with everything up to here. `failed`: the work of this tick failed.
    Completed { at: Moment, failed: bool },
    /// The driver was told, in one call, of so many changes of the residency set.
    ResidencyTold { changes: u64 },
}
