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
    error::{Error, Result},
    launch::RegionId,
    sync::{Mutex, lock},
};

/// The regions of a device.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: RegionId,
    entries: HashMap<RegionId, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// None for imported memory, which somebody else owns.
    owned: Option<HostRegion>,
    base: usize,
    bytes: u64,
}

impl Regions {
    /// Takes address space for a region that is mapped page by page.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Region> {
        let owned = HostRegion::reserve(bytes)?;
        let (base, bytes) = (owned.base(), owned.bytes());
        Ok(self.insert(Entry { owned: Some(owned), base, bytes }, false))
    }

    pub(crate) fn import(&self, host: usize, bytes: u64) -> Region {
        self.insert(Entry { owned: None, base: host, bytes }, true)
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
        self.with_owned(region, |owned| owned.map(range))
    }

    pub(crate) fn unmap(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.with_owned(region, |owned| owned.unmap(range))
    }

    pub(crate) fn release(&self, region: RegionId) -> Result<()> {
        let entry = lock(&self.table).entries.remove(&region);
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

    fn with_owned(&self, region: RegionId, act: impl FnOnce(&HostRegion) -> Result<()>) -> Result<()> {
        let table = lock(&self.table);
        match table.entries.get(&region).and_then(|entry| entry.owned.as_ref()) {
            Some(owned) => act(owned),
            None => {
                let detail = "no such region, or not ours".into();
                Err(Error::Driver { call: "region_map", code: i64::from(region), detail })
            }
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
