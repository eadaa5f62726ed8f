#![allow(unsafe_code, reason = "hands out references to slots while more slots are added")]
//! What an arena knows of the buffers of a scope: one slot a buffer, in a table that only grows.
//!
//! A slot says where the bytes are. A lease is cut for it when somebody binds or guards the bytes, and not before; a
//! buffer that nobody looks at costs no lease. Rules:
//! - N1 Slots stay where they are until the arena goes; growing adds chunks of them.
//! - N2 Slots change through shared references, by one thread: inside a scope through what the scope lends, outside
//!   through an exclusive reference to the arena.
//!
//! Next room: `scope`.

use std::{
    cell::{Cell, OnceCell},
    fmt,
};

use super::super::{lease::Handle, range::GRANULE, stats::Tag};
use crate::label::Label;

/// The chunk of what a plan serves.
pub(super) const PLANNED: u32 = u32::MAX;

/// One buffer of a scope.
pub(super) struct Slot {
    /// Its number in the scope.
    pub(super) index: u32,
    /// While the [`Scratch`](super::scope::Scratch) exists.
    pub(super) live: Cell<bool>,
    pub(super) tag: Cell<Tag>,
    /// The chunk that the bytes are in: its number, or [`PLANNED`].
    pub(super) chunk: Cell<u32>,
    granule: Cell<u32>,
    pub(super) len: Cell<u64>,
    pub(super) label: Cell<Label>,
    /// What stands for the bytes since somebody asked for it in this scope.
    pub(super) lease: OnceCell<Handle>,
}

impl Slot {
    /// First byte in its chunk.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.granule.get()) * GRANULE
    }

    /// Makes the slot stand for bytes of a chunk.
    #[inline]
    pub(super) fn fill(&self, chunk: u32, offset: u64, len: u64, tag: Tag, label: &Label) {
        debug_assert!(self.lease.get().is_none() && offset.is_multiple_of(GRANULE));
        self.live.set(true);
        self.tag.set(tag);
        self.chunk.set(chunk);
        self.granule.set((offset / GRANULE) as u32);
        self.len.set(len);
        self.label.set(label.clone());
    }

    /// Whether nobody has the bytes any more, not even a stage that was not submitted yet.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        !self.live.get() && self.lease.get().is_none_or(Handle::is_alone)
    }
}

/// The slots of an arena.
#[derive(Default)]
pub(super) struct Slots {
    chunks: Vec<Box<[Slot; Self::CHUNK]>>,
}

// SAFETY: N2: a shared reference to an arena reaches no slot.
unsafe impl Sync for Slots {}

impl Slots {
    const CHUNK: usize = 128;

    /// The slot of a number that was asked for by `ready`.
    #[inline]
    pub(super) fn at(&self, index: u32) -> &Slot {
        &self.chunks[index as usize / Self::CHUNK][index as usize % Self::CHUNK]
    }

    /// The same, alone.
    pub(super) fn at_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.chunks[index as usize / Self::CHUNK][index as usize % Self::CHUNK]
    }

    /// The slot of a number, which may be the first that is not there yet.
    ///
    /// # Safety
    /// The table lives as long as `'s`, and none of its slots is borrowed exclusively before that ends.
    #[inline]
    pub(super) unsafe fn ready<'s>(&mut self, index: u32) -> &'s Slot {
        if index as usize == self.chunks.len() * Self::CHUNK {
            self.grow();
        }
        // SAFETY: N1, and what the caller promises.
        unsafe { &*std::ptr::from_ref(self.at(index)) }
    }

    #[cold]
    fn grow(&mut self) {
        let first = (self.chunks.len() * Self::CHUNK) as u32;
        self.chunks.push(Box::new(std::array::from_fn(|at| Slot {
            index: first + at as u32,
            live: Cell::new(false),
            tag: Cell::new(Tag::Other),
            chunk: Cell::new(PLANNED),
            granule: Cell::new(0),
            len: Cell::new(0),
            label: Cell::new(Label::default()),
            lease: OnceCell::new(),
        })));
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}
