//! What forebay does: its pool as users have it, on a device that only counts bytes.
//!
//! Next room: `memory/supply`, which decides what is mapped and what goes back.

use std::time::Duration;

use super::{Held, Policy};
use crate::{Buffer, DeviceOptions, NullOptions, Pool, PoolOptions, Request, Result, Tag};

/// Memory of the device that there is not: more than any trace asks for.
const MEMORY: u64 = 1 << 46;

#[derive(Debug)]
pub(super) struct Ours {
    pool: Pool,
    live: Held<Buffer>,
}

impl Ours {
    pub(super) fn open(limit: u64) -> Result<Self> {
        let null = NullOptions::default().memory(MEMORY).backed(false);
        let (device, _) = null.open(&DeviceOptions::null().residency(false))?;
        // Nothing is under way that could be waited for.
        let options = PoolOptions::default().limit(limit).patience(Duration::ZERO);
        Ok(Self { pool: Pool::new(&device, options)?, live: Held::default() })
    }
}

impl Policy for Ours {
    fn alloc(&mut self, id: u32, bytes: u64, tag: Tag) -> bool {
        let served = self.pool.alloc(Request::new(bytes).tag(tag));
        served.map(|buffer| self.live.put(id, buffer)).is_ok()
    }

    fn free(&mut self, id: u32) {
        drop(self.live.take(id));
    }

    fn reserved(&self) -> u64 {
        self.pool.stats().reserved
    }

    fn calls(&self) -> u64 {
        self.pool.stats().driver_calls
    }

    fn worst_waste(&self) -> u64 {
        self.pool.stats().worst_waste
    }

    fn largest_hole(&self) -> u64 {
        self.pool.stats().largest_free
    }
}
