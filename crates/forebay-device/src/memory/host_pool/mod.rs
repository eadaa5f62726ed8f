//! Typed host vectors over one pool of bytes, for the host's side of the work: staging, scratch, results.
//!
//! Owns: the public face of the pool, its options and its statistics. Never: device memory, or knowledge of queues.
//! A buffer is the bytes that were asked for when it was made, 64-byte aligned, and serves any element type later.
//! A returned buffer goes to the returning thread's magazine, and from there, when that is full or its thread ends,
//! to the depot of all threads. One cap bounds both.
//! Rooms, in the order a request passes them: `vector`, `seats`, `magazine`, `shared`, `state`, `depot`, `block`,
//! `source`.

mod barrier;
mod block;
mod depot;
mod element;
#[cfg(all(test, loom))]
mod loom_tests;
mod magazine;
mod seats;
mod shared;
mod source;
mod state;
mod vector;

use std::fmt;

pub use element::HostElement;
pub use vector::{HostVec, UninitHostVec};

use self::shared::Shared;
use crate::{Result, sync::Arc};

/// What a [`HostPool`] is made with.
///
/// ```
/// use forebay_device::HostPoolOptions;
///
/// let options = HostPoolOptions::from_vars(|name| (name == "FOREBAY_HOST_POOL_MAX_BYTES").then(|| "4096".into()));
/// assert_eq!(options.max_retained_bytes, 4096);
/// assert_eq!(HostPoolOptions::from_vars(|_| None), HostPoolOptions::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPoolOptions {
    /// The most bytes of free buffers that the pool keeps; 0 keeps none, `usize::MAX` all.
    pub max_retained_bytes: usize,
}

impl HostPoolOptions {
    /// Options that keep at most this many bytes of free buffers.
    pub fn with_max_retained_bytes(max_retained_bytes: usize) -> Self {
        Self { max_retained_bytes }
    }

    /// Options that keep every free buffer.
    pub fn unbounded() -> Self {
        Self::with_max_retained_bytes(usize::MAX)
    }

    /// Options from variables: `FOREBAY_HOST_POOL_MAX_BYTES`, a number of bytes, is the cap. What is absent or cannot
    /// be parsed has its default.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let cap = lookup("FOREBAY_HOST_POOL_MAX_BYTES").and_then(|value| value.trim().parse().ok());
        cap.map_or_else(Self::default, Self::with_max_retained_bytes)
    }
}

impl Default for HostPoolOptions {
    /// A cap of 100 MiB.
    fn default() -> Self {
        Self::with_max_retained_bytes(100 << 20)
    }
}

/// What a [`HostPool`] holds and has done. Exact while no other thread is inside a call of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPoolStats {
    /// Buffers held by vectors.
    pub in_use: usize,
    /// Their bytes, as capacity.
    pub in_use_bytes: usize,
    /// Free buffers kept.
    pub retained: usize,
    /// Their bytes.
    pub retained_bytes: usize,
    /// Requests served by a kept buffer.
    pub hits: u64,
    /// Requests that no kept buffer fitted.
    pub misses: u64,
    /// Kept buffers freed because the cap was needed for others, or was lowered.
    pub evicted: u64,
    /// Returned buffers freed at once, because they did not fit under the cap.
    pub refused: u64,
}

/// A pool of host buffers for typed vectors. Cloning it makes another handle on the same pool.
///
/// A request takes the smallest free buffer whose capacity is at least what is asked and exceeds it by at most a
/// quarter of itself; if there is none, a new one is made. A thread sees what all threads share and its own last
/// returns; buffers of 2 MiB and more are found wherever they are.
///
/// When the last handle is dropped, everything kept is freed; vectors that are still held live on and free
/// their buffer when they are dropped.
///
/// ```
/// # use forebay_device::{HostPool, HostPoolOptions, Result};
/// # fn main() -> Result<()> {
/// let pool = HostPool::new(HostPoolOptions::with_max_retained_bytes(1 << 20));
/// drop(pool.acquire_zeroed::<f32>(1000)?);
/// assert_eq!(pool.retained_bytes(), 4000);
///
/// let mut reused = pool.acquire_zeroed::<u8>(3500)?;
/// reused[3499] = 1;
/// assert_eq!((reused.capacity(), pool.retained_bytes()), (4000, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HostPool {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// What the handles of a pool share and nothing inside the pool does: its end is the pool's.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl HostPool {
    /// Makes an empty pool.
    pub fn new(options: HostPoolOptions) -> Self {
        let shared = Arc::new(Shared::new(options.max_retained_bytes));
        Self { _open: Arc::new(Open(Arc::clone(&shared))), shared }
    }

    /// `n` elements that have no value yet.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for a size that no machine has, and
    /// [`Error::Exhausted`](crate::Error::Exhausted) if the system has no memory left after the pool gave up its own.
    #[inline]
    pub fn acquire_uninit<T: HostElement>(&self, n: usize) -> Result<UninitHostVec<T>> {
        UninitHostVec::acquire(&self.shared, n)
    }

    /// `n` elements that are zero. Fresh mapped memory is known to be, and not written.
    ///
    /// # Errors
    /// As [`acquire_uninit`](Self::acquire_uninit).
    #[inline]
    pub fn acquire_zeroed<T: HostElement>(&self, n: usize) -> Result<HostVec<T>> {
        HostVec::zeroed(&self.shared, n)
    }

    /// An empty vector with room for `n` elements.
    ///
    /// # Errors
    /// As [`acquire_uninit`](Self::acquire_uninit).
    #[inline]
    pub fn with_capacity<T: HostElement>(&self, n: usize) -> Result<HostVec<T>> {
        HostVec::with_capacity(&self.shared, n)
    }

    #[cfg(test)]
    #[cfg(not(loom))]
    fn shared_for_test(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// How many free buffers are kept.
    pub fn len(&self) -> usize {
        self.stats().retained
    }

    /// Whether no free buffer is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all free buffers kept.
    pub fn retained_bytes(&self) -> usize {
        self.stats().retained_bytes
    }

    /// Counts and sizes.
    pub fn stats(&self) -> HostPoolStats {
        self.shared.stats()
    }

    /// Frees every buffer that no vector holds.
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// The most bytes of free buffers that are kept.
    pub fn max_retained_bytes(&self) -> usize {
        self.shared.cap()
    }

    /// Sets the most bytes of free buffers that are kept, and evicts what is above it, the oldest first.
    pub fn set_max_retained_bytes(&self, bytes: usize) {
        self.shared.set_cap(bytes);
    }
}

impl Default for HostPool {
    fn default() -> Self {
        Self::new(HostPoolOptions::default())
    }
}

impl fmt::Debug for HostPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPool")
            .field("max_retained_bytes", &self.max_retained_bytes())
            .field("stats", &self.stats())
            .finish()
    }
}
