//! Apple GPUs by Metal: a command queue a queue, shared buffers as regions, one concurrent encoder a submission.
//!
//! - `device`: opening, and the backend contract; `probe`: the self-test that decides whether a device is opened
//! - `memory`: regions and the residency set
//! - `queue`: submissions on their way through command buffers; `fence`: the event that orders them
//! - `module`: kernels from MSL text, and their launches; `graph`: recordings, which are encoded anew each time
//!
//! The folder is also built with `--cfg metal_emulated`, where a software device stands in for Apple's frameworks.
//!
//! Rules for the unsafe code of this folder, to which each file adds its own:
//! - O1 Every call that may reach the frameworks is made inside an autorelease pool of this folder: one around each
//!   entry of the backend, and one around each completion handler.
//! - O2 Metal allows any thread to use devices, queues, buffers, pipelines, events and residency sets. A command buffer
//!   and its encoder stay on the thread that encodes them, and are not touched by us after `commit`.
//! - O3 Command buffers retain nothing. What they use outlives them: buffers by rule B7 of `backend`; pipelines, events
//!   and queues because `close` waits for the last completion handler.
//! - O4 What older systems lack is asked for by its selector before it is called.

pub(crate) mod device;
mod fence;
mod graph;
mod memory;
mod module;
mod probe;
mod queue;

use objc2::{rc::Retained, runtime::ProtocolObject};
use objc2_foundation::NSError;

use crate::error::Error;

/// A counted reference to an object of a Metal protocol.
type Object<P> = Retained<ProtocolObject<P>>;

/// What a failed call says, as an error.
fn failure(call: &'static str, error: &NSError) -> Error {
    Error::Driver { call, code: error.code() as i64, detail: words(error).into() }
}

/// The framework's own words.
fn words(error: &NSError) -> String {
    error.localizedDescription().to_string()
}

/// A call that returned nothing where it should have made something.
fn nothing(call: &'static str) -> Error {
    Error::Driver { call, code: 0, detail: "the framework returned nothing".into() }
}
