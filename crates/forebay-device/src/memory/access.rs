//! Who may touch which bytes right now: host guards against each other, and host guards against device work.
//!
//! One lock a device covers the list of guards and the uses of every lease, so that "nobody writes it" and "now I
//! do" are one step. It is taken once a submission and once a guard, never while waiting.

use super::{lease::Handle, trace::DeviceTrace};
use crate::{
    error::{Error, Holder, Result},
    sync::{Mutex, MutexGuard, Ordering, lock},
};

/// The lock, and what is under it.
#[derive(Debug)]
pub(crate) struct AccessTable {
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    guards: Vec<HostGuard>,
    trace: Option<Box<DeviceTrace>>,
}

/// Bytes of an allocation that the host holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HostGuard {
    key: usize,
    start: u64,
    end: u64,
    writes: bool,
}

/// Proof that the access lock of a device is held.
pub(crate) struct AccessGuard<'a> {
    held: MutexGuard<'a, Held>,
}

impl AccessTable {
    /// Nobody holds anything yet. Submissions are told to the trace, if there is one.
    pub(crate) fn new(trace: Option<Box<DeviceTrace>>) -> Self {
        Self { held: Mutex::new(Held { guards: Vec::new(), trace }) }
    }

    pub(crate) fn lock(&self) -> AccessGuard<'_> {
        AccessGuard { held: lock(&self.held) }
    }
}

impl AccessGuard<'_> {
    /// What submissions are told to, if the device keeps a trace.
    pub(crate) fn trace(&mut self) -> Option<&mut DeviceTrace> {
        self.held.trace.as_deref_mut()
    }

    /// Whether the host holds any bytes of an allocation.
    pub(crate) fn is_guarded(&self, handle: &Handle) -> bool {
        handle.is_guarded()
    }

    /// Refuses if the host holds bytes of the range in a way that does not go together with such an access.
    pub(crate) fn check(&self, handle: &Handle, start: u64, end: u64, writes: bool) -> Result<()> {
        if !handle.is_guarded() || start == end {
            return Ok(());
        }
        let clash = self.held.guards.iter().find(|guard| {
            guard.key == handle.key() && guard.start < end && start < guard.end && (guard.writes || writes)
        });
        match clash {
            None => Ok(()),
            Some(guard) => {
                let holder = if guard.writes { Holder::HostWrite } else { Holder::HostRead };
                Err(Error::Busy { label: (&handle.facts().label).into(), holder })
            }
        }
    }

    /// Notes a host guard that `check` allowed.
    pub(super) fn enter(&mut self, handle: &Handle, start: u64, end: u64, writes: bool) {
        handle.guards().fetch_add(1, Ordering::Relaxed);
        self.held.guards.push(HostGuard { key: handle.key(), start, end, writes });
    }

    /// Forgets all host guards on an allocation that nobody holds any more.
    pub(super) fn forget(&mut self, key: usize) {
        self.held.guards.retain(|guard| guard.key != key);
    }

    /// Forgets a host guard.
    pub(super) fn leave(&mut self, handle: &Handle, start: u64, end: u64, writes: bool) {
        let gone = HostGuard { key: handle.key(), start, end, writes };
        if let Some(at) = self.held.guards.iter().position(|guard| *guard == gone) {
            self.held.guards.swap_remove(at);
            handle.guards().fetch_sub(1, Ordering::Relaxed);
        }
    }
}
