#![allow(unsafe_code, reason = "memory of the card is taken and given back by the driver")]
//! Regions on a card: address space mapped page by page, plain allocations where the driver cannot do that, pinned
//! memory of the host, and memory of others.
//!
//! Rules for the unsafe code:
//! - M1 An owned region is in the table from the call that made it to the call that gives it back.
//! - M2 Callers ask only for ranges inside a region, in whole pages where pages are meant (backend contract), and give
//!   memory back only when nothing uses it.
//! - M3 Each page is a mapping of its own, because the driver takes away only what it mapped in one call. Its handle is
//!   given up as soon as it is mapped: the mapping alone keeps the memory.
//!
//! Next room: `staging`, which moves bytes in and out.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::c_void,
    ops::Range,
    sync::Arc,
};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::{
    driver::{Context, call},
    staging::Place,
};
use crate::{
    backend::Region,
    caps::MemoryKind,
    error::{Error, MemoryReport, Result},
    launch::RegionId,
    sync::{Mutex, lock},
};

/// The regions of a device.
#[derive(Debug)]
pub(crate) struct Regions {
    context: Arc<Context>,
    /// The unit of mapping; 0 where the driver maps no pages.
    page: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: RegionId,
    entries: HashMap<RegionId, Entry>,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    address: u64,
    host: usize,
    bytes: u64,
}

/// How a region came about, and so how it goes.
#[derive(Debug)]
enum Kind {
    /// Address space, with the offsets of the pages that have memory behind them.
    Paged(BTreeSet<u64>),
    Plain,
    Pinned,
    Imported,
}

