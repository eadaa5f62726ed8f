#![allow(unsafe_code, reason = "lends slots for as long as the scope borrows its arena")]
//! A step of an arena whose buffers cannot leave it: the compiler refuses what a reset would have to detach.
//!
//! The lifetime of a [`Scope`] is its own and nobody else's, so a [`Scratch`] can be neither returned nor stored.
//! `promote` is the way out, for the one buffer that is the result. What is never bound nor read needs no lease: a
//! buffer is a slot in a table, until somebody asks what stands for its bytes.

use std::{cell::RefCell, fmt};

use bytemuck::Pod;

use super::{
    super::{
        buffer::Buffer,
        guard::{Read, View, Write},
        lease::Handle,
        options::{Init, Request},
    },
    Arena,
    planned::Planned,
    slots::{PLANNED, Slot, Slots},
};
use crate::{
    backend::timeline::Patience,
    error::{Brief, Error, Result},
    launch::Place,
};

/// A step of an arena.
#[derive(Debug)]
pub struct Scope<'s> {
    // Invariant in the lifetime: no other one stands in for it.
    arena: &'s RefCell<&'s mut Arena>,
}

/// A buffer of a scope. It stays on its thread and in its scope.
pub struct Scratch<'s> {
    slot: &'s Slot,
    arena: &'s RefCell<&'s mut Arena>,
}

impl<'s> Scope<'s> {
    pub(super) fn enter<R>(arena: &mut Arena, step: impl for<'t> FnOnce(&mut Scope<'t>) -> R) -> R {
        step(&mut Scope { arena: &RefCell::new(arena) })
    }

    /// A buffer for this step.
    ///
    /// # Errors
    /// As [`Pool::alloc`](crate::Pool::alloc), when the arena has to grow.
    #[inline]
    pub fn alloc(&mut self, request: impl Into<Request>) -> Result<Scratch<'s>> {
        let request = request.into();
        let mut arena = self.arena.borrow_mut();
        let index = arena.steps;
        // SAFETY: the arena, and its table with it, is borrowed for `'s`; slots are borrowed exclusively by its resets
        // alone, which take the arena for themselves.
        let slot: &'s Slot = unsafe { arena.slots.ready(index) };
        if let Err(error) = arena.place(slot, &request) {
            return Err(*error);
        }
        arena.steps += 1;
        drop(arena);
        let scratch = Scratch { slot, arena: self.arena };
        if request.init == Init::Zeroed { scratch.zeroed() } else { Ok(scratch) }
    }

    /// Lets one buffer leave the step. At the end of the step it becomes an ordinary buffer of the arena's pool.
    pub fn promote(&mut self, scratch: Scratch<'s>) -> Buffer {
        Buffer::whole(scratch.handle().clone())
    }
}

impl Arena {
    /// Finds bytes for the next buffer of a scope.
    #[inline]
    fn place(&mut self, slot: &Slot, request: &Request) -> Brief<()> {
        if let Some(planned) = &mut self.plan
            && !planned.broken
        {
            if let Some((offset, over)) = planned.follow(&self.slots, request) {
                slot.fill(PLANNED, offset, request.bytes, request.tag, &request.label);
                self.stats.planned += 1;
                if over {
                    self.touch(slot);
                }
                return Ok(());
            }
            planned.broken = true;
            self.stats.surprises += 1;
        }
        let offset = self.room(request.bytes)?;
        if self.learns() {
            self.learning.note(request, |earlier| self.slots.at(earlier).is_gone());
        }
        slot.fill(self.chunks.len() as u32 - 1, offset, request.bytes, request.tag, &request.label);
        self.stats.bumped += 1;
        Ok(())
    }

    /// The lease that stands for the bytes of a slot.
    fn touch<'s>(&mut self, slot: &'s Slot) -> &'s Handle {
        slot.lease.get_or_init(|| {
            let mut lease = self.leases.pop().unwrap_or_else(|| self.pool.shared.spare_lease());
            let label = slot.label.take();
            if let Some(chunk) = self.chunk(slot.chunk.get()) {
                chunk.cut(&mut lease, slot.offset(), slot.len.get(), slot.tag.get(), &label);
            }
            slot.label.set(label);
            if let Some(planned) = self.plan.as_ref().filter(|_| slot.chunk.get() == PLANNED) {
                planned.order_after(&self.slots, slot.index, &mut lease);
            }
            self.touched.push(slot.index);
            lease
        })
    }
}

impl Planned {
    /// Takes the next step, if it is this request and everything beneath it is gone. Returns where its bytes are, and
    /// whether anything beneath it was ever bound: then its work may still be under way.
    #[inline]
    fn follow(&mut self, slots: &Slots, request: &Request) -> Option<(u64, bool)> {
        let step = self.plan.steps.get(self.next)?;
        if (step.bytes, step.tag) != (request.bytes, request.tag) || !self.scoped {
            return None;
        }
        let mut over = false;
        for &below in self.plan.beneath(step) {
            let below = slots.at(below);
            if !below.is_gone() {
                return None;
            }
            over |= below.lease.get().is_some();
        }
        self.next += 1;
        Some((step.offset, over))
    }

    /// Orders the lease of a step after the work on what was there before.
    fn order_after(&self, slots: &Slots, step: u32, lease: &mut Handle) {
        let Some(step) = self.plan.steps.get(step as usize) else { return };
        let home = lease.owner().home.clone();
        let Some(mut sole) = lease.sole() else { return };
        for &below in self.plan.beneath(step) {
            if let Some(below) = slots.at(below).lease.get() {
                sole.uses().inherit(below.uses(&mut home.access.lock()));
            }
        }
    }
}

impl<'s> Scratch<'s> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.slot.len.get()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`Buffer::read`].
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn read<T: Pod>(&self) -> Result<Read<'_, T>> {
        Read::new(self.view(), Patience::default(), true)
    }

    /// As [`Buffer::write`].
    ///
    /// # Errors
    /// As [`Buffer::write`].
    pub fn write<T: Pod>(&self) -> Result<Write<'_, T>> {
        Write::new(self.view(), true)
    }

    /// Copies elements in. The lengths must be equal.
    ///
    /// # Errors
    /// `Length` if they are not; otherwise as [`Buffer::write`].
    pub fn copy_from<T: Pod>(&self, elements: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        if bytes.len() as u64 != self.len() {
            return Err(Error::Length { given: bytes.len() as u64, wanted: self.len() });
        }
        self.write::<u8>()?.copy_from_slice(bytes);
        Ok(())
    }

    /// Copies all elements out.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn to_vec<T: Pod>(&self) -> Result<Vec<T>> {
        Ok(self.read::<T>()?.to_vec())
    }

    #[cold]
    fn zeroed(self) -> Result<Self> {
        if !self.is_empty() {
            self.write::<u8>()?.fill(0);
        }
        Ok(self)
    }

    pub(crate) fn handle(&self) -> &Handle {
        match self.slot.lease.get() {
            Some(lease) => lease,
            None => self.arena.borrow_mut().touch(self.slot),
        }
    }

    pub(crate) fn place(&self, start: u64, len: u64) -> Place {
        self.handle().facts().place(start, len)
    }

    fn view(&self) -> View<'_> {
        View { handle: self.handle(), start: 0, len: self.len() }
    }
}

impl Drop for Scratch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.live.set(false);
    }
}

impl fmt::Debug for Scratch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("len", &self.len()).finish_non_exhaustive()
    }
}
