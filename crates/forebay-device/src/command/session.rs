//! A session: the work of one caller on one queue, one stage after another.
//!
//! A session owns the lists that its stages record into, so that recording allocates nothing when warm. Only one stage
//! can be open, because it borrows the session.

use super::{bind::Bound, fence::Fence, hazard::Hazards, noted::Notes, queue::Queue, stage::Stage};
use crate::{
    Buffer, Device, Request,
    error::{Error, Result},
    label::Label,
    launch::CommandList,
    memory::home::Home,
    sync::Arc,
};

/// The work of one caller on one queue.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let buffer = device.alloc(16)?;
/// let mut session = device.session()?;
/// for byte in 0..4 {
///     let mut stage = session.stage("layer");
///     stage.fill(&buffer, byte)?;
///     let _ = stage.fence()?;
/// }
/// assert_eq!((session.stats().fences, session.stats().waits), (4, 3));
/// session.finish()?.wait()?;
/// assert_eq!(buffer.to_vec::<u8>()?, [3; 16]);
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    pub(super) device: Device,
    pub(super) queue: Queue,
    pub(super) list: CommandList,
    pub(super) bound: Bound,
    pub(super) hazards: Hazards,
    /// Fences that the open stage was told to wait for.
    pub(super) waits: Vec<(u32, u64)>,
    /// Fences that the next submission was told to wait for.
    pub(super) asked: Vec<(u32, u64)>,
    /// The tick of the last submission, and whether it had a fence.
    pub(super) last: Option<(u64, bool)>,
    pub(super) stats: SessionStats,
    pub(super) profiling: bool,
}

/// What a session counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Stages that ended with a fence.
    pub fences: u64,
    /// Device waits for a fence of this session or one given to `after`.
    pub waits: u64,
    /// Submissions, with and without a fence.
    pub submissions: u64,
    /// Events made to stand behind the fences: one at the first fence, used again by all others.
    pub events: u64,
}

impl Session {
    pub(crate) fn new(device: Device, queue: Queue) -> Self {
        let list = device.home().backend.recycle();
        Self {
            device,
            queue,
            list,
            bound: Bound::default(),
            hazards: Hazards::default(),
            waits: Vec::new(),
            asked: Vec::new(),
            last: None,
            stats: SessionStats::default(),
            profiling: false,
        }
    }

    pub(super) fn home(&self) -> &Home {
        self.device.home()
    }

    /// Opens a stage. Its label stands in profilers, traces and errors.
    pub fn stage(&mut self, label: impl Into<Label>) -> Stage<'_> {
        // What a stage recorded that was leaked instead of dropped is discarded all the same.
        if !self.list.commands.is_empty() || !self.waits.is_empty() {
            self.discard();
        }
        Stage { session: self, label: label.into(), notes: Notes::default() }
    }

    /// Makes what this session submits next, a stage or a replay, wait on the device for a fence of any queue.
    ///
    /// # Errors
    /// `ForeignDevice` if the fence belongs to another device.
    pub fn after(&mut self, fence: &Fence) -> Result<()> {
        self.check_fence(fence)?;
        self.asked.push((fence.queue, fence.tick));
        Ok(())
    }

    pub(super) fn check_fence(&self, fence: &Fence) -> Result<()> {
        if std::ptr::eq(Arc::as_ptr(&fence.home), self.home()) {
            return Ok(());
        }
        Err(Error::ForeignDevice { what: "fence", theirs: fence.home.name(), ours: self.home().name() })
    }

    /// A buffer for work of this session: it may be made of memory that earlier work on the queue still uses.
    ///
    /// # Errors
    /// As [`Pool::alloc`](crate::Pool::alloc).
    pub fn alloc(&self, request: impl Into<Request>) -> Result<Buffer> {
        self.device.pool().alloc(request.into().on_queue(self.queue.id))
    }

    /// The queue.
    pub fn queue(&self) -> Queue {
        self.queue
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What was counted so far.
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Measures how long launches take, from the next stage on. Changes neither order nor errors.
    pub fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
    }

    /// Ends the session: a fence for all it submitted, with or without fences of their own.
    ///
    /// # Errors
    /// `Lost` if the device is gone, or an error that a drop could not return.
    pub fn finish(self) -> Result<Fence> {
        self.home().take_deferred()?;
        let tick = self.last.map_or(0, |(tick, _)| tick);
        Ok(self.fence_at(tick, None))
    }

    pub(super) fn discard(&mut self) {
        self.list.clear();
        self.bound.clear();
        self.hazards.clear();
        self.waits.clear();
    }
}
