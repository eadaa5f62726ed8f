//! Quantised language models in Rust: files, models and text.
//!
//! | to do this | look at |
//! |---|---|
//! | get text out of a model file | [`Engine`] |
//! | drive a model token by token | [`generate::step::Sequence`] |
//! | run several texts at once | [`Engine::several`], [`generate::batch::Batch`] |
//! | choose tokens, or say how | [`generate::sampler`] |
//! | end a text where it should | [`generate::stop`] |
//! | put a conversation into a prompt | [`generate::template`] |
//! | cut text into tokens, and back | [`generate::tokenizer`] |
//! | look into model files | [`formats`] |
//! | make a model smaller | [`quantize`] |
//!
//! Layers, each knowing only those before it: files; models; text; the engine.
#![forbid(unsafe_code)]

pub mod engine;
mod error;
pub mod formats;
pub mod generate;
pub mod models;
pub mod quantize;

pub use engine::{
    Chat, Engine, EngineOptions, Fit, Generation, ImportanceOptions, Needs, Outline, Piece, Several, Timings,
};
pub use error::{
    Error, Fault, FolderFault, FormatError, Place, Result, SetFault, TemplateFault, VocabularyFault,
};
