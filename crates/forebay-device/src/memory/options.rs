//! What a pool is told at the start, and what a request says.

use std::{fmt, sync::Arc, time::Duration};

use super::stats::Tag;
use crate::{caps::MemoryKind, label::Label};

/// What is in a fresh buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// Anything: write before you read. Debug builds fill in a pattern.
    #[default]
    Uninit,
    /// Zeros, also where memory is used again.
    Zeroed,
}

/// A request for memory.
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Request, Tag};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let weights = device.pool().alloc(Request::new(1_000_000).tag(Tag::Weights).label("blk.0.ffn_up"))?;
/// assert_eq!(weights.len(), 1_000_000);
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub(crate) bytes: u64,
    pub(crate) tag: Tag,
    pub(crate) label: Label,
    pub(crate) init: Init,
    pub(crate) exact: bool,
    pub(crate) dedicated: bool,
    pub(crate) queue: Option<u32>,
}

impl Request {
    /// So many bytes.
    #[inline]
    pub fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// So many elements of a type.
    pub fn elements<T>(count: usize) -> Self {
        Self::new((count as u64).saturating_mul(size_of::<T>() as u64))
    }

    /// What the memory is for. Weights are taken at their exact size.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// The name in errors and traces.
    #[must_use]
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = label.into();
        self
    }

    /// Starts with zeros.
    #[must_use]
    pub fn zeroed(mut self) -> Self {
        self.init = Init::Zeroed;
        self
    }

    /// Is not rounded to a size class.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Comes from the driver and goes back to it, without the pool in between.
    #[must_use]
    pub fn dedicated(mut self) -> Self {
        self.dedicated = true;
        self
    }

    /// May be served by memory that earlier work on this queue still uses: what is recorded on the queue next comes
    /// after that work anyway. The host and other queues wait for it, if they touch the buffer before.
    #[must_use]
    pub fn on_queue(mut self, queue: u32) -> Self {
        self.queue = Some(queue);
        self
    }
}

impl From<u64> for Request {
    #[inline]
    fn from(bytes: u64) -> Self {
        Self::new(bytes)
    }
}

/// How much free memory a pool keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retain {
    /// What was needed at once lately beside what stays, at least a quarter of the most that was live and 256 MiB.
    #[default]
    Auto,
    /// At most so many bytes.
    Bytes(u64),
}

/// Frees memory on request: told how many bytes are missing, tells how many it let go.
pub type PressureFn = Arc<dyn Fn(u64) -> u64 + Send + Sync>;

/// How a pool behaves.
#[derive(Clone)]
#[non_exhaustive]
pub struct PoolOptions {
    /// The most that the pool takes from the driver.
    pub limit: u64,
    /// The most of it that may be free.
    pub retain: Retain,
    /// The most that the buffers of each tag may ask for, in the order of [`Tag::ALL`].
    pub budgets: [u64; 5],
    /// When memory has to be taken from the driver, how much of what the pool holds may be free, in percent of the most
    /// that was live lately; what is above goes back first.
    pub slack_percent: u64,
    /// Where the memory lies.
    pub kind: MemoryKind,
    /// How long a request that finds no memory waits for queued work to give some back.
    pub patience: Duration,
    /// Fill uninitialised buffers with a pattern.
    pub poison: bool,
    /// Asked in order when nothing else helped.
    pub on_pressure: Vec<PressureFn>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            limit: u64::MAX,
            retain: Retain::Auto,
            budgets: [u64::MAX; 5],
            slack_percent: 3,
            kind: MemoryKind::Device,
            patience: Duration::from_secs(10),
            poison: cfg!(debug_assertions),
            on_pressure: Vec::new(),
        }
    }
}

impl PoolOptions {
    /// The most that the pool takes from the driver.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The most of it that may be free.
    #[must_use]
    pub fn retain(mut self, bytes: u64) -> Self {
        self.retain = Retain::Bytes(bytes);
        self
    }

    /// The most that the buffers of a tag may ask for together.
    #[must_use]
    pub fn budget(mut self, tag: Tag, bytes: u64) -> Self {
        self.budgets[tag as usize] = bytes;
        self
    }

    /// How long a request that finds no memory waits for queued work.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asked when nothing else helped.
    #[must_use]
    pub fn on_pressure(mut self, free: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Self {
        self.on_pressure.push(Arc::new(free));
        self
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolOptions")
            .field("limit", &self.limit)
            .field("retain", &self.retain)
            .field("budgets", &self.budgets)
            .field("slack_percent", &self.slack_percent)
            .field("kind", &self.kind)
            .field("patience", &self.patience)
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}
