//! A buffer: the public, counted handle on bytes of a device.
//!
//! Clones and slices share one lease; what the host may do with the bytes is the business of `guard`. Next room: `lease`.

use std::{
    fmt,
    ops::{Bound, RangeBounds},
    time::Duration,
};

use bytemuck::Pod;

use super::{
    guard::{Claim, Read, View, Write},
    home::Home,
    lease::Handle,
    stats::Tag,
};
use crate::{
    backend::timeline::{CancelToken, Patience},
    caps::BackendKind,
    error::{Error, Result},
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
    #[inline]
    pub(crate) fn whole(handle: Handle) -> Self {
        let len = handle.facts().len;
        Self::new(handle, len)
    }

    /// All of a lease of known length.
    #[inline]
    pub(super) fn new(handle: Handle, len: u64) -> Self {
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
        let facts = self.handle.facts();
        facts.taken().max(facts.len)
    }

    /// Where the first byte is, as the device sees it; where host and device share memory, as the host does. For
    /// interfaces to other libraries.
    pub fn address(&self) -> u64 {
        self.handle.facts().address + self.start
    }

    /// The family of devices that it belongs to.
    pub fn backend(&self) -> BackendKind {
        self.home().backend.caps().backend
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
        self.handle.facts().place(self.start, self.len)
    }

    fn view(&self) -> View<'_> {
        View { handle: &self.handle, start: self.start, len: self.len }
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
        Read::new(self.view(), Patience::default(), true)
    }

    /// As [`read`](Self::read), but returns `Busy` instead of waiting.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn try_read<T: Pod>(&self) -> Result<Read<'_, T>> {
        Read::new(self.view(), Patience::default(), false)
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
        Read::new(self.view(), Patience { timeout: Some(timeout), cancel }, true)
    }

    /// Changes elements in place, after waiting for all device work that touches the allocation.
    ///
    /// # Errors
    /// As [`read`](Self::read); `Busy` also if a host guard reads them, and `ReadOnly`.
    pub fn write<T: Pod>(&self) -> Result<Write<'_, T>> {
        Write::new(self.view(), true)
    }

    /// As [`write`](Self::write), but returns `Busy` instead of waiting.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn try_write<T: Pod>(&self) -> Result<Write<'_, T>> {
        Write::new(self.view(), false)
    }

    /// Copies elements in. The lengths must be equal.
    ///
    /// # Errors
    /// `Length` if they are not; otherwise as [`write`](Self::write).
    pub fn copy_from<T: Pod>(&self, elements: &[T]) -> Result<()> {
        if size_of::<T>() == 0 {
            return Err(Error::ZeroSized { name: std::any::type_name::<T>() });
        }
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        if bytes.len() as u64 != self.len {
            return Err(Error::Length { given: bytes.len() as u64, wanted: self.len });
        }
        let claim = Claim::new(self.view(), true, Patience::default(), true)?;
        let facts = self.handle.facts();
        let copied = match self.len {
            0 => Ok(()),
            _ => self.home().backend.write(facts.region, facts.offset + self.start, bytes),
        };
        drop(claim);
        copied
    }

    /// Copies all elements out, into memory that is there already. The lengths must be equal.
    ///
    /// # Errors
    /// `OutOfBounds` if they are not; otherwise as [`read`](Self::read).
    pub fn copy_to<T: Pod>(&self, elements: &mut [T]) -> Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(elements);
        if bytes.len() as u64 != self.len {
            return Err(Error::OutOfBounds { start: 0, end: bytes.len() as u64, len: self.len });
        }
        let claim = Claim::new(self.view(), false, Patience::default(), true)?;
        let facts = self.handle.facts();
        let copied = match self.len {
            0 => Ok(()),
            _ => self.home().backend.read(facts.region, facts.offset + self.start, bytes),
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
