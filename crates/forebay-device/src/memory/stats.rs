//! What a pool counts: one consistent snapshot, taken under the pool's lock.

use std::fmt;

/// What memory is used for: decides where in the range it lies and which budget it counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tag {
    /// Weights: stay as long as the model. Never rounded to a size class.
    Weights,
    /// Caches of attention: stay as long as a conversation.
    Kv,
    /// Activations: come and go within a step.
    Activations,
    /// On the way between host and device.
    Staging,
    /// Anything else.
    #[default]
    Other,
}

impl Tag {
    /// All tags.
    pub const ALL: [Self; 5] = [Self::Weights, Self::Kv, Self::Activations, Self::Staging, Self::Other];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Kv => "kv",
            Self::Activations => "activations",
            Self::Staging => "staging",
            Self::Other => "other",
        }
    }

    /// Whether such memory stays for long: it is placed away from what comes and goes.
    pub(super) const fn stays(self) -> bool {
        matches!(self, Self::Weights | Self::Kv)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a pool at one moment. Sizes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Buffers in use, arenas' chunks included.
    pub in_use: u64,
    /// What buffers in use asked for.
    pub live: u64,
    /// What they take: `live` and what rounding added.
    pub taken: u64,
    /// Dropped, but still used by queued work.
    pub retiring: u64,
    /// Ready for the next request without a driver call.
    pub free: u64,
    /// The largest free piece that needs no driver call.
    pub largest_free: u64,
    /// Taken from the driver: `taken`, `retiring` and `free` together.
    pub reserved: u64,
    /// The most that `live` has been.
    pub peak_live: u64,
    /// The most that `reserved` has been.
    pub peak_reserved: u64,
    /// Requests served from memory the pool already had.
    pub hits: u64,
    /// Requests that needed the driver.
    pub misses: u64,
    /// Requests served by memory that work on the same queue still used.
    pub early_reuses: u64,
    /// Requests that cut a larger free piece.
    pub splits: u64,
    /// Calls into the driver for memory: reserve, map, unmap, release.
    pub driver_calls: u64,
    /// Times that memory was given back to the driver.
    pub trims: u64,
    /// The most that rounding added to one request that is in use or was.
    pub worst_waste: u64,
    /// All that rounding ever added, for the mean over `hits + misses`.
    pub total_waste: u64,
    /// Members of the residency set that this pool made.
    pub members: u64,
    /// Live bytes by tag, in the order of [`Tag::ALL`].
    pub by_tag: [u64; 5],
}

impl PoolStats {
    /// Bytes that rounding added to a request, on average.
    pub fn mean_waste(&self) -> f64 {
        self.total_waste as f64 / (self.hits + self.misses).max(1) as f64
    }

    pub(super) fn note_peaks(&mut self) {
        self.peak_live = self.peak_live.max(self.live);
        self.peak_reserved = self.peak_reserved.max(self.reserved);
    }
}
