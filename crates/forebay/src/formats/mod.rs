//! Model files as they lie on disk: which tensors they hold, of which type and shape, and at which bytes.
//!
//! Nothing in here knows what a model computes. The readers of each format read descriptions and check every sum,
//! product and range in them before anybody else uses one; [`weights`] alone maps files and makes tensors of them.
//! Next room: `models`, which gives the names a meaning.

pub mod gguf;
pub mod mlx;
pub mod safetensors;
pub mod settings;
pub mod weights;
pub mod write;
