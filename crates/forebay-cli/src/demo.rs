//! The demo model: what this program runs when no model is named.
//!
//! Everything else asks here, so that a build with a model of its own differs in this file only.

use forebay::{Engine, EngineOptions};
use forebay_device::Device;

use crate::cli::Failure;

/// The model of this program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demo;

impl Demo {
    /// Opens it.
    pub(crate) fn open(self, _: &Device, _: &EngineOptions) -> Result<Engine, Failure> {
        Err(Failure::Usage("this build has no demo model; name a model file".to_owned()))
    }
}
