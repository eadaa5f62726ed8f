//! A counter that threads wait for: they spin briefly, then sleep. Idle costs nothing.
//!
//! The one way in which threads of the CPU device wait for each other. `team` builds its barrier on it, `queue` its
//! inbox.

use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, Ordering, lock, spin_loop};

/// Rises, and lets threads wait until it has risen.
#[derive(Debug)]
pub(crate) struct Gate {
    value: AtomicU64,
    sleepers: AtomicU32,
    sleep: Mutex<()>,
    woken: Condvar,
    spins: u32,
}

impl Gate {
    /// A gate at 0 whose waiters spin so many times before they sleep.
    pub(crate) fn new(spins: u32) -> Self {
        Self {
            value: AtomicU64::new(0),
            sleepers: AtomicU32::new(0),
            sleep: Mutex::new(()),
            woken: Condvar::new(),
            spins: if cfg!(loom) { 1 } else { spins },
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Raises the gate by one and wakes whoever sleeps.
    pub(crate) fn raise(&self) {
        // Sequentially consistent, as in `sleep`: either the sleeper sees the new value or this sees the sleeper.
        self.value.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.woken.notify_all();
        }
    }

    /// Returns when the value is no longer `seen`.
    pub(crate) fn wait_past(&self, seen: u64) {
        for _ in 0..self.spins {
            if self.value() != seen {
                return;
            }
            spin_loop();
        }
        self.sleep(seen);
    }

    #[cold]
    fn sleep(&self, seen: u64) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut asleep = lock(&self.sleep);
        while self.value.load(Ordering::SeqCst) == seen {
            asleep = self.woken.wait(asleep).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(asleep);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}
