//! Completion on the null device: a submission completes when the test says so and all it waits for has completed.

use crate::{
    backend::{DeviceWait, timeline::Timeline},
    error::Result,
};

/// Whether nothing holds a submission back.
pub(crate) fn ready(timeline: &Timeline, waits: &[DeviceWait]) -> bool {
    waits.iter().all(|wait| timeline.is_done(wait.queue, wait.tick))
}

/// What the waits of a ready submission make of it.
pub(crate) fn inherited(timeline: &Timeline, waits: &[DeviceWait]) -> Result<()> {
    waits.iter().filter(|wait| wait.cascade).try_for_each(|wait| timeline.outcome(wait.queue, wait.tick))
}
