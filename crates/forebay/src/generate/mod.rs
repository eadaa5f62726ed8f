//! From text to token ids and back, from messages to a prompt, and from a model to the next token.
//!
//! Nothing in here knows one model from another.
//! Next rooms: [`tokenizer`] and [`template`] for text, [`step`] for running a model, [`sampler`] and [`stop`] for what
//! is taken of it.

pub mod sampler;
pub mod step;
pub mod stop;
pub mod template;
pub mod tokenizer;
