//! The pool behind its handles: every path that takes the mutex.
//!
//! Owns: the mutex, the counts of what exists, and the ends of threads and of the pool. Never: the thread's own
//! lock-free path, which is `magazine`'s, nor the choice of who keeps what, which is `state`'s.
//! Rule A1: memory is freed after the mutex is let go.
//! Next rooms: `state`, behind the mutex; `seats`, for who owns which magazine.
#![allow(unsafe_code, reason = "reaches into magazines under the mutex")]

use super::{
    HostPoolStats,
    barrier::Barrier,
    block::{Block, List},
    magazine::{Hold, Magazine},
    source::{Bytes, MOST, capacity_for},
    state::State,
};
use crate::{
    Error, MemoryReport, Result,
    sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock},
};

/// What all handles, buffers and threads of one pool share.
pub(super) struct Shared {
    barrier: Barrier,
    /// Buffers in existence, leased or free.
    pub(super) live: AtomicUsize,
    pub(super) live_bytes: AtomicUsize,
    /// Set once, under the mutex.
    closed: AtomicBool,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            barrier: Barrier::available(),
            live: AtomicUsize::new(0),
            live_bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::new(State::new(cap)),
        }
    }

    /// Makes a magazine for the calling thread.
    pub(super) fn join(&self) -> Arc<Magazine> {
        let magazine = Arc::new(Magazine::new(self.barrier));
        lock(&self.state).magazines.push(Arc::clone(&magazine));
        magazine
    }

    /// Gives what the magazine holds to all threads, and forgets it.
    ///
    /// # Safety
    /// The caller is the magazine's owner, got it from `join` of this pool, and does not use it afterwards.
    pub(super) unsafe fn leave(&self, magazine: &Arc<Magazine>) {
        let mut state = lock(&self.state);
        // SAFETY: the caller is the owner and the mutex is held.
        let hold = unsafe { magazine.hold() };
        state.quotas -= hold.quota();
        let (mut freed, closed) = (List::new(), self.is_closed());
        hold.drain(|capacity, list| match closed {
            true => freed.append(list),
            false => state.depot.put(capacity, list),
        });
        hold.set_quota(0);
        state.hits += magazine.hits();
        state.magazines.retain(|other| !Arc::ptr_eq(other, magazine));
        drop(state);
        drop(freed);
    }

    /// A buffer for `asked` bytes, from the pool if anything fits, and whether it is known to be zero.
    ///
    /// # Safety
    /// The caller is the magazine's owner and got it from `join` of this pool.
    pub(super) unsafe fn acquire(
        this: &Arc<Self>,
        magazine: Option<&Magazine>,
        asked: usize,
    ) -> Result<(Box<Block>, bool)> {
        if asked > MOST {
            return Err(Error::TooLarge { asked: asked as u64, most: MOST as u64 });
        }
        let found = {
            let mut state = lock(&this.state);
            // SAFETY: the caller is the owner and the mutex is held.
            let own = magazine.map(|magazine| unsafe { magazine.hold() });
            let found = state.find(own, magazine, asked, this.barrier);
            match found {
                Some(_) => state.hits += 1,
                None => state.misses += 1,
            }
            found
        };
        match found {
            Some(block) => Ok((block, false)),
            None => Self::fresh(this, asked),
        }
    }

    /// Keeps a returned buffer, or frees it.
    ///
    /// # Safety
    /// The caller is the magazine's owner and got it from `join` of this pool.
    pub(super) unsafe fn release(&self, magazine: Option<&Magazine>, block: Box<Block>) {
        let mut freed = List::new();
        let mut state = lock(&self.state);
        // SAFETY: the caller is the owner and the mutex is held.
        let own = magazine.map(|magazine| unsafe { magazine.hold() });
        if self.is_closed() {
            freed.push_newest(block);
            if let Some(own) = &own {
                own.drain(|_, list| freed.append(list));
            }
        } else if block.capacity() > state.cap
            || !state.make_room(own.as_ref(), magazine, block.capacity(), self.barrier, &mut freed)
        {
            state.refused += 1;
            freed.push_newest(block);
        } else {
            state.keep(own, block);
        }
        drop(state);
    }

    /// Frees everything that no lease holds.
    pub(super) fn clear(&self) {
        let mut freed = List::new();
        let mut state = lock(&self.state);
        state.empty(self.barrier, &mut freed);
        drop(state);
    }

    /// Frees everything, and everything that comes back from now on.
    pub(super) fn close(&self) {
        let mut freed = List::new();
        let mut state = lock(&self.state);
        self.closed.store(true, Ordering::Release);
        state.empty(self.barrier, &mut freed);
        // Where the system refused the barrier, an owner finds this at its next call, and frees what it holds.
        state.magazines.iter().for_each(|magazine| magazine.close());
        drop(state);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn cap(&self) -> usize {
        lock(&self.state).cap
    }

    /// Sets the cap, and evicts what is above it.
    pub(super) fn set_cap(&self, cap: usize) {
        let mut freed = List::new();
        let mut state = lock(&self.state);
        state.cap = cap;
        if state.depot.bytes() + state.quotas > cap {
            let seized = state.seize(None, self.barrier);
            // SAFETY: seized, and the mutex is held.
            let holds: Vec<Hold<'_>> = seized.iter().map(|magazine| unsafe { magazine.hold() }).collect();
            let holds: Vec<&Hold<'_>> = holds.iter().collect();
            state.trim(&holds);
            state.evict(&holds, 0, &mut freed);
            seized.iter().for_each(|magazine| magazine.open());
        }
        drop(state);
    }

    pub(super) fn stats(&self) -> HostPoolStats {
        let state = lock(&self.state);
        let (retained, retained_bytes) = (state.retained(), state.retained_bytes());
        HostPoolStats {
            in_use: self.live.load(Ordering::Relaxed).saturating_sub(retained),
            in_use_bytes: self.live_bytes.load(Ordering::Relaxed).saturating_sub(retained_bytes),
            retained,
            retained_bytes,
            hits: state.hits + state.magazines.iter().map(|magazine| magazine.hits()).sum::<u64>(),
            misses: state.misses,
            evicted: state.evicted,
            refused: state.refused,
        }
    }

    /// A buffer from the system; where it has none, what the pool keeps is freed and the system asked again.
    fn fresh(this: &Arc<Self>, asked: usize) -> Result<(Box<Block>, bool)> {
        let capacity = capacity_for(asked);
        let bytes = Bytes::fresh(capacity).or_else(|| {
            this.clear();
            Bytes::fresh(capacity)
        });
        match bytes {
            Some((bytes, zero)) => Ok((Block::new(bytes, Arc::clone(this)), zero)),
            None => {
                let stats = this.stats();
                Err(Error::Exhausted(Box::new(MemoryReport {
                    asked: asked as u64,
                    limit: u64::MAX,
                    live: stats.in_use_bytes as u64,
                    free: stats.retained_bytes as u64,
                    reserved: (stats.in_use_bytes + stats.retained_bytes) as u64,
                    ..MemoryReport::default()
                })))
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::HostPool;

    #[test]
    fn the_end_of_a_pool_frees_all_threads_magazines() {
        let pool = HostPool::default();
        let shared = pool.shared_for_test();
        let (kept, done) = (Barrier::new(2), Barrier::new(2));
        let (kept, done, shared) = (&kept, &done, &shared);
        let mine = pool.clone();
        std::thread::scope(|s| {
            s.spawn(move || {
                let late = pool.acquire_zeroed::<u8>(70).unwrap();
                drop(pool.acquire_zeroed::<u8>(100).unwrap());
                drop(pool);
                kept.wait();
                done.wait();
                drop(late);
                assert_eq!(shared.live.load(Ordering::Relaxed), 0);
            });
            kept.wait();
            drop(mine.acquire_zeroed::<u8>(3 << 20).unwrap());
            let before = shared.live.load(Ordering::Relaxed);
            drop(mine);
            let after = shared.live.load(Ordering::Relaxed);
            done.wait();
            assert_eq!((before, after), (3, 1));
        });
    }

    #[test]
    fn quotas_are_the_sum_of_the_magazines() {
        let pool = HostPool::new(crate::HostPoolOptions::with_max_retained_bytes(10_000));
        let shared = pool.shared_for_test();
        for round in 0..2000usize {
            drop(pool.acquire_uninit::<u8>(1 + round * 37 % 5000).unwrap());
            let state = lock(&shared.state);
            // SAFETY: the only owner is this thread, and the mutex is held.
            let quotas: usize =
                state.magazines.iter().map(|magazine| unsafe { magazine.hold() }.quota()).sum();
            assert_eq!(state.quotas, quotas);
            assert!(state.quotas + state.depot.bytes() <= state.cap && state.retained_bytes() <= state.cap);
        }
    }
}
