//! A software device behind Metal's interface, so that host code written for Metal runs, unchanged, on Linux.
//!
//! It is Metal as Apple's documents have it, read strictly: whatever they leave open is done in the least convenient way,
//! and whatever they forbid ends the test. Work on one queue overlaps and changes places unless events or barriers order
//! it; command buffers end, and their handlers run, in no order; memory that was given back faults when it is touched.
//!
//! - `runtime`: objects, messages, counts and autorelease pools; `block`: blocks; `foundation`: strings and errors
//! - `device`, `library`, `memory`: devices, compiled kernels, buffers and residency sets
//! - `command`, `encoder`: command buffers while they are filled; `gpu`: what runs them
//! - `control`: what a test may change or ask; `fault`: how misuse ends
//!
//! Rules for the unsafe code of this crate:
//! - S1 Objects live for ever as shells, so that any pointer to one stays good to look at; their contents go with the
//!   last count. A message to an object without a count is a fault.
//! - S2 Methods are called through the types that their encoding states. In debug builds objc2 compares those with its own
//!   before every message.
//! - S3 Contents are shared between threads: they are `Sync`, or behind a lock.
//! - S4 The names that are exported are those of the libraries that this crate stands in for, which are not linked.

mod block;
mod command;
mod control;
mod device;
mod encoder;
mod fault;
mod foundation;
mod gpu;
mod library;
mod memory;
mod runtime;

pub use control::{Ending, autoreleased_without_pool, end_next, live, refuse_buffers, set_macos};
