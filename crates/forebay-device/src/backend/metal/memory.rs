#![allow(unsafe_code, reason = "bytes of shared buffers are reached by address")]
//! Regions on Metal: a shared buffer each, which host and device see alike, and the set that keeps them resident.
//!
//! Rules for the unsafe code:
//! - M1 The contents of a buffer stay where they are while it is in the table.
//! - M2 Callers ask only for ranges inside a region that nothing else uses (backend contract).
//! - M3 Memory of others is wrapped in the whole pages around it. Nobody reads or writes what is beside it.
//!
//! A region that goes leaves the residency set at once, since the set must not outlive its members. Next room: `queue`.

use std::{collections::HashMap, ffi::c_void, ptr, ptr::NonNull};

use objc2::{
    runtime::{NSObjectProtocol, ProtocolObject},
    sel,
};
use objc2_metal::{
    MTLAllocation, MTLBuffer, MTLCommandQueue, MTLDevice, MTLResidencySet, MTLResidencySetDescriptor,
    MTLResourceOptions,
};

use super::{Object, failure};
use crate::{
    backend::{Region, ResidencyChange},
    error::{Error, MemoryReport, Result},
    launch::{Place, RegionId},
    sync::{Mutex, MutexGuard, lock},
};

/// Shared memory whose hazards are ours to order.
const OPTIONS: MTLResourceOptions = MTLResourceOptions(
    MTLResourceOptions::StorageModeShared.0 | MTLResourceOptions::HazardTrackingModeUntracked.0,
);

/// Bytes of the buffer that stands in for arguments without any.
const STAND_IN: usize = 256;

/// The regions of a device.
#[derive(Debug)]
pub(super) struct Regions {
    device: Object<dyn MTLDevice>,
    set: Option<Object<dyn MTLResidencySet>>,
    /// Bound where an argument has no bytes: nothing may be bound to nothing.
    stand_in: Object<dyn MTLBuffer>,
    table: Mutex<Table>,
}

// SAFETY: O2.
unsafe impl Send for Regions {}
// SAFETY: O2.
unsafe impl Sync for Regions {}

#[derive(Debug, Default)]
struct Table {
    next: RegionId,
    entries: HashMap<RegionId, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// None for a region without bytes.
    buffer: Option<Object<dyn MTLBuffer>>,
    /// Where the region starts in the buffer.
    shift: usize,
    host: usize,
    bytes: u64,
    /// How many of its pieces are members of the residency set.
    members: u64,
}

/// The regions, held still while a submission is encoded.
pub(super) struct Held<'a> {
    table: MutexGuard<'a, Table>,
    stand_in: &'a ProtocolObject<dyn MTLBuffer>,
}

impl Held<'_> {
    /// The buffer that a place lies in, and its offset there.
    pub(super) fn place(&self, place: &Place) -> Result<(&ProtocolObject<dyn MTLBuffer>, usize)> {
        if place.len == 0 {
            return Ok((self.stand_in, 0));
        }
        match self.table.entries.get(&place.region) {
            Some(Entry { buffer: Some(buffer), shift, .. }) => Ok((buffer, shift + place.offset as usize)),
            _ => Err(unknown(place.region)),
        }
    }
}

impl Regions {
    pub(super) fn new(device: &Object<dyn MTLDevice>) -> Result<Self> {
        let stand_in = allocate(device, STAND_IN)?;
        let (device, set) = (device.clone(), residency_set(device)?);
        Ok(Self { device, set, stand_in, table: Mutex::default() })
    }

    /// Keeps the members of the set resident for what a queue runs.
    pub(super) fn attach(&self, queue: &ProtocolObject<dyn MTLCommandQueue>) {
        if let Some(set) = &self.set {
            queue.addResidencySet(set);
        }
    }

