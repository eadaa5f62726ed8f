//! How long the launches of a stage took, as the backend saw them.
//!
//! Filled in by the backend while a profiled stage runs, read by the holder of its fence. Profiling never adds a
//! wait or a barrier.

use std::time::Duration;

use crate::{
    launch::KernelId,
    sync::{Mutex, lock},
};

/// One command of a profiled stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// The kernel; none for a copy or a fill.
    pub(crate) kernel: Option<KernelId>,
    pub(crate) start: Duration,
    pub(crate) took: Duration,
}

/// Where the backend puts timings.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    timings: Mutex<Vec<Timing>>,
}

impl Timings {
    pub(crate) fn push(&self, timing: Timing) {
        lock(&self.timings).push(timing);
    }

    pub(crate) fn timings(&self) -> Vec<Timing> {
        lock(&self.timings).clone()
    }
}
