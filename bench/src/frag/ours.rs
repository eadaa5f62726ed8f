//! What forebay does: its pool as users have it, on a device that only counts bytes.
//!
//! Next room: `memory/supply` of `forebay-device`, which decides what is mapped and what goes back.

use std::{collections::HashMap, io};

use forebay_device::{Buffer, DeviceOptions, NullOptions, Pool, PoolOptions, Request};

use super::{Policy, Tag};

pub(super) struct Ours {
    pool: Pool,
    live: HashMap<u32, Buffer>,
}

impl Ours {
    pub(super) fn new() -> io::Result<Self> {
        let opened = NullOptions::default().backed(false).open(&DeviceOptions::null());
        let pool = opened.and_then(|(device, _)| Pool::new(&device, PoolOptions::default()));
        Ok(Self { pool: pool.map_err(io::Error::other)?, live: HashMap::new() })
    }
}

impl Policy for Ours {
    fn alloc(&mut self, id: u32, bytes: u64, tag: Tag) {
        let tag = match tag {
            Tag::Cache => forebay_device::Tag::Kv,
            Tag::Activation => forebay_device::Tag::Activations,
        };
        // A buffer that is missing shows: no policy may reserve less than is live.
        self.live.extend(self.pool.alloc(Request::new(bytes).tag(tag)).map(|buffer| (id, buffer)));
    }

    fn free(&mut self, id: u32) {
        self.live.remove(&id);
    }

    fn reserved(&self) -> u64 {
        self.pool.stats().reserved
    }

    fn calls(&self) -> u64 {
        self.pool.stats().driver_calls
    }
}
