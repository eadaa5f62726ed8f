//! A fence: a point of a queue's timeline that the host can wait for, any number of times, with the same answer.

use std::{fmt, time::Duration};

use super::profile::StageProfile;
use crate::{
    backend::timeline::{CancelToken, Patience},
    error::Result,
    memory::home::Home,
    sync::Arc,
    timing::Timings,
};

/// The end of submitted work.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let mut session = device.session()?;
/// let fence = session.stage("nothing to do").fence()?;
/// fence.wait()?;
/// fence.wait()?;
/// assert!(fence.is_done());
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "work may still be under way: wait for the fence, or let it go with `drop`"]
pub struct Fence {
    pub(super) home: Arc<Home>,
    pub(super) queue: u32,
    pub(super) tick: u64,
    pub(super) profile: Option<Arc<Timings>>,
    pub(super) names: Option<Arc<super::profile::KernelNames>>,
}

impl Fence {
    /// Returns when the work is done.
    ///
    /// # Errors
    /// What the work failed with, at every wait; `Lost` if the device is gone.
    pub fn wait(&self) -> Result<()> {
        self.home.wait(self.queue, self.tick, Patience::default())
    }

    /// Waits no longer than that.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and `Timeout`: the work then goes on, and can be waited for again.
    pub fn wait_for(&self, timeout: Duration) -> Result<()> {
        self.home.wait(self.queue, self.tick, Patience { timeout: Some(timeout), cancel: None })
    }

    /// Waits until the work is done or the token is cancelled.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and `Cancelled`: the work then goes on, and can be waited for again.
    pub fn wait_unless(&self, cancel: &CancelToken) -> Result<()> {
        self.home.wait(self.queue, self.tick, Patience { timeout: None, cancel: Some(cancel) })
    }

    /// Whether the work is done, well or not.
    pub fn is_done(&self) -> bool {
        self.home.timeline().poll(self.queue, self.tick)
    }

    /// The queue.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// The position on the queue's timeline.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// How long the launches took, if the session was profiling. Complete once the work is done.
    pub fn profile(&self) -> Option<StageProfile> {
        Some(StageProfile::new(self.profile.as_ref()?.timings(), self.names.as_deref()?))
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("queue", &self.queue).field("tick", &self.tick).finish_non_exhaustive()
    }
}
