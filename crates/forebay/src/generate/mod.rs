//! From text to token ids and back, and from messages to a prompt.
//!
//! Nothing in here computes with weights; it turns what people write into what a model reads.
//! Next rooms: [`tokenizer`], then [`template`].

pub mod template;
pub mod tokenizer;
