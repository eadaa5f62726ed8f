//! Model files as they lie on disk: which tensors they hold, of which type and shape, and at which bytes.
//!
//! Nothing in here knows what a model computes, maps a file, or touches a weight; it reads descriptions and
//! checks every sum, product and range in them before anybody else uses one.
//! Next room: `models`, which gives the names a meaning.

pub mod gguf;
pub mod mlx;
pub mod safetensors;