impl Regions {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        let mut regions = Self { context: context.clone(), page: 0, table: Mutex::default() };
        let pages = Attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED;
        if context.attribute(pages)? != 0 {
            let mut page = 0;
            let least = sys::CUmemAllocationGranularity_flags_enum::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
            context.bind()?;
            // SAFETY: C1, C2 and C4.
            let code = unsafe { sys::cuMemGetAllocationGranularity(&mut page, &regions.properties(), least) };
            call("cuMemGetAllocationGranularity", code)?;
            regions.page = page as u64;
        }
        Ok(regions)
    }

    /// The unit of mapping; 0 where regions come with their memory.
    pub(crate) fn page(&self) -> u64 {
        self.page
    }

    fn location(&self) -> sys::CUmemLocation {
        let type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        sys::CUmemLocation { type_, id: self.context.device() }
    }

    fn properties(&self) -> sys::CUmemAllocationProp {
        sys::CUmemAllocationProp {
            type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
            location: self.location(),
            win32HandleMetaData: std::ptr::null_mut(),
            allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
                compressionType: 0,
                gpuDirectRDMACapable: 0,
                usage: 0,
                reserved: [0; 4],
            },
        }
    }

    /// Takes address space, with memory unless it is to be mapped page by page.
    pub(crate) fn reserve(&self, kind: MemoryKind, bytes: u64) -> Result<Region> {
        self.context.bind()?;
        match kind {
            MemoryKind::Staging => self.reserve_pinned(bytes),
            MemoryKind::Device if self.page == 0 => {
                let mut address = 0;
                // SAFETY: C1, C2 and C4; M1.
                let code = unsafe { sys::cuMemAlloc_v2(&mut address, bytes as usize) };
                call("cuMemAlloc", code).map_err(|error| asking(error, bytes))?;
                Ok(self.insert(Entry { kind: Kind::Plain, address, host: 0, bytes }))
            }
            MemoryKind::Device => {
                let too_large = Error::TooLarge { asked: bytes, most: 1 << 46 };
                let bytes = bytes.checked_next_multiple_of(self.page).ok_or(too_large)?;
                let mut address = 0;
                // SAFETY: C1, C2 and C4; M1.
                let code = unsafe {
                    sys::cuMemAddressReserve(&mut address, bytes as usize, self.page as usize, 0, 0)
                };
                call("cuMemAddressReserve", code).map_err(|error| asking(error, bytes))?;
                Ok(self.insert(Entry { kind: Kind::Paged(BTreeSet::new()), address, host: 0, bytes }))
            }
        }
    }

    fn reserve_pinned(&self, bytes: u64) -> Result<Region> {
        let (mut host, mut address) = (std::ptr::null_mut::<c_void>(), 0);
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: C1, C2 and C4; M1.
        let code = unsafe { sys::cuMemHostAlloc(&mut host, bytes as usize, flags) };
        call("cuMemHostAlloc", code).map_err(|error| asking(error, bytes))?;
        // SAFETY: C2 and C4.
        let code = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut address, host, 0) };
        if let Err(error) = call("cuMemHostGetDevicePointer", code) {
            // SAFETY: M1: just taken, and nobody knows of it.
            let _ = unsafe { sys::cuMemFreeHost(host) };
            return Err(error);
        }
        let host = host.expose_provenance();
        Ok(self.insert(Entry { kind: Kind::Pinned, address, host, bytes }))
    }

    /// Makes memory of somebody else known: an address of the card, or of pinned memory of the host.
    pub(crate) fn import(&self, address: u64, host: usize, bytes: u64) -> Region {
        self.insert(Entry { kind: Kind::Imported, address, host, bytes })
    }

    fn insert(&self, entry: Entry) -> Region {
        let mut table = lock(&self.table);
        let id = table.next;
        table.next += 1;
        let (address, host, bytes) = (entry.address, entry.host, entry.bytes);
        let mapped = !matches!(entry.kind, Kind::Paged(_));
        table.entries.insert(id, entry);
        Region { id, address, host, bytes, mapped, zeroed: false }
    }

    /// Where the bytes of a region from an offset on are.
    pub(crate) fn place(&self, region: RegionId, offset: u64) -> Result<Place> {
        let table = lock(&self.table);
        let entry = table.entries.get(&region).ok_or_else(|| unknown(region))?;
        Ok(match entry.host {
            0 => Place::Card(entry.address + offset),
            host => Place::Host(std::ptr::with_exposed_provenance_mut(host + offset as usize)),
        })
    }

    /// Puts memory behind whole pages. On an error none of them has any.
    pub(crate) fn map(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.context.bind()?;
        let mut table = lock(&self.table);
        let (address, pages) = paged(&mut table, region)?;
        let mut outcome = Ok(());
        let mut end = range.start;
        while end < range.end && outcome.is_ok() {
            outcome = self.map_page(address + end);
            if outcome.is_ok() {
                pages.insert(end);
                end += self.page;
            }
        }
        if outcome.is_ok() && end > range.start {
            let flags = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
            let access = sys::CUmemAccessDesc { location: self.location(), flags };
            let (start, bytes) = (address + range.start, (end - range.start) as usize);
            // SAFETY: C2 and C4; M2: all of it was mapped just now.
            outcome = call("cuMemSetAccess", unsafe { sys::cuMemSetAccess(start, bytes, &access, 1) });
        }
        outcome.map_err(|error| {
            let bytes = range.end - range.start;
            let _ = self.unmap_pages(address, pages, range.start..end);
            asking(error, bytes)
        })
    }

    fn map_page(&self, address: u64) -> Result<()> {
        let (mut handle, bytes) = (0, self.page as usize);
        // SAFETY: C1, C2 and C4.
        call("cuMemCreate", unsafe { sys::cuMemCreate(&mut handle, bytes, &self.properties(), 0) })?;
        // SAFETY: C4; M2: a page of a region that has nothing behind it.
        let mapped = call("cuMemMap", unsafe { sys::cuMemMap(address, bytes, 0, handle, 0) });
        // SAFETY: M3: the mapping keeps the memory, or there is none and the memory goes.
        let released = call("cuMemRelease", unsafe { sys::cuMemRelease(handle) });
        mapped.and(released)
    }

    /// Takes memory away from whole pages.
    pub(crate) fn unmap(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.context.bind()?;
        let mut table = lock(&self.table);
        let (address, pages) = paged(&mut table, region)?;
        self.unmap_pages(address, pages, range)
    }

    fn unmap_pages(&self, address: u64, pages: &mut BTreeSet<u64>, range: Range<u64>) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(&page) = pages.range(range.clone()).next() {
            pages.remove(&page);
            // SAFETY: C4; M2 and M3: one whole mapping, which nothing uses.
            let code = unsafe { sys::cuMemUnmap(address + page, self.page as usize) };
            outcome = outcome.and(call("cuMemUnmap", code));
        }
        outcome
    }

    /// Gives a region back, with all that is still mapped.
    pub(crate) fn release(&self, region: RegionId) -> Result<()> {
        self.context.bind()?;
        let entry = lock(&self.table).entries.remove(&region).ok_or_else(|| unknown(region))?;
        self.give_back(entry)
    }

    fn give_back(&self, entry: Entry) -> Result<()> {
        let Entry { kind, address, host, bytes } = entry;
        match kind {
            Kind::Imported => Ok(()),
            // SAFETY: M1 and M2; C4.
            Kind::Plain => call("cuMemFree", unsafe { sys::cuMemFree_v2(address) }),
            Kind::Pinned => {
                let host = std::ptr::with_exposed_provenance_mut(host);
                // SAFETY: as above.
                call("cuMemFreeHost", unsafe { sys::cuMemFreeHost(host) })
            }
            Kind::Paged(mut pages) => {
                let unmapped = self.unmap_pages(address, &mut pages, 0..bytes);
                // SAFETY: as above; nothing is mapped in it any more.
                let code = unsafe { sys::cuMemAddressFree(address, bytes as usize) };
                unmapped.and(call("cuMemAddressFree", code))
            }
        }
    }
}

impl Drop for Regions {
    fn drop(&mut self) {
        let entries = std::mem::take(&mut lock(&self.table).entries);
        if self.context.bind().is_ok() {
            // The queues are drained: nothing uses any of it. Nobody is left to be told of an error.
            entries.into_values().for_each(|entry| _ = self.give_back(entry));
        }
    }
}

fn paged(table: &mut Table, region: RegionId) -> Result<(u64, &mut BTreeSet<u64>)> {
    match table.entries.get_mut(&region) {
        Some(Entry { kind: Kind::Paged(pages), address, .. }) => Ok((*address, pages)),
        _ => Err(unknown(region)),
    }
}

fn unknown(region: RegionId) -> Error {
    Error::Driver { call: "region", code: i64::from(region), detail: "no such region".into() }
}

/// An error of running out, with what was asked for.
fn asking(error: Error, asked: u64) -> Error {
    match error {
        Error::Exhausted(_) => Error::Exhausted(Box::new(MemoryReport { asked, ..Default::default() })),
        error => error,
    }
}
