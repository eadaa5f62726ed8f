#![allow(unsafe_code, reason = "host guards are slices of device bytes")]
//! Host guards: the host's right to read or change bytes of an allocation, as slices that cannot alias.
//!
//! Rules for the unsafe code:
//! - G1 A guard exists only while its entry stands in the access table: no overlapping guard writes, and if this one
//!   writes, no overlapping guard exists at all.
//! - G2 When a guard is made, the device work that touches the bytes is over; while it stands, `command::submit`
//!   refuses work that would clash with it, under the same lock.
//! - G3 The guard borrows a handle, which keeps the range; ranges of live leases do not overlap.
//! - G4 Type, length and alignment are checked before a slice is made; `Pod` types accept any bytes.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr, slice,
};

use bytemuck::Pod;

use super::{home::Home, lease::Handle};
use crate::{
    backend::timeline::Patience,
    error::{Error, Holder, Result},
    sync::Arc,
};

/// Bytes of an allocation, borrowed.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) handle: &'a Handle,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl<'a> View<'a> {
    pub(super) fn home(self) -> &'a Arc<Home> {
        &self.handle.owner().home
    }

    /// Elements of `T` in these bytes, if they are such elements.
    fn elements<T>(self) -> Result<usize> {
        let element = size_of::<T>() as u64;
        if element == 0 {
            return Err(Error::ZeroSized { name: std::any::type_name::<T>() });
        }
        if !self.len.is_multiple_of(element) {
            return Err(Error::PartialElement { len: self.len, element });
        }
        let align = align_of::<T>() as u64;
        if self.len > 0 && !(self.handle.facts().address + self.start).is_multiple_of(align) {
            return Err(Error::Misaligned { offset: self.start, align });
        }
        usize::try_from(self.len / element)
            .map_err(|_| Error::TooLarge { asked: self.len, most: usize::MAX as u64 })
    }
}

/// The right of the host to bytes of a buffer, as noted in the access table.
pub(super) struct Claim<'a> {
    view: View<'a>,
    writes: bool,
}

impl<'a> Claim<'a> {
    pub(super) fn new(view: View<'a>, writes: bool, patience: Patience<'_>, waits: bool) -> Result<Self> {
        let (handle, home) = (view.handle, view.home());
        if writes && handle.facts().read_only {
            return Err(Error::ReadOnly { label: (&handle.facts().label).into() });
        }
        let (start, end, len) = (view.start, view.start + view.len, view.len);
        loop {
            if let Some(lost) = home.timeline().lost() {
                return Err(lost);
            }
            let mut access = home.access.lock();
            access.check(handle, start, end, writes)?;
            let uses = handle.uses(&mut access);
            let Some((queue, tick)) = uses.blocks_host(home.timeline(), writes) else {
                if !writes {
                    // What was written by work that failed is nobody's result.
                    uses.iter().try_for_each(|used| home.timeline().outcome(used.queue, used.write))?;
                } else if len == handle.facts().len {
                    // From here on the bytes are what the host makes them, whatever became of earlier work.
                    uses.clear();
                }
                access.enter(handle, start, end, writes);
                return Ok(Self { view, writes });
            };
            drop(access);
            if !waits {
                return Err(Error::Busy { label: (&handle.facts().label).into(), holder: Holder::Device });
            }
            home.timeline().wait_done(queue, tick, patience)?;
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let View { handle, start, len } = self.view;
        self.view.home().access.lock().leave(handle, start, start + len, self.writes);
    }
}

/// Where the elements of a guard are.
enum Elements<T> {
    /// In the device's memory, which the host sees.
    Here(*mut T, usize),
    /// In a copy on the host.
    Staged(Vec<T>),
}

impl<T: Pod> Elements<T> {
    fn new(view: View<'_>) -> Result<Self> {
        let count = view.elements::<T>()?;
        let facts = view.handle.facts();
        if count == 0 {
            return Ok(Self::Staged(Vec::new()));
        }
        if facts.host != 0 {
            let first = facts.host + view.start as usize;
            return Ok(Self::Here(ptr::with_exposed_provenance_mut(first), count));
        }
        let mut copy = bytemuck::zeroed_vec(count);
        let bytes = bytemuck::cast_slice_mut::<T, u8>(&mut copy);
        view.home().backend.read(facts.region, facts.offset + view.start, bytes)?;
        Ok(Self::Staged(copy))
    }

    fn as_slice(&self) -> &[T] {
        match self {
            // SAFETY: G1 to G4.
            Self::Here(first, count) => unsafe { slice::from_raw_parts(*first, *count) },
            Self::Staged(copy) => copy,
        }
    }
}

/// Elements of a buffer, being read by the host.
pub struct Read<'a, T: Pod> {
    elements: Elements<T>,
    _claim: Claim<'a>,
}

impl<'a, T: Pod> Read<'a, T> {
    pub(super) fn new(view: View<'a>, patience: Patience<'_>, waits: bool) -> Result<Self> {
        view.elements::<T>()?;
        let claim = Claim::new(view, false, patience, waits)?;
        Ok(Self { elements: Elements::new(view)?, _claim: claim })
    }
}

impl<T: Pod> Deref for Read<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.elements.as_slice()
    }
}

/// Elements of a buffer, being changed by the host. Where the host does not see the device's memory, the change is
/// copied over when the guard goes; an error of that copy surfaces at the next submission.
pub struct Write<'a, T: Pod> {
    elements: Elements<T>,
    claim: Claim<'a>,
}

impl<'a, T: Pod> Write<'a, T> {
    pub(super) fn new(view: View<'a>, waits: bool) -> Result<Self> {
        view.elements::<T>()?;
        let claim = Claim::new(view, true, Patience::default(), waits)?;
        Ok(Self { elements: Elements::new(view)?, claim })
    }
}

impl<T: Pod> Deref for Write<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.elements.as_slice()
    }
}

impl<T: Pod> DerefMut for Write<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.elements {
            // SAFETY: G1 to G4; the guard writes, so it is alone.
            Elements::Here(first, count) => unsafe { slice::from_raw_parts_mut(*first, *count) },
            Elements::Staged(copy) => copy,
        }
    }
}

impl<T: Pod> Drop for Write<'_, T> {
    fn drop(&mut self) {
        if let Elements::Staged(copy) = &self.elements
            && !copy.is_empty()
        {
            let (view, home) = (self.claim.view, self.claim.view.home());
            let facts = view.handle.facts();
            let bytes = bytemuck::cast_slice(copy);
            home.defer(home.backend.write(facts.region, facts.offset + view.start, bytes));
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Read<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("elements", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Write<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("elements", &self.len()).finish_non_exhaustive()
    }
}

// SAFETY: a guard is a slice: it can be sent and shared as `&mut [T]` and `&[T]` can. `Pod` types are `Copy`, and the
// claim is an entry in a locked table.
unsafe impl<T: Pod + Sync> Send for Read<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Pod + Sync> Sync for Read<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Pod + Send> Send for Write<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Pod + Sync> Sync for Write<'_, T> {}
