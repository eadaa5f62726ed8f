//! The CPU as an asynchronous device: a thread a queue, a team of workers, memory mapped in large pages.
//!
//! - `device`: opening, and what the queues share
//! - `memory`: regions; `queue`: the thread that runs submissions; `team` and `gate`: how workers meet
//! - `module`: what a kernel sees; `fence`: waits; `graph`: recordings

pub(crate) mod device;
mod fence;
mod gate;
pub(crate) mod graph;
pub(crate) mod memory;
pub(crate) mod module;
mod queue;
mod team;
