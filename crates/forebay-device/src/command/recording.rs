//! A recording: a stage that is kept and replayed. It owns handles on all it binds.
//!
//! What changes from replay to replay lives in the memory that it binds, so a replay needs no patching.

use std::fmt;

use super::{bind::BoundLease, fence::Fence, session::Session};
use crate::{
    backend::{Graph, Work},
    error::{Error, Result},
    label::Label,
    memory::home::Home,
    sync::Arc,
};

/// Work that was recorded once and can be replayed any number of times, on any compute queue of its device.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let (from, to) = (device.upload(&[1u32])?, device.alloc(4)?);
/// let mut session = device.session()?;
/// let mut stage = session.stage("step");
/// stage.copy(&from, &to)?;
/// let step = stage.record()?;
/// for value in 5..8 {
///     from.copy_from(&[value])?;
///     session.replay(&step)?.wait()?;
///     assert_eq!(to.to_vec::<u32>()?, [value]);
/// }
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone)]
pub struct Recording {
    pub(super) home: Arc<Home>,
    pub(super) graph: Arc<dyn Graph>,
    pub(super) bound: Arc<[BoundLease]>,
    pub(super) label: Label,
    pub(super) launches: bool,
}

impl Recording {
    /// The label of the stage it was.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Allocations that it keeps alive.
    pub fn bindings(&self) -> usize {
        self.bound.len()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("label", &self.label)
            .field("bindings", &self.bindings())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Submits a recording as a stage with a fence.
    ///
    /// # Errors
    /// As [`Stage::fence`](crate::Stage::fence); `ForeignDevice` if it was recorded on another device, `Unsupported` if
    /// it launches kernels and this is a copy queue.
    pub fn replay(&mut self, recording: &Recording) -> Result<Fence> {
        if !std::ptr::eq(Arc::as_ptr(&recording.home), self.home()) {
            return Err(Error::ForeignDevice {
                what: "recording",
                theirs: recording.home.name(),
                ours: self.home().name(),
            });
        }
        if recording.launches && self.queue.kind == crate::QueueKind::Copy {
            return Err(Error::Unsupported {
                what: "launch kernels on a copy queue",
                backend: self.device.kind().name(),
            });
        }
        let work = Work::Graph(recording.graph.clone());
        self.submit_work(work, &recording.bound, recording.label.clone(), true)
    }
}
