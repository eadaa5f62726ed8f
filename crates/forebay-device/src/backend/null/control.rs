//! What a test holds of a null device: completion, faults, and the log of calls.

use std::sync::Arc;

use super::{device::Shared, queue};
use crate::{
    error::{Error, Result},
    sync::lock,
};

/// A driver call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the backend call of that name")]
#[non_exhaustive]
pub enum NullCall {
    RegionReserve,
    RegionMap,
    RegionUnmap,
    RegionRelease,
    RegionImport,
    Residency,
    QueueOpen,
    Submit,
    KernelLoad,
    Graph,
    Read,
    Write,
}

/// A submission as the null device saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubmissionRecord {
    /// The queue.
    pub queue: u32,
    /// Its tick.
    pub tick: u64,
    /// The label of its stage.
    pub label: String,
    /// What it waits for: queue and tick.
    pub waits: Vec<(u32, u64)>,
    /// Names of the kernels launched.
    pub launches: Vec<String>,
    /// Barriers between them.
    pub barriers: usize,
    /// It was a recording.
    pub replayed: bool,
}

/// Steers a null device from a test.
///
/// ```
/// use forebay_device::{DeviceOptions, NullOptions};
///
/// let (device, control) = NullOptions::default().open(&DeviceOptions::null())?;
/// control.hold(0, true);
/// let mut session = device.session()?;
/// let fence = session.stage("held").fence()?;
/// assert!(!fence.is_done());
/// assert!(control.complete(0));
/// fence.wait()?;
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NullControl {
    pub(crate) shared: Arc<Shared>,
}

impl NullControl {
    /// Keeps submissions of a queue waiting until [`complete`](Self::complete), or lets them complete at once again.
    pub fn hold(&self, queue: u32, held: bool) {
        let mut lines = lock(&self.shared.lines);
        self.shared.ensure_line(&mut lines, queue);
        lines[queue as usize].held = held;
        queue::settle(&self.shared, &mut lines);
    }

    /// Completes the oldest submission of a queue. False if there is none or it waits for another queue.
    pub fn complete(&self, queue: u32) -> bool {
        self.complete_with(queue, Ok(()))
    }

    /// Completes the oldest submission of a queue with a fault, as if a kernel had failed.
    pub fn complete_with(&self, queue: u32, outcome: Result<()>) -> bool {
        let mut lines = lock(&self.shared.lines);
        self.shared.ensure_line(&mut lines, queue);
        let moved = queue::complete_first(&self.shared, &mut lines, queue, Some(outcome));
        queue::settle(&self.shared, &mut lines);
        moved
    }

    /// Submissions of a queue that have not completed.
    pub fn pending(&self, queue: u32) -> usize {
        lock(&self.shared.lines).get(queue as usize).map_or(0, |line| line.waiting.len())
    }

    /// Makes the `nth` call of a kind from now on fail, counting from 1.
    pub fn fail(&self, call: NullCall, nth: u64, error: Error) {
        lock(&self.shared.faults).push((call, nth.max(1), error));
    }

    /// Takes the device away: everything returns `Lost` from now on.
    pub fn lose(&self, reason: &str) {
        // Under the lock of the lines: what is told as over must not be running.
        let _lines = lock(&self.shared.lines);
        self.shared.timeline.lose(Error::Lost { reason: reason.into() });
    }

    /// How often a call was made.
    pub fn calls(&self, call: NullCall) -> u64 {
        lock(&self.shared.counts).get(&call).copied().unwrap_or(0)
    }

    /// Bytes taken from the device.
    pub fn used(&self) -> u64 {
        self.shared.memory.used()
    }

    /// Every submission so far.
    pub fn submissions(&self) -> Vec<SubmissionRecord> {
        lock(&self.shared.log).clone()
    }
}
