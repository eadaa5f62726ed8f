//! Who holds what, event by event.
//!
//! A ledger believes the events and keeps sums; of a ring that lost its beginning it knows what the levels say. Memory
//! of others is counted apart: no pool took it. Next rooms: `explain` and `export`, which read one.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::holes::Extents;
use crate::{
    Label,
    memory::{
        stats::Tag,
        trace::event::{Entry, Event, Moment, Served, Spot},
    },
};

/// Memory that somebody holds, or that work still uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// What was asked for.
    pub bytes: u64,
    /// What it takes, rounding included.
    pub taken: u64,
    /// What for.
    pub tag: Tag,
    /// Under which name.
    pub label: Label,
    /// Where it lies.
    pub spot: Option<Spot>,
    /// Where it came from.
    pub served: Served,
    /// The number of the event that handed it out.
    pub number: u64,
    /// When that was.
    pub at: Duration,
    /// The work it waits for, once it was dropped.
    pub after: Option<Moment>,
}

/// A lease: the number of the pool, and its number there.
pub type Key = (u32, u32);

/// What a pool has.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PoolBook {
    /// The most it may take.
    pub limit: u64,
    /// What it took from the driver.
    pub reserved: u64,
    /// What is live in it.
    pub live: u64,
    /// What that takes, rounding included.
    pub taken: u64,
    /// Dropped, and still used by queued work; rounding included.
    pub retiring: u64,
    /// Live bytes that were handed out before the first event.
    pub unseen: u64,
}

/// Who holds what.
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Request, Tag, TraceOptions, history::Ledger};
///
/// let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1000)))?;
/// let _cache = device.alloc(Request::new(5000).tag(Tag::Kv).label("cache"))?;
/// let mut ledger = Ledger::default();
/// for entry in device.trace().ok_or("no trace was asked for")?.read()? {
///     ledger.apply(&entry?);
/// }
/// assert_eq!(ledger.by_tag(), [0, 5000, 0, 0, 0]);
/// assert_eq!(ledger.reserved(), device.pool().stats().reserved);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pools: BTreeMap<u32, PoolBook>,
    live: HashMap<Key, Holding>,
    retiring: HashMap<Key, Holding>,
    regions: BTreeMap<u32, RegionBook>,
    by_tag: [u64; 5],
    outside: u64,
}

/// A region of the device's address space.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionBook {
    pub(super) pool: u32,
    pub(super) address: u64,
    /// Where there is memory behind it.
    pub(super) mapped: Extents,
}

impl Ledger {
    /// Takes an event in.
    pub fn apply(&mut self, entry: &Entry) {
        match entry.event {
            Event::PoolOpened { pool, limit } => {
                self.pools.insert(pool, PoolBook { limit, ..PoolBook::default() });
            }
            Event::PoolClosed { pool, .. } => self.close(pool),
            Event::Level { pool, live, reserved, .. } => {
                let outside = self.outside;
                let book = self.pools.entry(pool).or_default();
                book.reserved = reserved;
                book.unseen = live.saturating_sub(book.live.saturating_add(outside));
            }
            Event::Allocated { pool, lease, .. } => {
                self.retire_end((pool, lease));
                self.drop_live((pool, lease));
                self.hand_out((pool, lease), entry);
            }
            Event::FreeRequested { pool, lease, after, .. } => {
                if let Some(holding) = self.drop_live((pool, lease)).filter(|_| after.is_some()) {
                    self.pools.entry(pool).or_default().retiring += holding.taken;
                    self.retiring.insert((pool, lease), Holding { after, ..holding });
                }
            }
            Event::FreeCompleted { pool, lease, .. } => self.retire_end((pool, lease)),
            Event::RegionReserved { pool, region, bytes, address, mapped } => {
                let mut book = RegionBook { pool, address, mapped: Extents::default() };
                if mapped {
                    book.mapped.add(0, bytes);
                    self.reserve(pool, bytes);
                }
                self.regions.insert(region, book);
            }
            Event::RegionMapped { pool, region, offset, bytes } => {
                let book = self.regions.entry(region).or_default();
                book.pool = pool;
                book.mapped.add(offset, bytes);
                self.reserve(pool, bytes);
            }
            Event::RegionUnmapped { pool, region, offset, bytes } => {
                if let Some(book) = self.regions.get_mut(&region) {
                    book.mapped.remove(offset, bytes);
                }
                self.unreserve(pool, bytes);
            }
            Event::RegionReleased { pool, region, bytes } => {
                self.regions.remove(&region);
                self.unreserve(pool, bytes);
            }
            _ => {}
        }
    }

