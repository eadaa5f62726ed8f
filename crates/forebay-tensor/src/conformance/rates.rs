//! How fast an op runs: what a case moves and computes, and the time it took at best.

/// What one run of an op has to move and to compute at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read and written.
    pub bytes: usize,
    /// Multiplications, additions and the like.
    pub operations: usize,
}

/// A measured case.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// The op.
    pub op: &'static str,
    /// The kernel that served it.
    pub kernel: String,
    /// What was measured.
    pub case: String,
    /// What one run moves and computes.
    pub work: Work,
    /// Seconds of one run, the least of several.
    pub seconds: f64,
}

impl Rate {
    /// Bytes a second.
    pub fn bandwidth(&self) -> f64 {
        self.work.bytes as f64 / self.seconds
    }

    /// Operations a second.
    pub fn throughput(&self) -> f64 {
        self.work.operations as f64 / self.seconds
    }
}
