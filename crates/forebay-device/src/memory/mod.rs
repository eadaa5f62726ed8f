//! Memory of a device: which bytes of its address space are whose, and when they may be handed out again.
//!
//! Nothing here submits work, and nothing here knows a queue beyond the ticks it is told. Next room: `range`,
//! the bookkeeping everything else stands on.

#[allow(dead_code, unused_imports, reason = "the pool is the caller")]
pub(crate) mod range;
#[cfg(test)]
mod range_cases;
#[cfg(test)]
mod range_properties;