    fn reserve(&mut self, pool: u32, bytes: u64) {
        let book = self.pools.entry(pool).or_default();
        book.reserved = book.reserved.saturating_add(bytes);
    }

    fn unreserve(&mut self, pool: u32, bytes: u64) {
        let book = self.pools.entry(pool).or_default();
        book.reserved = book.reserved.saturating_sub(bytes);
    }

    fn hand_out(&mut self, key: Key, entry: &Entry) {
        let Event::Allocated { bytes, taken, tag, ref label, spot, served, .. } = entry.event else { return };
        let (number, at, label) = (entry.number, entry.at, label.clone());
        let holding = Holding { bytes, taken, tag, label, spot, served, number, at, after: None };
        if served == Served::Outside {
            self.outside = self.outside.saturating_add(bytes);
        } else {
            let book = self.pools.entry(key.0).or_default();
            book.live = book.live.saturating_add(bytes);
            book.taken = book.taken.saturating_add(taken);
            let sum = &mut self.by_tag[tag as usize];
            *sum = sum.saturating_add(bytes);
        }
        self.live.insert(key, holding);
    }

    fn drop_live(&mut self, key: Key) -> Option<Holding> {
        let Some(holding) = self.live.remove(&key) else {
            // It was handed out before the first event: what the levels call unseen shrinks with the next of them.
            return None;
        };
        if holding.served == Served::Outside {
            self.outside = self.outside.saturating_sub(holding.bytes);
            return None;
        }
        let book = self.pools.entry(key.0).or_default();
        book.live = book.live.saturating_sub(holding.bytes);
        book.taken = book.taken.saturating_sub(holding.taken);
        let sum = &mut self.by_tag[holding.tag as usize];
        *sum = sum.saturating_sub(holding.bytes);
        Some(holding)
    }

    fn retire_end(&mut self, key: Key) {
        if let Some(holding) = self.retiring.remove(&key) {
            let book = self.pools.entry(key.0).or_default();
            book.retiring = book.retiring.saturating_sub(holding.taken);
        }
    }

    fn close(&mut self, pool: u32) {
        let of = |key: &Key| key.0 == pool;
        let (live, retiring): (Vec<_>, Vec<_>) = (
            self.live.keys().copied().filter(of).collect(),
            self.retiring.keys().copied().filter(of).collect(),
        );
        live.into_iter().for_each(|key| drop(self.drop_live(key)));
        retiring.into_iter().for_each(|key| self.retire_end(key));
        self.regions.retain(|_, region| region.pool != pool);
        self.pools.remove(&pool);
    }

    /// The pools that are open.
    pub fn pools(&self) -> impl Iterator<Item = (u32, &PoolBook)> {
        self.pools.iter().map(|(pool, book)| (*pool, book))
    }

    /// What a lease holds now.
    pub fn holding(&self, key: Key) -> Option<&Holding> {
        self.live.get(&key)
    }

    /// What a lease held when it was dropped, while queued work still uses it.
    pub fn retiring_holding(&self, key: Key) -> Option<&Holding> {
        self.retiring.get(&key)
    }

    /// What is held now, in no order.
    pub fn live(&self) -> impl Iterator<Item = (Key, &Holding)> {
        self.live.iter().map(|(key, holding)| (*key, holding))
    }

    /// What was dropped and is still used by queued work, in no order.
    pub fn retiring(&self) -> impl Iterator<Item = (Key, &Holding)> {
        self.retiring.iter().map(|(key, holding)| (*key, holding))
    }

    /// Live bytes by tag, in the order of [`Tag::ALL`], memory of others left out.
    pub fn by_tag(&self) -> [u64; 5] {
        self.by_tag
    }

    /// Live bytes of memory that belongs to others, such as mapped files.
    pub fn outside(&self) -> u64 {
        self.outside
    }

    /// Live bytes in all pools.
    pub fn live_bytes(&self) -> u64 {
        self.pools.values().fold(0, |sum, pool| sum.saturating_add(pool.live).saturating_add(pool.unseen))
    }

    /// Bytes that all pools took from the driver.
    pub fn reserved(&self) -> u64 {
        self.pools.values().fold(0, |sum, pool| sum.saturating_add(pool.reserved))
    }

    /// Bytes in all pools that queued work still uses.
    pub fn retiring_bytes(&self) -> u64 {
        self.pools.values().fold(0, |sum, pool| sum.saturating_add(pool.retiring))
    }

    pub(super) fn region(&self, region: u32) -> Option<&RegionBook> {
        self.regions.get(&region)
    }

    pub(super) fn regions(&self) -> impl Iterator<Item = (u32, &RegionBook)> {
        self.regions.iter().map(|(region, book)| (*region, book))
    }
}
