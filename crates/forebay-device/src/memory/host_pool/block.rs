//! A buffer as the pool knows it, and lists of them.
//!
//! Owns: the link fields, and with them the rule who may touch a block. Never: synchronisation.
//! Rule L1: a block is owned by exactly one `Box` or one `List`; its links mean something only inside a list.
//! Rule L2: in a list, `newest` and `oldest` are the ends and every link leads to a block of the same list.
//! Next rooms: `magazine` and `depot`, the two places that keep lists.
#![allow(unsafe_code, reason = "intrusive links, so that a return allocates nothing")]

use std::{mem::ManuallyDrop, ptr};

use super::{shared::Shared, source::Bytes};
use crate::sync::{Arc, Ordering};

/// One buffer, leased or free.
pub(super) struct Block {
    bytes: Bytes,
    /// When it came back last, on the clock of the pool.
    pub(super) stamp: u64,
    newer: *mut Block,
    older: *mut Block,
    shared: Arc<Shared>,
}

impl Block {
    pub(super) fn new(bytes: Bytes, shared: Arc<Shared>) -> Box<Self> {
        shared.live.fetch_add(1, Ordering::Relaxed);
        shared.live_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Box::new(Self { bytes, stamp: 0, newer: ptr::null_mut(), older: ptr::null_mut(), shared })
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn data(&self) -> ptr::NonNull<u8> {
        self.bytes.data()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.shared.live.fetch_sub(1, Ordering::Relaxed);
        self.shared.live_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

// SAFETY: L1; the links are followed by the owner only, the rest is Send.
unsafe impl Send for Block {}
// SAFETY: a shared reference reads the capacity, the address and the pool, which never change.
unsafe impl Sync for Block {}

/// Blocks in the order of their return.
pub(super) struct List {
    newest: *mut Block,
    oldest: *mut Block,
    len: usize,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { newest: ptr::null_mut(), oldest: ptr::null_mut(), len: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stamp of the block that has been here longest.
    pub(super) fn oldest_stamp(&self) -> Option<u64> {
        // SAFETY: L2; null or a block of this list.
        unsafe { self.oldest.as_ref() }.map(|block| block.stamp)
    }

    #[inline]
    pub(super) fn push_newest(&mut self, block: Box<Block>) {
        let block = Box::into_raw(block);
        // SAFETY: L1; the box gave the block up to this list. L2 for the end it is linked to.
        unsafe {
            (*block).newer = ptr::null_mut();
            (*block).older = self.newest;
            match self.newest.as_mut() {
                Some(next) => next.newer = block,
                None => self.oldest = block,
            }
        }
        self.newest = block;
        self.len += 1;
    }

    #[inline]
    pub(super) fn pop_newest(&mut self) -> Option<Box<Block>> {
        if self.newest.is_null() {
            return None;
        }
        // SAFETY: L2; a block of this list, which leaves it here, so L1 gives it to the box.
        let block = unsafe { Box::from_raw(self.newest) };
        self.newest = block.older;
        // SAFETY: L2.
        match unsafe { self.newest.as_mut() } {
            Some(next) => next.newer = ptr::null_mut(),
            None => self.oldest = ptr::null_mut(),
        }
        self.len -= 1;
        Some(block)
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Box<Block>> {
        if self.oldest.is_null() {
            return None;
        }
        // SAFETY: L2; a block of this list, which leaves it here, so L1 gives it to the box.
        let block = unsafe { Box::from_raw(self.oldest) };
        self.oldest = block.newer;
        // SAFETY: L2.
        match unsafe { self.oldest.as_mut() } {
            Some(next) => next.older = ptr::null_mut(),
            None => self.newest = ptr::null_mut(),
        }
        self.len -= 1;
        Some(block)
    }

    /// Cuts off up to `count` of the newest.
    pub(super) fn take_newest(&mut self, count: usize) -> Self {
        let mut taken = Self::new();
        while taken.len < count
            && let Some(block) = self.pop_newest()
        {
            taken.push_oldest(block);
        }
        taken
    }

    /// Cuts off up to `count` of the oldest.
    pub(super) fn take_oldest(&mut self, count: usize) -> Self {
        let mut taken = Self::new();
        while taken.len < count
            && let Some(block) = self.pop_oldest()
        {
            taken.push_newest(block);
        }
        taken
    }

    /// Puts a whole list on the newest end of this one.
    pub(super) fn append(&mut self, newer: Self) {
        let newer = ManuallyDrop::new(newer);
        if newer.is_empty() {
            return;
        }
        let oldest = newer.oldest;
        // SAFETY: L2 for both lists; `newer` is never used or dropped again, so L1 holds.
        unsafe {
            (*oldest).older = self.newest;
            match self.newest.as_mut() {
                Some(next) => next.newer = oldest,
                None => self.oldest = oldest,
            }
        }
        self.newest = newer.newest;
        self.len += newer.len;
    }

    fn push_oldest(&mut self, block: Box<Block>) {
        let block = Box::into_raw(block);
        // SAFETY: L1; the box gave the block up to this list. L2 for the end it is linked to.
        unsafe {
            (*block).older = ptr::null_mut();
            (*block).newer = self.oldest;
            match self.oldest.as_mut() {
                Some(next) => next.older = block,
                None => self.newest = block,
            }
        }
        self.oldest = block;
        self.len += 1;
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        while self.pop_newest().is_some() {}
    }
}

// SAFETY: L1; a list owns its blocks, and blocks are Send.
unsafe impl Send for List {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn blocks(stamps: impl IntoIterator<Item = u64>) -> (Arc<Shared>, List) {
        let shared = Arc::new(Shared::new(usize::MAX));
        let mut list = List::new();
        for stamp in stamps {
            let mut block = Block::new(Bytes::fresh(8).unwrap().0, Arc::clone(&shared));
            block.stamp = stamp;
            list.push_newest(block);
        }
        (shared, list)
    }

    fn drain(list: &mut List) -> Vec<u64> {
        std::iter::from_fn(|| list.pop_oldest()).map(|block| block.stamp).collect()
    }

    #[test]
    fn both_ends_give_the_order_of_return() {
        let (_shared, mut list) = blocks(0..5);
        assert_eq!(list.pop_newest().unwrap().stamp, 4);
        assert_eq!(list.pop_oldest().unwrap().stamp, 0);
        assert_eq!(list.oldest_stamp(), Some(1));
        assert_eq!(drain(&mut list), [1, 2, 3]);
        assert!(list.is_empty() && list.pop_newest().is_none() && list.oldest_stamp().is_none());
        let (_shared, mut one) = blocks([9]);
        assert_eq!(one.pop_oldest().unwrap().stamp, 9);
        assert!(one.pop_newest().is_none());
    }

    #[test]
    fn cutting_and_joining_keep_the_order() {
        let (shared, mut list) = blocks(0..6);
        let mut newest = list.take_newest(2);
        let mut oldest = list.take_oldest(3);
        assert_eq!((list.len(), newest.len(), oldest.len()), (1, 2, 3));
        oldest.append(List::new());
        oldest.append(list);
        oldest.append(newest.take_newest(9));
        assert!(newest.is_empty());
        newest.append(oldest);
        assert_eq!(drain(&mut newest), [0, 1, 2, 3, 4, 5]);
        assert_eq!(shared.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_dropped_list_frees_its_blocks() {
        let (shared, list) = blocks(0..3);
        assert_eq!(shared.live_bytes.load(Ordering::Relaxed), 24);
        drop(list);
        assert_eq!(shared.live_bytes.load(Ordering::Relaxed), 0);
    }
}