    pub(super) fn hold(&self) -> Held<'_> {
        Held { table: lock(&self.table), stand_in: &self.stand_in }
    }

    pub(super) fn reserve(&self, bytes: u64) -> Result<Region> {
        let most = self.device.maxBufferLength() as u64;
        let len = usize::try_from(bytes).ok().filter(|_| bytes <= most);
        let buffer = allocate(&self.device, len.ok_or(Error::TooLarge { asked: bytes, most })?)?;
        let host = buffer.contents().as_ptr().expose_provenance();
        Ok(self.insert(Entry { buffer: Some(buffer), shift: 0, host, bytes, members: 0 }))
    }

    /// Makes memory of the host known, in the pages that it lies in.
    pub(super) fn import(&self, host: usize, bytes: u64) -> Result<Region> {
        if bytes == 0 {
            return Ok(self.insert(Entry { buffer: None, shift: 0, host, bytes, members: 0 }));
        }
        let page = rustix::param::page_size();
        let most = self.device.maxBufferLength() as u64;
        let start = host / page * page;
        let len = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| host.checked_add(bytes)?.checked_next_multiple_of(page))
            .map(|end| end - start)
            .filter(|&len| len as u64 <= most)
            .ok_or(Error::TooLarge { asked: bytes, most })?;
        let refused =
            Error::Unsupported { what: "use this memory of the host in place: copy it", backend: "metal" };
        let first =
            NonNull::new(ptr::with_exposed_provenance_mut::<c_void>(start)).ok_or_else(|| refused.clone())?;
        // SAFETY: M3; the memory stays until the region is released, as whoever imports it promises.
        let buffer = unsafe {
            self.device.newBufferWithBytesNoCopy_length_options_deallocator(first, len, OPTIONS, None)
        };
        let buffer = Some(buffer.ok_or(refused)?);
        Ok(self.insert(Entry { buffer, shift: host - start, host, bytes, members: 0 }))
    }

    fn insert(&self, entry: Entry) -> Region {
        let mut table = lock(&self.table);
        let id = table.next;
        table.next += 1;
        let (host, bytes) = (entry.host, entry.bytes);
        table.entries.insert(id, entry);
        Region { id, address: host as u64, host, bytes, mapped: true, zeroed: false }
    }

    pub(super) fn release(&self, region: RegionId) -> Result<()> {
        let entry = lock(&self.table).entries.remove(&region).ok_or_else(|| unknown(region))?;
        if let (Some(set), Some(buffer), 1..) = (&self.set, &entry.buffer, entry.members) {
            set.removeAllocation(allocation(buffer));
            set.commit();
        }
        Ok(())
    }

    /// Brings the set up to date in one commit. A buffer is a member as long as any piece of it is wanted.
    pub(super) fn residency(&self, changes: &[ResidencyChange]) {
        let Some(set) = &self.set else { return };
        let mut table = lock(&self.table);
        let mut changed = false;
        for change in changes {
            // What is gone by now left the set when it went.
            let Some(entry) = table.entries.get_mut(&change.region) else { continue };
            let Some(buffer) = &entry.buffer else { continue };
            let before = entry.members;
            entry.members = match change.add {
                true => before + 1,
                false => before.saturating_sub(1),
            };
            match (before, entry.members) {
                (0, 1) => set.addAllocation(allocation(buffer)),
                (1, 0) => set.removeAllocation(allocation(buffer)),
                _ => continue,
            }
            changed = true;
        }
        if changed {
            set.commit();
        }
    }

    fn start(&self, region: RegionId, offset: u64, len: u64) -> Result<usize> {
        let table = lock(&self.table);
        let entry = table.entries.get(&region).ok_or_else(|| unknown(region))?;
        let end = offset.saturating_add(len);
        if end > entry.bytes {
            return Err(Error::OutOfBounds { start: offset, end, len: entry.bytes });
        }
        Ok(entry.host + offset as usize)
    }

    pub(super) fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()> {
        let start = self.start(region, offset, to.len() as u64)?;
        // SAFETY: M1 and M2; `to` is an exclusive slice and so does not overlap.
        unsafe { ptr::copy_nonoverlapping(ptr::with_exposed_provenance(start), to.as_mut_ptr(), to.len()) }
        Ok(())
    }

    pub(super) fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()> {
        let start = self.start(region, offset, from.len() as u64)?;
        // SAFETY: M1 and M2.
        unsafe {
            ptr::copy_nonoverlapping(from.as_ptr(), ptr::with_exposed_provenance_mut(start), from.len())
        }
        Ok(())
    }

    pub(super) fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()> {
        let start = self.start(region, offset, bytes)?;
        // SAFETY: M1 and M2; a range inside a region fits in a `usize`.
        unsafe { ptr::write_bytes(ptr::with_exposed_provenance_mut::<u8>(start), byte, bytes as usize) }
        Ok(())
    }
}

fn allocate(device: &ProtocolObject<dyn MTLDevice>, len: usize) -> Result<Object<dyn MTLBuffer>> {
    device.newBufferWithLength_options(len.max(1), OPTIONS).ok_or_else(|| {
        Error::Exhausted(Box::new(MemoryReport { asked: len as u64, ..MemoryReport::default() }))
    })
}

/// The set of a device; none where the system is too old for one.
fn residency_set(device: &ProtocolObject<dyn MTLDevice>) -> Result<Option<Object<dyn MTLResidencySet>>> {
    // O4: macOS 15 brought them.
    if !device.respondsToSelector(sel!(newResidencySetWithDescriptor:error:)) {
        return Ok(None);
    }
    let descriptor = MTLResidencySetDescriptor::new();
    let set = device.newResidencySetWithDescriptor_error(&descriptor);
    set.map(Some).map_err(|error| failure("newResidencySet", &error))
}

fn allocation(buffer: &Object<dyn MTLBuffer>) -> &ProtocolObject<dyn MTLAllocation> {
    ProtocolObject::from_ref(&**buffer)
}

fn unknown(region: RegionId) -> Error {
    Error::Driver { call: "region", code: i64::from(region), detail: "no such region".into() }
}
