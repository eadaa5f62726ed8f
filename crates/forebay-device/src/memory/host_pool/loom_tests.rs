//! The handshake between a magazine's owner and whoever seizes it, in every order that loom can find.
//!
//! Loom sees each touch of the racks, and fails where two threads touch them at once; the tests add that no buffer is
//! lost, doubled or kept above the cap. Next room: `magazine`, for the rules.
#![allow(unsafe_code, reason = "plays the owner of a magazine")]

use loom::{model::Builder, thread};

use super::{block::Block, magazine::Magazine, shared::Shared};
use crate::sync::{Arc, Ordering};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

/// One thread's seat, without the thread-local table.
struct Owner {
    shared: Arc<Shared>,
    magazine: Arc<Magazine>,
}

impl Owner {
    fn join(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), magazine: shared.join() }
    }

    fn acquire(&self, bytes: usize) -> Box<Block> {
        // SAFETY: each test uses an owner from one thread at a time.
        unsafe {
            let fast = self.magazine.acquire(bytes);
            fast.unwrap_or_else(|| Shared::acquire(&self.shared, Some(&self.magazine), bytes).unwrap().0)
        }
    }

    fn release(&self, block: Box<Block>) {
        // SAFETY: as above.
        unsafe {
            if let Err(block) = self.magazine.release(block) {
                self.shared.release(Some(&self.magazine), block);
            }
        }
    }

    fn leave(self) {
        // SAFETY: as above, and it is consumed.
        unsafe { self.shared.leave(&self.magazine) }
    }
}

fn live(shared: &Shared) -> usize {
    shared.live.load(Ordering::Relaxed)
}

#[test]
fn loom_clearing_seizes_a_magazine_in_use() {
    explore(|| {
        let shared = Arc::new(Shared::new(1000));
        let owner = Owner::join(&shared);
        owner.release(owner.acquire(8));
        let other = Arc::clone(&shared);
        let clearing = thread::spawn(move || other.clear());
        let block = owner.acquire(8);
        assert_eq!(block.capacity(), 8);
        owner.release(block);
        clearing.join().unwrap();
        let stats = shared.stats();
        assert_eq!((stats.in_use, stats.retained_bytes), (0, 8 * stats.retained));
        assert_eq!(live(&shared), stats.retained);
        owner.leave();
        shared.close();
        assert_eq!(live(&shared), 0);
    });
}

#[test]
fn loom_the_end_of_the_pool_frees_what_races_with_it() {
    explore(|| {
        let shared = Arc::new(Shared::new(1000));
        let owner = Owner::join(&shared);
        owner.release(owner.acquire(8));
        let block = owner.acquire(8);
        let other = Arc::clone(&shared);
        let closing = thread::spawn(move || other.close());
        owner.release(block);
        closing.join().unwrap();
        assert_eq!(live(&shared), 0);
        owner.leave();
    });
}

#[test]
fn loom_two_threads_share_a_cap_that_holds_one_buffer() {
    explore(|| {
        let shared = Arc::new(Shared::new(12));
        let theirs = Owner::join(&shared);
        let thread = thread::spawn(move || {
            theirs.release(theirs.acquire(8));
            theirs
        });
        let mine = Owner::join(&shared);
        mine.release(mine.acquire(8));
        assert!(shared.stats().retained_bytes <= 12);
        let theirs = thread.join().unwrap();
        let stats = shared.stats();
        assert_eq!((stats.in_use, stats.retained_bytes, stats.retained), (0, 8, 1));
        theirs.leave();
        mine.leave();
        assert_eq!(shared.stats().retained_bytes, 8);
        shared.close();
        assert_eq!(live(&shared), 0);
    });
}

#[test]
fn loom_lowering_the_cap_meets_a_return_and_a_leaving_thread() {
    explore(|| {
        let shared = Arc::new(Shared::new(1000));
        let owner = Owner::join(&shared);
        owner.release(owner.acquire(8));
        let thread = thread::spawn(move || {
            owner.release(owner.acquire(8));
            owner.leave();
        });
        shared.set_cap(4);
        assert_eq!(shared.cap(), 4);
        thread.join().unwrap();
        assert_eq!((shared.stats().retained, live(&shared)), (0, 0));
    });
}
