//! Work of a device: recorded in stages, submitted to queues, ordered by fences.
//!
//! In the order of one launch:
//! - `session`: the work of one caller on one queue; `stage`: what is being recorded
//! - `hazard`: where a barrier has to be; `bind`: which allocations the stage uses
//! - `submit`: stamping, waiting and handing over; `fence`: what comes back
//! - `queue`: which queues a device has; `recording`: a stage that is kept; `noted`: what is in one; `profile`: how long it took

mod bind;
pub(crate) mod fence;
mod hazard;
pub(crate) mod noted;
pub(crate) mod profile;
pub(crate) mod queue;
pub(crate) mod recording;
pub(crate) mod session;
pub(crate) mod stage;
mod submit;
