//! Timings of a stage, with the names of the kernels.

use std::time::Duration;

use crate::{
    sync::{Arc, Mutex, lock},
    timing::Timing,
};

/// Names of the kernels of a device, by number.
#[derive(Debug, Default)]
pub(crate) struct KernelNames {
    names: Mutex<Vec<Arc<str>>>,
}

impl KernelNames {
    pub(crate) fn set(&self, kernel: u32, name: Arc<str>) {
        let mut names = lock(&self.names);
        if names.len() <= kernel as usize {
            names.resize(kernel as usize + 1, "".into());
        }
        names[kernel as usize] = name;
    }
}

/// One command of a profiled stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaunchProfile {
    /// The kernel; `copy or fill` where there was none.
    pub kernel: Arc<str>,
    /// When it began, from the beginning of the stage on.
    pub start: Duration,
    /// How long it took, as the first worker saw it.
    pub took: Duration,
}

/// How long the commands of a stage took.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StageProfile {
    /// In the order in which they were recorded.
    pub launches: Vec<LaunchProfile>,
}

impl StageProfile {
    pub(super) fn new(timings: Vec<Timing>, names: &KernelNames) -> Self {
        let names = lock(&names.names);
        let launches = timings
            .into_iter()
            .map(|Timing { kernel, start, took }| {
                let name = kernel.and_then(|kernel| names.get(kernel as usize).cloned());
                LaunchProfile { kernel: name.unwrap_or_else(|| "copy or fill".into()), start, took }
            })
            .collect();
        Self { launches }
    }
}
