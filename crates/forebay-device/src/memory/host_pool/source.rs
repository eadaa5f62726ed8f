//! Where the bytes of host buffers come from: the allocator for most, mapped pages for large ones.
//!
//! Owns: taking memory, aligning it, asking for huge pages, giving it back. Never: deciding what is kept.
//! Rule S1: a `Bytes` is the only owner of its memory, which is `len` bytes at `data`, and lives until its drop.
//! Next room: `block`, which adds what the pool has to know about a buffer.
#![allow(unsafe_code, reason = "takes raw memory from the allocator and from the system")]

use std::{
    alloc::{Layout, alloc, dealloc},
    ptr::NonNull,
};

/// Alignment of every buffer.
pub(super) const ALIGN: usize = 64;

/// Buffers from this size on are mapped on Linux, aligned to it, and ask for huge pages.
pub(super) const MAPPED_FROM: usize = 2 << 20;

/// The most bytes one buffer can have: leaves room for rounding to pages and to `MAPPED_FROM`.
pub(super) const MOST: usize = (isize::MAX as usize - 4 * MAPPED_FROM) / ALIGN * ALIGN;

/// Buffers from this size on are whole lines of the cache: sizes that are nearly the same serve each other, and a pool
/// has few of them to search.
const WHOLE_FROM: usize = 4096;

/// The capacity of a fresh buffer for so many bytes.
#[inline(always)]
pub(super) fn capacity_for(bytes: usize) -> usize {
    if bytes < WHOLE_FROM { bytes } else { bytes.saturating_add(ALIGN - 1) & !(ALIGN - 1) }
}

const CAN_MAP: bool = cfg!(all(target_os = "linux", not(miri)));

/// Owned host memory.
pub(super) struct Bytes {
    data: NonNull<u8>,
    len: usize,
}

impl Bytes {
    /// Fresh memory, and whether it is known to be zero. None where the system has no more.
    pub(super) fn fresh(len: usize) -> Option<(Self, bool)> {
        debug_assert!(len > 0 && len <= MOST);
        if CAN_MAP && len >= MAPPED_FROM {
            return map(len).map(|data| (Self { data, len }, true));
        }
        let layout = layout(len)?;
        // SAFETY: the layout has a size above zero, as `len` has.
        let data = NonNull::new(unsafe { alloc(layout) })?;
        Some((Self { data, len }, false))
    }

    pub(super) fn data(&self) -> NonNull<u8> {
        self.data
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if CAN_MAP && self.len >= MAPPED_FROM {
            unmap(self.data, self.len);
        } else if let Some(layout) = layout(self.len) {
            // SAFETY: S1, and `fresh` took it with this layout.
            unsafe { dealloc(self.data.as_ptr(), layout) }
        }
    }
}

// SAFETY: S1; the memory is not tied to a thread.
unsafe impl Send for Bytes {}
// SAFETY: a shared reference gives out the address and the length only.
unsafe impl Sync for Bytes {}

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len, ALIGN).ok()
}

#[cfg(all(target_os = "linux", not(miri)))]
fn map(len: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    let page = rustix::param::page_size();
    let len = len.next_multiple_of(page);
    let total = len + MAPPED_FROM - page;
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new anonymous mapping at a place of the system's choice touches no memory that is in use.
    let raw = unsafe { mmap_anonymous(std::ptr::null_mut(), total, prot, flags) }.ok()?;
    let head = raw.addr().next_multiple_of(MAPPED_FROM) - raw.addr();
    let tail = total - head - len;
    let start = raw.wrapping_byte_add(head);
    // SAFETY: head, start..start+len and tail are the three parts of the mapping just made, cut at pages; nobody
    // else knows the outer two. Failing to cut or to advise costs address space or speed, not correctness.
    unsafe {
        if head > 0 {
            let _ = munmap(raw, head);
        }
        if tail > 0 {
            let _ = munmap(start.wrapping_byte_add(len), tail);
        }
        let _ = madvise(start, len, Advice::LinuxHugepage);
    }
    NonNull::new(start.cast())
}

#[cfg(all(target_os = "linux", not(miri)))]
fn unmap(data: NonNull<u8>, len: usize) {
    let len = len.next_multiple_of(rustix::param::page_size());
    // SAFETY: S1; `map` made exactly this range.
    let _ = unsafe { rustix::mm::munmap(data.as_ptr().cast(), len) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn map(_: usize) -> Option<NonNull<u8>> {
    None
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn unmap(_: NonNull<u8>, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_whole_and_zero_where_it_says_so() {
        for len in [1, 63, 64, 4097, MAPPED_FROM - 1, MAPPED_FROM, MAPPED_FROM + 1, 3 * MAPPED_FROM + 4097] {
            let (bytes, zero) = Bytes::fresh(len).unwrap();
            assert_eq!(bytes.data().as_ptr().addr() % ALIGN, 0, "{len}");
            assert_eq!(bytes.len(), len);
            // SAFETY: S1; all of it is written before it is read, unless it is known to be zero.
            unsafe {
                let all = bytes.data().as_ptr();
                if zero {
                    assert!(std::slice::from_raw_parts(all, len).iter().all(|&b| b == 0));
                }
                all.write_bytes(7, len);
                assert!(std::slice::from_raw_parts(all, len).iter().all(|&b| b == 7));
            }
        }
    }

    #[test]
    fn what_cannot_be_had_is_none() {
        assert!(Bytes::fresh(MOST).is_none());
    }
}
