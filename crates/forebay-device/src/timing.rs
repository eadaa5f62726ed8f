//! How long the launches of a stage took, as the backend saw them.
//!
//! Filled in by the backend while a profiled stage runs, read by the holder of its fence. Profiling never adds a
//! wait or a barrier.

use std::{fmt, time::Duration};

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

/// Reads timings that only the device has; none as long as the work goes on.
type Reader = Box<dyn Fn() -> Option<Vec<Timing>> + Send>;

/// Where the backend puts timings.
#[derive(Default)]
pub(crate) struct Timings {
    timings: Mutex<Vec<Timing>>,
    reader: Mutex<Option<Reader>>,
}

impl Timings {
    pub(crate) fn push(&self, timing: Timing) {
        lock(&self.timings).push(timing);
    }

    /// Leaves the reading to whoever asks first after the work is done.
    #[cfg(feature = "cuda")]
    pub(crate) fn read_later(&self, reader: impl Fn() -> Option<Vec<Timing>> + Send + 'static) {
        *lock(&self.reader) = Some(Box::new(reader));
    }

    pub(crate) fn timings(&self) -> Vec<Timing> {
        let mut reader = lock(&self.reader);
        if let Some(timings) = reader.as_ref().and_then(|read| read()) {
            *lock(&self.timings) = timings;
            *reader = None;
        }
        lock(&self.timings).clone()
    }
}

impl fmt::Debug for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timings").field(&lock(&self.timings)).finish()
    }
}
