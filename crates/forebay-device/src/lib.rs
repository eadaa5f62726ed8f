//! Where bytes live and when work runs.

mod error;
mod memory;
mod sync;

pub use error::{ArgumentFault, Error, Holder, MemoryReport, Result};
