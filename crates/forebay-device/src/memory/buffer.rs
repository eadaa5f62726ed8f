#![allow(unsafe_code, reason = "host guards are slices of device bytes")]
//! A buffer: the public, counted handle on bytes of a device, and the guards through which the host touches them.
//!
//! Rules for the unsafe code:
//! - G1 A guard exists only while its entry stands in the access table: no overlapping guard writes, and if this one
//!   writes, no overlapping guard exists at all.
//! - G2 When a guard is made, the device work that touches the bytes is over; while it stands, `command::session`
//!   refuses submissions that would clash with it, under the same lock.
//! - G3 The guard borrows the buffer, whose handle keeps the range; ranges of live leases do not overlap.
//! - G4 Type, length and alignment are checked before a slice is made; `Pod` types accept any bytes.

use std::{
    fmt,
    ops::{Bound, Deref, DerefMut, RangeBounds},
    ptr, slice,
    time::Duration,
};

use bytemuck::Pod;

use super::{home::Home, lease::Handle, stats::Tag};
use crate::{
    backend::timeline::{CancelToken, Patience},
    error::{Error, Holder, Result},
    label::Label,
    launch::Place,
    sync::Arc,
};

/// Bytes of one device, counted: clones and slices share them, and the last one to go gives them back.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let buffer = device.alloc(1024)?;
/// buffer.write::<u32>()?.fill(7);
/// let tail = buffer.slice(1020..)?;
/// assert_eq!(&*tail.read::<u32>()?, &[7]);
/// assert!(tail.slice(0..5).is_err());
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone)]
pub struct Buffer {
    handle: Handle,
    start: u64,
    len: u64,
}

impl Buffer {
    /// All of a lease.
    pub(crate) fn whole(handle: Handle) -> Self {
        let len = handle.facts().len;
        Self { handle, start: 0, len }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Length in bytes, as asked for.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The label that the allocation was made with.
    pub fn label(&self) -> &Label {
        &self.handle.facts().label
    }

    /// What the allocation is for.
    pub fn tag(&self) -> Tag {
        self.handle.facts().tag
    }

    /// The bytes that the pool set aside for the allocation, for statistics only.
    pub fn capacity(&self) -> u64 {
        self.handle.owner().capacity_of(&self.handle)
    }

    /// Where the first byte is, as the device sees it. For interfaces to other libraries.
    pub fn address(&self) -> u64 {
        self.handle.facts().address + self.start
    }

    /// Whether the bytes can only be read.
    pub fn is_read_only(&self) -> bool {
        self.handle.facts().read_only
    }

    /// Part of this buffer, counted from its own start, without a copy.
    ///
    /// # Errors
    /// `OutOfBounds` if the range reaches past the end, or ends before it starts.
    pub fn slice(&self, range: impl RangeBounds<u64>) -> Result<Self> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        if start > end || end > self.len {
            return Err(Error::OutOfBounds { start, end, len: self.len });
        }
        Ok(Self { handle: self.handle.clone(), start: self.start + start, len: end - start })
    }

    /// Where the bytes are, for a launch.
    pub(crate) fn place(&self) -> Place {
        if self.len == 0 {
            return Place::NOWHERE;
        }
        let facts = self.handle.facts();
        Place {
            region: facts.region,
            offset: facts.offset + self.start,
            address: facts.address + self.start,
            len: self.len,
        }
    }

    fn home(&self) -> &Arc<Home> {
        &self.handle.owner().home
    }

