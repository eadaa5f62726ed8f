//! Memory of a device: which bytes of its address space are whose, and when they may be handed out again.
//!
//! Nothing here submits work, and nothing here knows a queue beyond the ticks it is told. In the order of one
//! allocation:
//! - `options`: what is asked for; `pool` and `state`: the fast path; `class` and `range`: where a free block is
//! - `supply`: the driver, the limits, and what happens when there is nothing left; `marks`: how much was needed lately;
//!   `report`: what is said when all fails
//! - `lease` and `count`: the right to a block, counted; `buffer`: its public face; `guard` and `access`: what the host
//!   may touch
//! - `arena`: memory for one step, packed by lifetime where steps repeat; its `scope`: such that it cannot leave the step
//! - `uses` and `retire`: what queued work holds back; `residency`: what the driver is told to keep at hand
//! - `home`: what all memory of a device shares; `stats`: what is counted; `trace`: what happened
//!
//! Beside them, knowing none of them: `host_pool`, the host's own vectors.

pub(crate) mod access;
pub(crate) mod arena;
pub(crate) mod buffer;
mod class;
mod count;
pub(crate) mod guard;
pub(crate) mod home;
pub(crate) mod host_pool;
pub(crate) mod lease;
pub(crate) mod map;
mod marks;
pub(crate) mod options;
pub(crate) mod pool;
#[allow(dead_code, reason = "figures for snapshots are the memory tool's")]
pub(crate) mod range;
#[cfg(test)]
mod range_cases;
#[cfg(test)]
mod range_properties;
mod report;
pub(crate) mod residency;
mod retire;
mod state;
pub(crate) mod stats;
mod supply;
pub(crate) mod trace;
pub(crate) mod uses;
