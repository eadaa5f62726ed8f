//! Whether a device keeps a trace, and where.

use std::path::PathBuf;

/// Where a device's trace is kept.
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Event, TraceOptions};
///
/// let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1024)))?;
/// drop(device.alloc(1000)?);
/// let trace = device.trace().ok_or("no trace was asked for")?;
/// let events = trace.read()?.collect::<Result<Vec<_>, _>>()?;
/// assert!(events.iter().any(|entry| matches!(entry.event, Event::Allocated { bytes: 1000, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TraceOptions {
    pub(super) keep: Keep,
}

#[derive(Clone, Debug)]
pub(super) enum Keep {
    /// In memory: of each pool, and of submissions, so many records.
    Newest(usize),
    /// In a file.
    File(PathBuf),
    /// In a test's hands.
    #[cfg(all(test, not(loom)))]
    Writer(super::tests::Writer),
}

impl TraceOptions {
    /// The newest events, in memory: about so many of each pool, and as many of the device's queues. 32 bytes each.
    pub fn ring(events: usize) -> Self {
        Self { keep: Keep::Newest(events.max(64)) }
    }

    /// All events, in a file that a thread of its own writes. A file of that name is written over. When the program
    /// ends badly, what was not yet written is lost: what happened in the last twentieth of a second, or since the last
    /// [`Trace::flush`](crate::Trace::flush). A file that cannot be written any more ends the trace and disturbs no work;
    /// `flush` says so.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { keep: Keep::File(path.into()) }
    }
}
