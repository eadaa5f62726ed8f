#![allow(unsafe_code, reason = "the card writes words that the host reads")]
//! Completion on a card: one word a queue, in host memory that the card writes after every submission.
//!
//! Nobody has to be told, and no thread stands by: who wants to know how far a queue is reads its word, and other queues
//! wait for it on the card. Rules:
//! - W1 The words are pinned, aligned to 8 bytes, and live as long as `Words`; the queues are drained before.
//! - W2 They are written by the card alone, each by one stream, in rising order.

use std::{
    ffi::c_void,
    sync::{
        Arc,
        // What a device writes is no business of loom's.
        atomic::AtomicU64,
    },
};

use cudarc::driver::sys;

use super::{
    driver::{Context, call},
    queue::Stream,
};
use crate::{
    backend::{MAX_QUEUES, QueueId, timeline::Progress},
    error::Result,
    sync::{Mutex, Ordering, lock},
};

/// Bytes from one word to the next, so that no two queues share a cache line.
const STRIDE: usize = 64;

/// The words of all queues of a device.
#[derive(Debug)]
pub(crate) struct Words {
    host: *mut c_void,
    address: u64,
    streams: Mutex<Vec<Arc<Stream>>>,
    context: Arc<Context>,
}

// SAFETY: W1: memory that stays; it is read as atomic words only.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        context.bind()?;
        let bytes = STRIDE * MAX_QUEUES;
        let (mut host, mut address) = (std::ptr::null_mut(), 0);
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: C1, C2 and C4; given up by `drop`.
        call("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut host, bytes, flags) })?;
        let (streams, context) = (Mutex::new(Vec::new()), context.clone());
        let mut words = Self { host, address: 0, streams, context };
        // SAFETY: W1: so many bytes were just allocated, and nobody else knows of them.
        unsafe { std::ptr::write_bytes(host.cast::<u8>(), 0, bytes) };
        // SAFETY: C2 and C4.
        let code = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut address, host, 0) };
        call("cuMemHostGetDevicePointer", code)?;
        words.address = address;
        Ok(words)
    }

    /// Where the card sees the word of a queue.
    pub(crate) fn address(&self, queue: QueueId) -> u64 {
        self.address + queue as u64 * STRIDE as u64
    }

    /// Counts a queue among those whose health is looked at.
    pub(crate) fn watch(&self, stream: &Arc<Stream>) {
        lock(&self.streams).push(stream.clone());
    }
}

impl Progress for Words {
    fn completed(&self, queue: QueueId) -> u64 {
        let word = self.host.wrapping_byte_add(queue as usize * STRIDE).cast::<AtomicU64>();
        // SAFETY: W1 and W2; `queue` is one of `MAX_QUEUES`, as the backend numbers them.
        unsafe { &*word }.load(Ordering::Acquire)
    }

    fn check(&self) -> Result<()> {
        self.context.bind()?;
        lock(&self.streams).iter().try_for_each(|stream| stream.check())
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: W1: the queues are drained, and the last owner goes.
        let _ = unsafe { sys::cuMemFreeHost(self.host) };
    }
}
