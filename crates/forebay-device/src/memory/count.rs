//! How many handles a lease has: the count that decides when bytes are nobody's.
//!
//! It knows neither what it counts nor what happens at the end. Next room: `lease`, whose rule L4 rests on it.

use crate::sync::{AtomicU32, Ordering, fence};

/// A count of handles. Every change goes through a handle that is counted already.
#[derive(Debug)]
pub(super) struct Count(AtomicU32);

impl Count {
    /// No handle exists.
    pub(super) fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The first handle. Nobody else looks at a count of 0; handing the handle to another thread orders this store.
    #[inline]
    pub(super) fn start(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// One more handle, made from one that exists: nothing needs to be ordered.
    #[inline]
    pub(super) fn more(&self) {
        // Only handles that are forgotten add up to so many. A count that wraps would free bytes under a handle.
        if self.0.fetch_add(1, Ordering::Relaxed) > u32::MAX / 2 {
            std::process::abort();
        }
    }

    /// One more handle, made by whoever may hold the only one: then nobody else changes the count, and a store is enough.
    #[inline]
    pub(super) fn second(&self) {
        match self.get() {
            1 => self.0.store(2, Ordering::Relaxed),
            _ => self.more(),
        }
    }

    /// One handle less. True for the last one, and then all that was done through the others is visible.
    #[inline]
    pub(super) fn less(&self) -> bool {
        // Seen at 1, this handle is alone and the count need not be lowered atomically.
        if self.0.load(Ordering::Acquire) != 1 {
            if self.0.fetch_sub(1, Ordering::Release) != 1 {
                return false;
            }
            fence(Ordering::Acquire);
        }
        self.0.store(0, Ordering::Relaxed);
        true
    }

    /// Handles just now. Seen at 1 by the holder of a handle, the others are over and all they did is visible.
    #[inline]
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};

    use super::*;
    use crate::sync::Arc;

    /// Bytes with a count of their holders. Relaxed writes and reads show what the count alone puts in order.
    struct Held {
        count: Count,
        ended: AtomicU32,
        bytes: [AtomicU32; 3],
    }

    impl Held {
        fn start() -> Arc<Self> {
            let bytes = std::array::from_fn(|_| AtomicU32::new(0));
            let held = Self { count: Count::none(), ended: AtomicU32::new(0), bytes };
            held.count.start();
            Arc::new(held)
        }

        fn write(&self, own: usize) {
            self.bytes[own].store(1, Ordering::Relaxed);
        }

        /// A holder goes; the last one has to see all that was written.
        fn go(&self) {
            if self.count.less() {
                assert_eq!(self.ended.fetch_add(1, Ordering::Relaxed), 0, "ended twice");
                self.bytes.iter().for_each(|byte| assert_eq!(byte.load(Ordering::Relaxed), 1));
            }
        }
    }

    #[test]
    fn the_last_of_three_holders_sees_all_that_was_written() {
        model(|| {
            let held = Held::start();
            held.count.more();
            held.count.more();
            let others: Vec<_> = (1..3)
                .map(|own| {
                    let held = held.clone();
                    thread::spawn(move || {
                        held.write(own);
                        held.go();
                    })
                })
                .collect();
            held.write(0);
            held.go();
            others.into_iter().for_each(|other| other.join().unwrap());
            assert_eq!(held.ended.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_handle_cloned_on_another_thread_while_one_goes_keeps_the_bytes() {
        model(|| {
            let held = Held::start();
            held.count.more();
            let cloning = {
                let held = held.clone();
                thread::spawn(move || {
                    held.count.more();
                    held.write(1);
                    held.go();
                    assert_eq!(held.ended.load(Ordering::Relaxed), 0, "ended under a handle");
                    held.write(2);
                    held.go();
                })
            };
            held.write(0);
            held.go();
            cloning.join().unwrap();
            assert_eq!(held.ended.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn who_sees_itself_alone_sees_what_the_others_wrote() {
        model(|| {
            let held = Held::start();
            held.count.more();
            held.write(2);
            let going = {
                let held = held.clone();
                thread::spawn(move || {
                    held.write(1);
                    held.go();
                })
            };
            if held.count.get() == 1 {
                assert_eq!(held.bytes[1].load(Ordering::Relaxed), 1);
            }
            held.write(0);
            held.go();
            going.join().unwrap();
            assert_eq!(held.ended.load(Ordering::Relaxed), 1);
        });
    }
}
