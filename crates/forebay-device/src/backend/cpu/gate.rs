//! A counter that threads wait for: they spin briefly, then sleep. Idle costs nothing.
//!
//! The one way in which threads of the CPU device wait for each other. `team` builds its barrier on it, `queue` its
//! inbox.

use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, Ordering, fence, lock, spin_loop};

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
        self.value.fetch_add(1, Ordering::Release);
        // With the fence in `sleep`: either the sleeper sees the new value, or this sees the sleeper.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
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
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut asleep = lock(&self.sleep);
        while self.value() == seen {
            asleep = self.woken.wait(asleep).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(asleep);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};

    use super::*;
    use crate::sync::Arc;

    /// A relaxed write and read show what the gate alone puts in order.
    struct Guarded {
        gate: Gate,
        bytes: AtomicU32,
    }

    fn guarded() -> Arc<Guarded> {
        Arc::new(Guarded { gate: Gate::new(1), bytes: AtomicU32::new(0) })
    }

    #[test]
    fn everybody_who_waits_is_woken_and_sees_what_came_before() {
        model(|| {
            let guarded = guarded();
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let guarded = guarded.clone();
                    thread::spawn(move || {
                        guarded.gate.wait_past(0);
                        assert_eq!(guarded.bytes.load(Ordering::Relaxed), 1);
                    })
                })
                .collect();
            guarded.bytes.store(1, Ordering::Relaxed);
            guarded.gate.raise();
            waiting.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn a_gate_that_rises_twice_is_passed_twice() {
        model(|| {
            let guarded = guarded();
            let raising = {
                let guarded = guarded.clone();
                thread::spawn(move || {
                    guarded.gate.raise();
                    guarded.gate.raise();
                })
            };
            guarded.gate.wait_past(0);
            let seen = guarded.gate.value();
            if seen == 1 {
                guarded.gate.wait_past(1);
            }
            assert_eq!(guarded.gate.value(), 2);
            raising.join().unwrap();
        });
    }
}
