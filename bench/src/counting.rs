#![allow(unsafe_code, reason = "a global allocator is unsafe by its interface")]
//! The system's allocator, counting how often it is asked: what shows that a path allocates nothing.
//!
//! Rule C1: every call is handed on as it came, so the system's allocator keeps what it promises.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// The allocator of the whole program.
pub(crate) struct Counting;

/// How often memory was asked for so far, by any thread.
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

// SAFETY: C1.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: C1: what the caller promises is what the system's allocator asks.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: C1.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: C1: what the caller promises is what the system's allocator asks.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: C1.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: C1: what the caller promises is what the system's allocator asks.
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: C1.
        unsafe { System.realloc(start, layout, bytes) }
    }

    // SAFETY: C1: what the caller promises is what the system's allocator asks.
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: C1.
        unsafe { System.dealloc(start, layout) }
    }
}
