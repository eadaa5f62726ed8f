//! What bytes mean and what can be computed.

mod dtype;
mod error;
pub mod quant;

pub use dtype::{Affine, DType};
pub use error::{Error, Result};
