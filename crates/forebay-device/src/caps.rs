//! What a device is and what it can do, as plain numbers that every layer may ask.
//!
//! Nothing here talks to a driver; a backend fills [`Caps`] in when it is opened.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// The unit of allocation in bytes; every buffer starts on a multiple of it.
pub const GRANULE: u64 = 256;

/// Which family of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Runs everything but kernels; made for tests and simulation.
    Null,
    /// The processor this program runs on.
    Cpu,
    /// An NVIDIA card.
    Cuda,
    /// An Apple GPU.
    Metal,
}

impl BackendKind {
    /// The name users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Null, Self::Cpu, Self::Cuda, Self::Metal]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| Error::Option { name: "device", wanted: "null, cpu, cuda or metal".into() })
    }
}

/// What one device can do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Caps {
    /// The family.
    pub backend: BackendKind,
    /// What the maker calls it.
    pub name: String,
    /// Bytes of memory the device has.
    pub memory: u64,
    /// Host and device see the same bytes: guards are the bytes themselves.
    pub unified: bool,
    /// The unit in which address space gets memory behind it; 0 where address space and memory come together.
    pub page: u64,
    /// The largest single allocation.
    pub max_buffer: u64,
    /// Workers that share a launch, on a card its multiprocessors; 1 where the question has no meaning.
    pub workers: usize,
    /// Launches and copies on different queues can overlap.
    pub concurrent_queues: bool,
    /// Which code a card runs, such as 90 for sm_90; 0 where the question has no meaning.
    pub architecture: u32,
}

impl Caps {
    /// The unit in which memory of a kind is mapped; 0 where its address space comes with it.
    pub(crate) fn page_of(&self, kind: MemoryKind) -> u64 {
        match kind {
            MemoryKind::Staging if !self.unified => 0,
            _ => self.page,
        }
    }
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueKind {
    /// Kernels, copies and fills.
    Compute,
    /// Copies and fills beside the kernels.
    Copy,
}

/// What memory is for, which decides where it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryKind {
    /// Memory that kernels read and write at full speed.
    #[default]
    Device,
    /// Host memory that the device can copy from and to without help (pinned).
    Staging,
}
