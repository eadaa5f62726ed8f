//! Host vectors: typed views of a leased buffer, first uninitialised, then whole.
//!
//! Owns: the step from `MaybeUninit` to values, and the return of the buffer on drop. Never: where buffers come from.
//! Rule V1: a lease has its buffer to itself; `data` is 64-byte aligned, with room for `capacity` bytes.
//! Rule V2: `len` elements fit; in a `HostVec` the first `len` are initialised; no element needs dropping.
//! Next room: `seats`, where buffers come from and go to.
#![allow(unsafe_code, reason = "typed views of raw bytes")]

use std::{
    fmt,
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use super::{block::Block, element::HostElement, seats, shared::Shared};
use crate::{Error, Result, sync::Arc};

/// The single right to one buffer, or to none for a vector that can hold nothing.
struct Lease {
    data: NonNull<u8>,
    block: ManuallyDrop<Option<Box<Block>>>,
}

/// Something with a size and the greatest alignment that the pool promises.
#[repr(align(64))]
struct Aligned;

impl Lease {
    #[inline(always)]
    fn of(block: Option<Box<Block>>) -> Self {
        let data = match &block {
            Some(block) => block.data(),
            None => NonNull::<Aligned>::dangling().cast(),
        };
        Self { data, block: ManuallyDrop::new(block) }
    }

    fn capacity<T>(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.capacity() / size_of::<T>())
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, as the lease ends here.
        if let Some(block) = unsafe { ManuallyDrop::take(&mut self.block) } {
            seats::release(block);
        }
    }
}

// SAFETY: V1; nothing of it is tied to a thread.
unsafe impl Send for Lease {}
// SAFETY: a shared reference gives out what the block behind it gives out, which is Sync, and an address.
unsafe impl Sync for Lease {}

/// Elements of a host buffer that have no value yet; made by [`HostPool::acquire_uninit`](super::HostPool).
///
/// It is a slice of [`MaybeUninit`]; the buffer goes back to its pool on drop.
///
/// ```
/// # use forebay_device::{HostPool, Result};
/// # fn main() -> Result<()> {
/// let pool = HostPool::default();
/// let squares = pool.acquire_uninit::<i32>(4)?.fill_with(|i| (i * i) as i32);
/// assert_eq!(*squares, [0, 1, 4, 9]);
/// # Ok(())
/// # }
/// ```
pub struct UninitHostVec<T: HostElement> {
    lease: Lease,
    len: usize,
    element: PhantomData<T>,
}

impl<T: HostElement> UninitHostVec<T> {
    #[inline]
    pub(super) fn acquire(shared: &Arc<Shared>, len: usize) -> Result<Self> {
        match seats::acquire(shared, len, size_of::<T>()) {
            Ok((block, _)) => Ok(Self { lease: Lease::of(block), len, element: PhantomData }),
            Err(error) => Err(*error),
        }
    }

    /// How many elements the buffer has room for: at least [`len`](slice::len), more where a larger one was reused.
    pub fn capacity(&self) -> usize {
        self.lease.capacity::<T>()
    }

    /// Gives every element this value.
    pub fn fill(self, value: T) -> HostVec<T> {
        self.fill_with(|_| value)
    }

    /// Gives every element the value for its position. If `value` panics, the buffer goes back to its pool.
    pub fn fill_with(mut self, mut value: impl FnMut(usize) -> T) -> HostVec<T> {
        for (i, element) in self.iter_mut().enumerate() {
            element.write(value(i));
        }
        // SAFETY: the loop wrote every element.
        unsafe { self.assume_init() }
    }

    /// Gives the elements the values of a slice of the same length.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if the lengths differ, in bytes; the buffer goes back to its pool.
    pub fn copy_from(mut self, values: &[T]) -> Result<HostVec<T>> {
        if values.len() != self.len {
            let (end, len) = (size_of_val(values) as u64, (self.len * size_of::<T>()) as u64);
            return Err(Error::OutOfBounds { start: 0, end, len });
        }
        self.write_copy_of_slice(values);
        // SAFETY: the line above wrote every element.
        Ok(unsafe { self.assume_init() })
    }

    /// The same elements, as values.
    ///
    /// # Safety
    /// Every element has been written.
    #[inline]
    pub unsafe fn assume_init(self) -> HostVec<T> {
        HostVec { lease: self.lease, len: self.len, element: PhantomData }
    }
}

impl<T: HostElement> Deref for UninitHostVec<T> {
    type Target = [MaybeUninit<T>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: V1 and V2; `MaybeUninit` needs no value, and the alignment of T is at most 64.
        unsafe { slice::from_raw_parts(self.lease.data.cast().as_ptr(), self.len) }
    }
}

