#![allow(unsafe_code, reason = "bytes of a region are copied to and from the host by address")]
//! Regions on the CPU: address space of this process, mapped in pages of 2 MiB.
//!
//! Shared with the null device, which simulates the same interface. Rules: R1, an owned region is alive while it is in
//! the table; R2, callers ask only for mapped ranges inside it (backend contract).

use std::{collections::HashMap, ops::Range, ptr};

use crate::{
    backend::{
        Region, ResidencyChange,
        host_region::{self, HostRegion},
    },
    error::{Error, MemoryReport, Result},
    launch::RegionId,
    sync::{Mutex, lock},
};

/// The regions of a device.
#[derive(Debug)]
pub(crate) struct Regions {
    /// The most bytes that are mapped at once.
    most: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: RegionId,
    mapped: u64,
    entries: HashMap<RegionId, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// None for imported memory, which somebody else owns.
    owned: Option<HostRegion>,
    base: usize,
    bytes: u64,
    mapped: u64,
}

impl Table {
    fn owned(&self, region: RegionId) -> Result<&HostRegion> {
        self.entries.get(&region).and_then(|entry| entry.owned.as_ref()).ok_or_else(|| {
            let detail = "no such region, or not ours".into();
            Error::Driver { call: "region_map", code: i64::from(region), detail }
        })
    }

    fn count(&mut self, region: RegionId, mapped: impl FnOnce(u64) -> u64) {
        if let Some(entry) = self.entries.get_mut(&region) {
            let now = mapped(entry.mapped);
            self.mapped = self.mapped - entry.mapped + now;
            entry.mapped = now;
        }
    }
}

impl Regions {
    /// Regions that map no more than so many bytes at once: a system that promises more than it has kills who believes it.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, table: Mutex::new(Table::default()) }
    }

    /// Takes address space for a region that is mapped page by page.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Region> {
        let owned = HostRegion::reserve(bytes)?;
        let (base, bytes) = (owned.base(), owned.bytes());
        Ok(self.insert(Entry { owned: Some(owned), base, bytes, mapped: 0 }, false))
    }

    pub(crate) fn import(&self, host: usize, bytes: u64) -> Region {
        self.insert(Entry { owned: None, base: host, bytes, mapped: 0 }, true)
    }

    fn insert(&self, entry: Entry, mapped: bool) -> Region {
        let mut table = lock(&self.table);
        let id = table.next;
        table.next += 1;
        let (base, bytes) = (entry.base, entry.bytes);
        let zeroed = entry.owned.is_some();
        table.entries.insert(id, entry);
        Region { id, address: base as u64, host: base, bytes, mapped, zeroed }
    }

    pub(crate) fn map(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        let mut table = lock(&self.table);
        let bytes = range.end - range.start;
        if bytes > self.most.saturating_sub(table.mapped) {
            let report = MemoryReport { asked: bytes, limit: self.most, ..MemoryReport::default() };
            return Err(Error::Exhausted(Box::new(report)));
        }
        table.owned(region)?.map(range)?;
        table.count(region, |mapped| mapped + bytes);
        Ok(())
    }

    pub(crate) fn unmap(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        let mut table = lock(&self.table);
        let bytes = range.end - range.start;
        table.owned(region)?.unmap(range)?;
        table.count(region, |mapped| mapped.saturating_sub(bytes));
        Ok(())
    }

    pub(crate) fn release(&self, region: RegionId) -> Result<()> {
        let mut table = lock(&self.table);
        table.count(region, |_| 0);
        let entry = table.entries.remove(&region);
        drop(table);
        entry.map(drop).ok_or(Error::Driver {
            call: "region_release",
            code: i64::from(region),
            detail: "no such region".into(),
        })
    }

    /// Leaves all memory to the process for good.
    pub(crate) fn abandon(&self) {
        for (_, entry) in lock(&self.table).entries.drain() {
            std::mem::forget(entry.owned);
        }
    }

    fn address(&self, region: RegionId, offset: u64, len: usize) -> Result<usize> {
        let table = lock(&self.table);
        let entry = table.entries.get(&region);
        let bytes = entry.map_or(0, |entry| entry.bytes);
        let end = offset.saturating_add(len as u64);
        match entry {
            Some(entry) if end <= bytes => Ok(entry.base + offset as usize),
            _ => Err(Error::OutOfBounds { start: offset, end, len: bytes }),
        }
    }

    pub(crate) fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()> {
        let start: *const u8 = ptr::with_exposed_provenance(self.address(region, offset, to.len())?);
        // SAFETY: R1 and R2; `to` is a fresh exclusive slice and so does not overlap.
        unsafe { ptr::copy_nonoverlapping(start, to.as_mut_ptr(), to.len()) }
        Ok(())
    }

    pub(crate) fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()> {
        let start: *mut u8 = ptr::with_exposed_provenance_mut(self.address(region, offset, from.len())?);
        // SAFETY: R1 and R2; the caller has excluded everybody else from these bytes.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), start, from.len()) }
        Ok(())
    }

    pub(crate) fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()> {
        let len =
            usize::try_from(bytes).map_err(|_| Error::TooLarge { asked: bytes, most: usize::MAX as u64 })?;
        let start: *mut u8 = ptr::with_exposed_provenance_mut(self.address(region, offset, len)?);
        // SAFETY: R1 and R2; the caller has excluded everybody else from these bytes.
        unsafe { ptr::write_bytes(start, byte, len) }
        Ok(())
    }

    /// Brings outside memory into this process's pages, and locks or unlocks memory if that is wanted. What is gone by now
    /// needs nothing.
    pub(crate) fn keep_at_hand(&self, change: &ResidencyChange, locks: bool) -> Result<()> {
        let table = lock(&self.table);
        let Some(entry) = table.entries.get(&change.region) else { return Ok(()) };
        let bytes = change.bytes.min(entry.bytes.saturating_sub(change.offset)) as usize;
        let start = entry.base + change.offset as usize;
        if change.add && entry.owned.is_none() {
            host_region::populate(start, bytes);
        }
        if locks { host_region::set_locked(start, bytes, change.add) } else { Ok(()) }
    }
}
