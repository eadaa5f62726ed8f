//! What bytes mean and what can be computed.
//!
//! | to do this | look at |
//! |---|---|
//! | name a type of elements or blocks | [`DType`] |
//! | read and write weight formats on the host | [`quant`] |
//! | hold elements of a device | [`Tensor`] |
//! | hold a matrix as a device reads it best | [`Weight`] |
//! | say what of the CPU is used | [`Level`] |
//! | compute with them | [`Ops`], and the ops in [`ops`] |
//!
//! Layers, each knowing only those before it: types and shapes; formats; tensors; what an op is; code that ops share;
//! the ops; the list of them.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod dtype;
mod error;
mod layout;
mod level;
mod note;
mod op;
pub mod ops;
pub mod quant;
mod registry;
mod shape;
mod tensor;
mod tiles;
mod weight;

pub use dtype::{Affine, DType};
pub use error::{ArgumentFault, DeviceError, Error, Result};
pub use layout::Layout;
pub use level::Level;
pub use note::{Extent, Launched, Note, Traffic};
pub use op::{Op, Served};
#[cfg(any(test, feature = "conformance"))]
pub use registry::subjects;
pub use registry::{Ops, Recorder, Registered};
pub use shape::{MAX_RANK, Shape};
pub use tensor::{Element, Tensor};
pub use weight::{Weight, WeightBytes};