impl<T: HostElement> DerefMut for UninitHostVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        // SAFETY: as for `deref`; `&mut self` makes it the only view.
        unsafe { slice::from_raw_parts_mut(self.lease.data.cast().as_ptr(), self.len) }
    }
}

impl<T: HostElement> fmt::Debug for UninitHostVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe::<T>(f, "UninitHostVec", self.len, self.capacity())
    }
}

/// A vector in a host buffer; made by [`HostPool::acquire_zeroed`](super::HostPool),
/// [`HostPool::with_capacity`](super::HostPool) or from an [`UninitHostVec`].
///
/// It is a slice of its elements, and grows up to its [`capacity`](Self::capacity), never beyond: the buffer does not
/// move. The buffer goes back to its pool on drop, on whatever thread that is, also while a panic unwinds.
///
/// ```
/// # use forebay_device::{HostPool, Result};
/// # fn main() -> Result<()> {
/// let pool = HostPool::default();
/// let mut row = pool.with_capacity::<f32>(3)?;
/// row.push(1.0)?;
/// row.extend_from_slice(&[2.0, 3.0])?;
/// assert_eq!(row.iter().sum::<f32>(), 6.0);
/// assert!(row.push(4.0).is_err());
/// # Ok(())
/// # }
/// ```
pub struct HostVec<T: HostElement> {
    lease: Lease,
    len: usize,
    element: PhantomData<T>,
}

impl<T: HostElement> HostVec<T> {
    #[inline]
    pub(super) fn zeroed(shared: &Arc<Shared>, len: usize) -> Result<Self> {
        match seats::acquire(shared, len, size_of::<T>()) {
            Ok((block, zero)) => {
                let lease = Lease::of(block);
                if !zero {
                    // SAFETY: V1; room for `len` elements was asked for.
                    unsafe { lease.data.cast::<T>().write_bytes(0, len) }
                }
                Ok(Self { lease, len, element: PhantomData })
            }
            Err(error) => Err(*error),
        }
    }

    #[inline]
    pub(super) fn with_capacity(shared: &Arc<Shared>, capacity: usize) -> Result<Self> {
        match seats::acquire(shared, capacity, size_of::<T>()) {
            Ok((block, _)) => Ok(Self { lease: Lease::of(block), len: 0, element: PhantomData }),
            Err(error) => Err(*error),
        }
    }

    /// How many elements the buffer has room for: at least what was asked for, more where a larger one was reused.
    pub fn capacity(&self) -> usize {
        self.lease.capacity::<T>()
    }

    /// Adds an element.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], in bytes, if the buffer is full; the vector is as it was.
    pub fn push(&mut self, value: T) -> Result<()> {
        self.extend_from_slice(&[value])
    }

    /// Adds the elements of a slice.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], in bytes, if they do not all fit; the vector is as it was.
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<()> {
        let capacity = self.capacity();
        if values.len() > capacity - self.len {
            let bytes = |count: usize| count.saturating_mul(size_of::<T>()) as u64;
            let end = bytes(self.len.saturating_add(values.len()));
            return Err(Error::OutOfBounds { start: bytes(self.len), end, len: bytes(capacity) });
        }
        // SAFETY: V1 and the check above; the buffer is this vector's alone, so `values` lies elsewhere.
        unsafe {
            let end = self.lease.data.cast::<T>().add(self.len);
            std::ptr::copy_nonoverlapping(values.as_ptr(), end.as_ptr(), values.len());
        }
        self.len += values.len();
        Ok(())
    }

    /// Shortens the vector to `len` elements; does nothing where it is no longer than that.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes all elements out; the capacity stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T: HostElement> Deref for HostVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: V1 and V2; the alignment of T is at most 64.
        unsafe { slice::from_raw_parts(self.lease.data.cast().as_ptr(), self.len) }
    }
}

impl<T: HostElement> DerefMut for HostVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; `&mut self` makes it the only view.
        unsafe { slice::from_raw_parts_mut(self.lease.data.cast().as_ptr(), self.len) }
    }
}

impl<T: HostElement> AsRef<[T]> for HostVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: HostElement> AsMut<[T]> for HostVec<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: HostElement> fmt::Debug for HostVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe::<T>(f, "HostVec", self.len, self.capacity())
    }
}

fn describe<T>(f: &mut fmt::Formatter<'_>, name: &str, len: usize, capacity: usize) -> fmt::Result {
    let mut f = f.debug_struct(name);
    f.field("element", &std::any::type_name::<T>()).field("len", &len).field("capacity", &capacity);
    f.finish_non_exhaustive()
}
