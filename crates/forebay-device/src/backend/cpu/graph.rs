//! Recordings on the CPU: the list itself, kept. There is nothing to prepare.

use crate::{backend::Graph, launch::CommandList};

/// A command list that is run again and again.
#[derive(Debug)]
pub(crate) struct KeptList(pub(crate) CommandList);

impl Graph for KeptList {
    fn list(&self) -> &CommandList {
        &self.0
    }
}
