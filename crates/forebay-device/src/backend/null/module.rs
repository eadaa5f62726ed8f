//! Kernels of the null device: names with numbers. They need no code, because nothing runs.

use crate::{
    launch::KernelId,
    sync::{Mutex, lock},
};

/// The kernels that were loaded, in order.
#[derive(Debug, Default)]
pub(crate) struct Names {
    loaded: Mutex<Vec<String>>,
}

impl Names {
    pub(crate) fn load(&self, name: &str) -> KernelId {
        let mut loaded = lock(&self.loaded);
        loaded.push(name.to_owned());
        (loaded.len() - 1) as KernelId
    }

    pub(crate) fn name(&self, kernel: KernelId) -> String {
        lock(&self.loaded).get(kernel as usize).cloned().unwrap_or_default()
    }
}