    /// Reads elements, after waiting for device work that writes the allocation.
    ///
    /// # Errors
    /// `PartialElement`, `Misaligned` or `ZeroSized` if the bytes are no such elements; `Busy` if a host guard writes
    /// them; the error of the device work that was waited for.
    pub fn read<T: Pod>(&self) -> Result<Read<'_, T>> {
        Read::new(self, Patience::default(), true)
    }

    /// As [`read`](Self::read), but returns `Busy` instead of waiting.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn try_read<T: Pod>(&self) -> Result<Read<'_, T>> {
        Read::new(self, Patience::default(), false)
    }

    /// As [`read`](Self::read), but waits no longer than that, and no longer than until `cancel` is cancelled.
    ///
    /// # Errors
    /// As [`read`](Self::read), `Timeout` and `Cancelled`.
    pub fn read_within<T: Pod>(
        &self,
        timeout: Duration,
        cancel: Option<&CancelToken>,
    ) -> Result<Read<'_, T>> {
        Read::new(self, Patience { timeout: Some(timeout), cancel }, true)
    }

    /// Changes elements in place, after waiting for all device work that touches the allocation.
    ///
    /// # Errors
    /// As [`read`](Self::read); `Busy` also if a host guard reads them, and `ReadOnly`.
    pub fn write<T: Pod>(&self) -> Result<Write<'_, T>> {
        Write::new(self, true)
    }

    /// As [`write`](Self::write), but returns `Busy` instead of waiting.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn try_write<T: Pod>(&self) -> Result<Write<'_, T>> {
        Write::new(self, false)
    }

    /// Copies elements in. The lengths must be equal.
    ///
    /// # Errors
    /// `OutOfBounds` if they are not; otherwise as [`write`](Self::write).
    pub fn copy_from<T: Pod>(&self, elements: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        if bytes.len() as u64 != self.len {
            return Err(Error::OutOfBounds { start: 0, end: bytes.len() as u64, len: self.len });
        }
        let claim = Claim::new(self, true, Patience::default(), true)?;
        let facts = self.handle.facts();
        let copied = match self.len {
            0 => Ok(()),
            _ => self.home().backend.write(facts.region, facts.offset + self.start, bytes),
        };
        drop(claim);
        copied
    }

    /// Copies all elements out.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn to_vec<T: Pod>(&self) -> Result<Vec<T>> {
        Ok(self.read::<T>()?.to_vec())
    }

    /// Elements of `T` in this buffer, if its bytes are such elements.
    fn elements<T>(&self) -> Result<usize> {
        let element = size_of::<T>() as u64;
        if element == 0 {
            return Err(Error::ZeroSized { name: std::any::type_name::<T>() });
        }
        if !self.len.is_multiple_of(element) {
            return Err(Error::PartialElement { len: self.len, element });
        }
        let align = align_of::<T>() as u64;
        if self.len > 0 && !self.address().is_multiple_of(align) {
            return Err(Error::Misaligned { offset: self.start, align });
        }
        usize::try_from(self.len / element)
            .map_err(|_| Error::TooLarge { asked: self.len, most: usize::MAX as u64 })
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.handle.facts();
        f.debug_struct("Buffer")
            .field("len", &self.len)
            .field("device", &self.home().name())
            .field("label", &facts.label)
            .finish_non_exhaustive()
    }
}

/// The right of the host to bytes of a buffer, as noted in the access table.
struct Claim<'a> {
    buffer: &'a Buffer,
    writes: bool,
}

impl<'a> Claim<'a> {
    fn new(buffer: &'a Buffer, writes: bool, patience: Patience<'_>, waits: bool) -> Result<Self> {
        let (handle, home) = (&buffer.handle, buffer.home());
        if writes && handle.facts().read_only {
            return Err(Error::ReadOnly { label: (&handle.facts().label).into() });
        }
        let (start, end) = (buffer.start, buffer.start + buffer.len);
        loop {
            let mut access = home.access.lock();
            access.check(handle, start, end, writes)?;
            let Some((queue, tick)) = handle.uses(&mut access).blocks_host(home.timeline(), writes) else {
                let last =
                    handle.uses(&mut access).iter().map(|used| (used.queue, used.write)).collect::<Vec<_>>();
                access.enter(handle, start, end, writes);
                drop(access);
                let claim = Self { buffer, writes };
                // What was written by work that failed is nobody's result.
                last.iter()
                    .filter(|(_, tick)| *tick > 0)
                    .try_for_each(|&(queue, tick)| home.timeline().outcome(queue, tick))?;
                return Ok(claim);
            };
            drop(access);
            if !waits {
                return Err(Error::Busy { label: (&handle.facts().label).into(), holder: Holder::Device });
            }
            home.wait(queue, tick, patience)?;
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let (start, end) = (self.buffer.start, self.buffer.start + self.buffer.len);
        self.buffer.home().access.lock().leave(&self.buffer.handle, start, end, self.writes);
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
    fn new(buffer: &Buffer) -> Result<Self> {
        let count = buffer.elements::<T>()?;
        let facts = buffer.handle.facts();
        if count == 0 {
            return Ok(Self::Staged(Vec::new()));
        }
        if buffer.home().caps().unified {
            let first = facts.host + buffer.start as usize;
            return Ok(Self::Here(ptr::with_exposed_provenance_mut(first), count));
        }
        let mut copy = vec![T::zeroed(); count];
        let bytes = bytemuck::cast_slice_mut(&mut copy);
        buffer.home().backend.read(facts.region, facts.offset + buffer.start, bytes)?;
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
    fn new(buffer: &'a Buffer, patience: Patience<'_>, waits: bool) -> Result<Self> {
        buffer.elements::<T>()?;
        let claim = Claim::new(buffer, false, patience, waits)?;
        Ok(Self { elements: Elements::new(buffer)?, _claim: claim })
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
    fn new(buffer: &'a Buffer, waits: bool) -> Result<Self> {
        buffer.elements::<T>()?;
        let claim = Claim::new(buffer, true, Patience::default(), waits)?;
        Ok(Self { elements: Elements::new(buffer)?, claim })
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
            let (buffer, home) = (self.claim.buffer, self.claim.buffer.home());
            let facts = buffer.handle.facts();
            let bytes = bytemuck::cast_slice(copy);
            home.defer(home.backend.write(facts.region, facts.offset + buffer.start, bytes));
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
