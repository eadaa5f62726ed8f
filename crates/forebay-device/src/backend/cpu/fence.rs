//! Completion on the CPU: the queue's thread advances the timeline when the last worker has left a submission.
//!
//! What a submission waits for is waited for here, on the queue's own thread, so that the host never has to.

use crate::{
    backend::{
        DeviceWait,
        timeline::{Patience, Timeline},
    },
    error::Result,
};

/// Waits for all of them, and fails if one that has to succeed did not.
pub(crate) fn wait_all(timeline: &Timeline, waits: &[DeviceWait]) -> Result<()> {
    for wait in waits {
        timeline.wait_done(wait.queue, wait.tick, Patience::default())?;
        if wait.cascade {
            timeline.outcome(wait.queue, wait.tick)?;
        }
    }
    Ok(())
}
