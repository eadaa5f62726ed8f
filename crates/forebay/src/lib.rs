//! Quantised language models in Rust: files, models and text.
#![forbid(unsafe_code)]

mod error;
pub mod formats;
pub mod generate;

pub use error::{Error, Fault, FormatError, Place, Result, SetFault, TemplateFault, VocabularyFault};
