//! Model files as they lie on disk: which tensors they hold, of which type and shape, and at which bytes.
//!
//! Nothing in here knows what a model computes. The readers of each format, [`gguf`], [`safetensors`] and [`mlx`], read
//! descriptions and check every sum, product and range in them before anybody else uses one. What a folder calls things,
//! `config` and `names` turn into the keys and names of GGUF files, so that models know one scheme; `checkpoint` puts them
//! together. `origin` gives whole models to whoever writes them anew, with `tokens` for the tokenizer; what is written is `pending`
//! until it is whole. [`weights`] alone makes tensors, of the ranges that are `stored` in a `source`; `upload` fills memory
//! with them, on the devices that a [`placement`] says.
//! Next room: `models`, which gives the names a meaning.

mod checkpoint;
mod config;
pub mod folder;
pub mod gguf;
pub mod mlx;
mod names;
pub(crate) mod origin;
mod pending;
pub mod placement;
pub mod safetensors;
mod sentencepiece;
pub mod settings;
mod source;
mod stored;
pub(crate) mod tokens;
mod upload;
pub mod weights;
pub mod write;
