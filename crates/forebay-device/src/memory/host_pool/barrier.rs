//! The two halves of the fence that a magazine's owner and its seizer need between a store and a load.
//!
//! Owns: choosing how it is paid for. Where the system can make all running threads of the process fence at once,
//! the owner, which passes here at every call, pays nothing and the rare seizer pays for both; elsewhere both fence.
//! Next room: `magazine`.

use crate::sync::{Ordering, fence};

/// How the fence is paid for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Barrier {
    /// The seizer fences for the owner too.
    Asymmetric,
    /// Each fences for itself.
    Symmetric,
}

impl Barrier {
    /// The cheapest kind that the system has.
    pub(super) fn available() -> Self {
        if register() { Self::Asymmetric } else { Self::Symmetric }
    }

    /// The owner's half.
    #[inline(always)]
    pub(super) fn owner(self) {
        match self {
            Self::Asymmetric => std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst),
            Self::Symmetric => fence(Ordering::SeqCst),
        }
    }

    /// The seizer's half. False where the system refused, and nothing is known about the owners then.
    #[must_use]
    pub(super) fn seizer(self) -> bool {
        fence(Ordering::SeqCst);
        self == Self::Symmetric || everyone()
    }
}

#[cfg(all(target_os = "linux", not(any(loom, miri))))]
fn register() -> bool {
    use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
    let query = membarrier_query();
    query.contains_command(MembarrierCommand::PrivateExpedited)
        && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

#[cfg(all(target_os = "linux", not(any(loom, miri))))]
fn everyone() -> bool {
    use rustix::thread::{MembarrierCommand, membarrier};
    membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}

#[cfg(not(all(target_os = "linux", not(any(loom, miri)))))]
fn register() -> bool {
    false
}

#[cfg(not(all(target_os = "linux", not(any(loom, miri)))))]
fn everyone() -> bool {
    false
}
