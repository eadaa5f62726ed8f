//! A step of an arena whose buffers cannot leave it: the compiler refuses what a reset would have to detach.
//!
//! The lifetime of a [`Scope`] is its own and nobody else's, so a [`Scratch`] can be neither returned nor stored.
//! `promote` is the way out, for the one buffer that is the result.

use std::{fmt, marker::PhantomData};

use bytemuck::Pod;

use super::{
    arena::Arena,
    buffer::Buffer,
    guard::{Read, View, Write},
    lease::{Handle, ScopedHandle},
    options::{Init, Request},
};
use crate::{
    backend::timeline::Patience,
    error::{Error, Result},
    launch::Place,
};

/// A step of an arena.
#[derive(Debug)]
pub struct Scope<'s> {
    arena: &'s mut Arena,
    /// Invariant: no other lifetime stands in for this one.
    brand: PhantomData<fn(&'s ()) -> &'s ()>,
}

/// A buffer of a scope. It stays on its thread and in its scope.
pub struct Scratch<'s> {
    handle: ScopedHandle,
    len: u64,
    brand: PhantomData<fn(&'s ()) -> &'s ()>,
}

impl<'s> Scope<'s> {
    pub(super) fn enter<R>(arena: &mut Arena, step: impl for<'t> FnOnce(&mut Scope<'t>) -> R) -> R {
        step(&mut Scope { arena, brand: PhantomData })
    }

    /// A buffer for this step.
    ///
    /// # Errors
    /// As [`Pool::alloc`](crate::Pool::alloc), when the arena has to grow.
    #[inline]
    pub fn alloc(&mut self, request: impl Into<Request>) -> Result<Scratch<'s>> {
        let request = request.into();
        let handle = ScopedHandle::new(self.arena.serve(&request)?);
        let scratch = Scratch { handle, len: request.bytes, brand: PhantomData };
        if request.init == Init::Zeroed && request.bytes > 0 {
            scratch.write::<u8>()?.fill(0);
        }
        Ok(scratch)
    }

    /// Lets one buffer leave the step. At the end of the step it becomes an ordinary buffer of the arena's pool.
    pub fn promote(&mut self, scratch: Scratch<'s>) -> Buffer {
        Buffer::whole(scratch.handle.get().clone())
    }
}

impl Scratch<'_> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
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
        if bytes.len() as u64 != self.len {
            return Err(Error::Length { given: bytes.len() as u64, wanted: self.len });
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

    pub(crate) fn handle(&self) -> &Handle {
        self.handle.get()
    }

    pub(crate) fn place(&self, start: u64, len: u64) -> Place {
        self.handle.get().facts().place(start, len)
    }

    fn view(&self) -> View<'_> {
        View { handle: self.handle.get(), start: 0, len: self.len }
    }
}

impl fmt::Debug for Scratch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("len", &self.len).finish_non_exhaustive()
    }
}
