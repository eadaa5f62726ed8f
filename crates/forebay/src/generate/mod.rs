//! From text to token ids and back, from messages to a prompt, and from a model to the next token.
//!
//! Nothing in here knows one model from another.
//! Next rooms: [`tokenizer`] and [`template`] for text, [`step`] for running a model, [`batch`] for running it on several texts
//! at once, [`sampler`] and [`stop`] for what is taken of it.

pub mod batch;
pub mod sampler;
pub mod step;
pub mod stop;
pub mod template;
pub mod text;
pub mod tokenizer;
