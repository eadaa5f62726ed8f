//! A device without kernels: everything else is real, or simulated on request.
//!
//! The whole library can be tested on it with no hardware: the test decides when work completes and which call
//! fails. Copies and fills are carried out; launches are kept in a log.
//!
//! - `device`: options, opening, the backend; `control`: what a test holds
//! - `queue`: submissions that wait for the test; memory is that of `backend::cpu::memory`, or only counted

pub(crate) mod control;
pub(crate) mod device;
mod fence;
mod graph;
mod memory;
mod module;
pub(crate) mod queue;
