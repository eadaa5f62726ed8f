#![allow(unsafe_code, reason = "address space of the host is taken and given back by system calls")]
//! Address space of the host, mapped page by page: what regions are made of on the CPU and in simulations.
//!
//! Rules for the unsafe code:
//! - R1 A `HostRegion` owns the pages from `base` on for `bytes` bytes, from `reserve` to `drop`, and nobody else
//!   maps or unmaps them.
//! - R2 Ranges are checked against the region before any call.
//! - R3 Unmapping happens only when the pool says that nothing uses the range (backend rule B7).

use std::{ffi::c_void, ops::Range, ptr};

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap_anonymous, mprotect, munlock, munmap,
};

use crate::error::{Error, MemoryReport, Result};

/// The unit of mapping: what one entry of the second level of the page table covers.
pub(crate) const PAGE: u64 = 2 << 20;

/// A range of address space of this process.
#[derive(Debug)]
pub(crate) struct HostRegion {
    base: usize,
    bytes: u64,
    /// What was mapped, before alignment.
    raw: (usize, usize),
}

impl HostRegion {
    /// Takes address space without memory behind it.
    pub(crate) fn reserve(bytes: u64) -> Result<Self> {
        let wanted = bytes
            .checked_next_multiple_of(PAGE)
            .and_then(|bytes| bytes.checked_add(PAGE))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or(Error::TooLarge { asked: bytes, most: 1 << 46 })?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: R1: a fresh mapping at an address of the system's choice touches nobody's memory.
        let raw = unsafe { mmap_anonymous(ptr::null_mut(), wanted, ProtFlags::empty(), flags) }
            .map_err(|errno| failure("mmap", errno, bytes))? as usize;
        let base = raw.next_multiple_of(PAGE as usize);
        Ok(Self { base, bytes: wanted as u64 - PAGE, raw: (raw, wanted) })
    }

    pub(crate) fn base(&self) -> usize {
        self.base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn pointer(&self, range: &Range<u64>) -> Result<(*mut c_void, usize)> {
        if range.start > range.end || range.end > self.bytes {
            return Err(Error::OutOfBounds { start: range.start, end: range.end, len: self.bytes });
        }
        let start = self.base + range.start as usize;
        Ok((ptr::with_exposed_provenance_mut(start), (range.end - range.start) as usize))
    }

    /// Puts memory behind a range, in large pages where the system has them. It reads as zero.
    pub(crate) fn map(&self, range: Range<u64>) -> Result<()> {
        let (start, len) = self.pointer(&range)?;
        // SAFETY: R1 and R2: the range is ours.
        unsafe { mprotect(start, len, MprotectFlags::READ | MprotectFlags::WRITE) }
            .map_err(|errno| failure("mprotect", errno, len as u64))?;
        #[cfg(target_os = "linux")]
        // SAFETY: R1 and R2; the advice changes no content. Systems without large pages refuse it, which is no loss.
        let _ = unsafe { madvise(start, len, Advice::LinuxHugepage) };
        Ok(())
    }

    /// Takes the memory behind a range away. Its bytes are gone: fresh address space takes their place, because no
    /// advice makes every system forget pages.
    pub(crate) fn unmap(&self, range: Range<u64>) -> Result<()> {
        let (start, len) = self.pointer(&range)?;
        if len == 0 {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: R1, R2 and R3: the pages that are replaced are ours, and nobody uses their bytes.
        let mapped = unsafe { mmap_anonymous(start, len, ProtFlags::empty(), flags) };
        mapped.map(drop).map_err(|errno| failure("mmap", errno, len as u64))
    }
}

impl Drop for HostRegion {
    fn drop(&mut self) {
        // SAFETY: R1: the mapping was made by `reserve` and is given up exactly here.
        let _ = unsafe { munmap(ptr::with_exposed_provenance_mut(self.raw.0), self.raw.1) };
    }
}

/// Reads the pages of a mapped range in ahead of their use. A hint: a system that does not know it reads them later.
pub(super) fn populate(start: usize, bytes: usize) {
    #[cfg(target_os = "linux")]
    const ADVICE: Advice = Advice::LinuxPopulateRead;
    #[cfg(not(target_os = "linux"))]
    const ADVICE: Advice = Advice::WillNeed;
    let (start, bytes) = whole_pages(start, bytes);
    // SAFETY: reading pages in changes no content, and pages that are not there any more are refused by the system.
    let _ = unsafe { madvise(ptr::with_exposed_provenance_mut(start), bytes, ADVICE) };
}

/// Keeps a range from being swapped out, or lets it be again.
pub(super) fn set_locked(start: usize, bytes: usize, locked: bool) -> Result<()> {
    let (start, bytes) = whole_pages(start, bytes);
    let start = ptr::with_exposed_provenance_mut(start);
    if bytes == 0 {
        return Ok(());
    }
    if !locked {
        // SAFETY: changes no content. What was unmapped meanwhile was unlocked by that.
        let _ = unsafe { munlock(start, bytes) };
        return Ok(());
    }
    // SAFETY: changes no content; pages that are not there are refused by the system.
    unsafe { mlock(start, bytes) }.map_err(|errno| Error::Driver {
        call: "mlock",
        code: errno.raw_os_error().into(),
        detail: format!("{errno}; raise the limit with `ulimit -l`, or do not lock memory").into(),
    })
}

/// The whole pages of the system that a range touches.
fn whole_pages(start: usize, bytes: usize) -> (usize, usize) {
    let page = rustix::param::page_size();
    let first = start / page * page;
    (first, if bytes == 0 { 0 } else { (start + bytes).next_multiple_of(page) - first })
}

fn failure(call: &'static str, errno: rustix::io::Errno, asked: u64) -> Error {
    if errno == rustix::io::Errno::NOMEM {
        return Error::Exhausted(Box::new(MemoryReport { asked, ..Default::default() }));
    }
    Error::Driver { call, code: errno.raw_os_error().into(), detail: errno.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_zeroed_and_lose_their_bytes_when_unmapped() {
        let region = HostRegion::reserve(3 * PAGE).unwrap();
        assert!(region.base().is_multiple_of(PAGE as usize));
        region.map(PAGE..2 * PAGE).unwrap();
        let byte: *mut u8 = ptr::with_exposed_provenance_mut(region.base() + PAGE as usize + 7);
        // SAFETY: R2: the byte lies in the mapped page.
        unsafe {
            assert_eq!(byte.read(), 0);
            byte.write(9);
        }
        region.unmap(PAGE..PAGE).unwrap();
        // SAFETY: as above: nothing was taken away.
        assert_eq!(unsafe { byte.read() }, 9);
        region.unmap(PAGE..2 * PAGE).unwrap();
        region.map(PAGE..2 * PAGE).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { byte.read() }, 0);
    }

    #[test]
    fn ranges_past_the_end_and_absurd_sizes_are_errors() {
        let region = HostRegion::reserve(PAGE).unwrap();
        assert!(matches!(region.map(0..2 * PAGE), Err(Error::OutOfBounds { .. })));
        assert!(HostRegion::reserve(u64::MAX).is_err());
        assert!(HostRegion::reserve(u64::MAX - PAGE).is_err());
    }
}
