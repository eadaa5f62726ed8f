//! The demo model: what this program runs when no model is named.
//!
//! A small Qwen 3 that was trained on Shakespeare's plays, by `training/train.py`. It is in the program itself, so that the
//! first thing anybody tries needs no file.

use forebay::{Engine, EngineOptions};
use forebay_device::Device;

use crate::cli::Failure;

/// The model of this program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demo;

impl Demo {
    const BYTES: &'static [u8] = include_bytes!("../assets/demo.gguf");

    /// Opens it.
    pub(crate) fn open(self, device: &Device, options: &EngineOptions) -> Result<Engine, Failure> {
        Ok(Engine::open_bytes(device, "the demo model", Self::BYTES, options)?)
    }
}
