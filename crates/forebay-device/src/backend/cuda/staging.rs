#![allow(unsafe_code, reason = "bytes are copied through pinned memory by address")]
//! Bytes on their way between host and card: through two pinned blocks, one filled while the other is under way.
//!
//! The pool says that nothing uses the bytes meanwhile, so one stream of its own serves all transfers; each is over when
//! the call returns. Rules:
//! - T1 The blocks are touched only under the lock, and by the host only when the copy that uses them has ended.
//! - T2 A place is that of so many mapped bytes of one region (backend contract).
//! - T3 Nothing else uses the bytes meanwhile, on the card or on the host (backend contract).

use std::{ffi::c_void, sync::Arc};

use cudarc::driver::sys;

use super::{
    driver::{Context, call},
    queue::Stream,
};
use crate::{
    error::Result,
    sync::{Mutex, lock},
};

/// Bytes of one block.
const BLOCK: usize = 4 << 20;

/// Where the bytes of a region are for whoever moves them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In the card's memory.
    Card(u64),
    /// In memory that the host sees, too.
    Host(*mut u8),
}

/// Moves bytes for the host.
#[derive(Debug)]
pub(crate) struct Staging {
    context: Arc<Context>,
    transfer: Mutex<Transfer>,
}

/// The blocks and what they are moved by.
#[derive(Debug)]
struct Transfer {
    stream: Stream,
    blocks: [Option<Block>; 2],
}

/// Pinned memory, and the event that says when the card is done with it.
#[derive(Debug)]
struct Block {
    start: *mut c_void,
    done: sys::CUevent,
}

// SAFETY: C3 and T1.
unsafe impl Send for Block {}

impl Block {
    fn new() -> Result<Self> {
        let mut block = Self { start: std::ptr::null_mut(), done: std::ptr::null_mut() };
        // SAFETY: C1, C2 and C4; given up by `drop`.
        call("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut block.start, BLOCK, 0) })?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: as above.
        call("cuEventCreate", unsafe { sys::cuEventCreate(&mut block.done, flags) })?;
        Ok(block)
    }

    /// Notes that the card is done with the block when it has come to here.
    fn used(&self, stream: &Stream) -> Result<()> {
        // SAFETY: C3 and C4.
        call("cuEventRecord", unsafe { sys::cuEventRecord(self.done, stream.raw()) })
    }

    /// Waits until the card is done with the block.
    fn free(&self) -> Result<()> {
        // SAFETY: C3 and C4.
        call("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.done) })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: C3: made by `new`, given up exactly here; null if it was never made.
        unsafe {
            if !self.done.is_null() {
                let _ = sys::cuEventDestroy_v2(self.done);
            }
            if !self.start.is_null() {
                let _ = sys::cuMemFreeHost(self.start);
            }
        }
    }
}

impl Staging {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        let transfer = Transfer { stream: Stream::new(context)?, blocks: [None, None] };
        Ok(Self { context: context.clone(), transfer: Mutex::new(transfer) })
    }

    /// Copies bytes of the host to the card.
    pub(crate) fn write(&self, place: Place, from: &[u8]) -> Result<()> {
        let address = match place {
            Place::Card(address) => address,
            Place::Host(start) => {
                // SAFETY: T2 and T3.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), start, from.len()) };
                return Ok(());
            }
        };
        self.context.bind()?;
        let mut transfer = lock(&self.transfer);
        let Transfer { stream, blocks } = &mut *transfer;
        let laid = (|| {
            let mut to = address;
            for (part, number) in from.chunks(BLOCK).zip([0, 1].into_iter().cycle()) {
                let block = ready(&mut blocks[number])?;
                block.free()?;
                // SAFETY: T1: the block is free; a part is no longer than it.
                unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), block.start.cast(), part.len()) };
                // SAFETY: T2; C2: the block stays until the stream is drained below.
                let code = unsafe { sys::cuMemcpyHtoDAsync_v2(to, block.start, part.len(), stream.raw()) };
                call("cuMemcpyHtoDAsync", code)?;
                block.used(stream)?;
                to += part.len() as u64;
            }
            Ok(())
        })();
        // Also after an error: nothing may be under way when the blocks are used next.
        laid.and(stream.drain())
    }

    /// Copies bytes of the card to the host.
    pub(crate) fn read(&self, place: Place, to: &mut [u8]) -> Result<()> {
        let address = match place {
            Place::Card(address) => address,
            Place::Host(start) => {
                // SAFETY: T2 and T3.
                unsafe { std::ptr::copy_nonoverlapping(start, to.as_mut_ptr(), to.len()) };
                return Ok(());
            }
        };
        self.context.bind()?;
        let mut transfer = lock(&self.transfer);
        let Transfer { stream, blocks } = &mut *transfer;
        let laid = (|| {
            let count = to.len().div_ceil(BLOCK);
            // One part ahead: while the host copies a part out of one block, the card fills the other.
            for number in 0..=count {
                if number < count {
                    let block = ready(&mut blocks[number % 2])?;
                    let start = number * BLOCK;
                    let (from, bytes) = (address + start as u64, BLOCK.min(to.len() - start));
                    // SAFETY: T1: the part that was in the block is copied out; T2; C2 as in `write`.
                    let code = unsafe { sys::cuMemcpyDtoHAsync_v2(block.start, from, bytes, stream.raw()) };
                    call("cuMemcpyDtoHAsync", code)?;
                    block.used(stream)?;
                }
                if let Some(number) = number.checked_sub(1) {
                    let block = ready(&mut blocks[number % 2])?;
                    block.free()?;
                    let start = number * BLOCK;
                    let end = to.len().min(start + BLOCK);
                    let part = &mut to[start..end];
                    // SAFETY: T1: the copy into the block has ended; a part is no longer than it.
                    unsafe {
                        std::ptr::copy_nonoverlapping(block.start.cast(), part.as_mut_ptr(), part.len())
                    };
                }
            }
            Ok(())
        })();
        laid.and(stream.drain())
    }

    /// Sets bytes of the card.
    pub(crate) fn fill(&self, place: Place, bytes: u64, byte: u8) -> Result<()> {
        let address = match place {
            _ if bytes == 0 => return Ok(()),
            Place::Card(address) => address,
            Place::Host(start) => {
                // SAFETY: T2 and T3.
                unsafe { std::ptr::write_bytes(start, byte, bytes as usize) };
                return Ok(());
            }
        };
        self.context.bind()?;
        let transfer = lock(&self.transfer);
        // SAFETY: T2; C3 and C4.
        let code = unsafe { sys::cuMemsetD8Async(address, byte, bytes as usize, transfer.stream.raw()) };
        call("cuMemsetD8Async", code).and(transfer.stream.drain())
    }
}

/// The block, made when first wanted.
fn ready(block: &mut Option<Block>) -> Result<&mut Block> {
    Ok(match block {
        Some(block) => block,
        none => none.insert(Block::new()?),
    })
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The blocks go while the context is current; the stream binds it itself.
        let _ = self.context.bind();
        lock(&self.transfer).blocks = [None, None];
    }
}
