//! NVIDIA cards by the driver's own interface: a stream a queue, memory mapped page by page, recordings as graphs.
//!
//! - `driver`: the library, found at run time, and its calls as results
//! - `device`: opening, and the backend contract
//! - `memory`: regions; `staging`: bytes on their way between host and card
//! - `queue`: streams; `fence`: the words by which the card tells how far it has come
//! - `module`: kernels; `bundle`: their packed images; `graph`: recordings; `timing`: how long commands took;
//!   `ranges`: labels for NVIDIA's profilers
//!
//! Rules for the unsafe code of this folder, to which each file adds its own:
//! - C1 No function of the library is called before `driver::load` found it and its version; all that are called are in
//!   every driver from the oldest that it admits on, or behind a look at `Context::version`.
//! - C2 Pointers handed to a call are valid for that call; what the card uses later outlives the work that uses it.
//! - C3 Raw handles are given up once, by the `Drop` of the type that made them, and used only while it lives. The driver
//!   allows any thread to use them.
//! - C4 The context is current on the calling thread (`Context::bind`) wherever a call needs one.

mod bundle;
pub(crate) mod device;
mod driver;
mod fence;
mod graph;
mod memory;
pub(crate) mod module;
mod queue;
mod ranges;
mod staging;
mod timing;
