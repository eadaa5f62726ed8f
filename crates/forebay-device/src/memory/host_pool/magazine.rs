//! What one thread keeps of one pool, so that its next acquire takes no lock.
//!
//! Owns: the racks of free buffers of one thread, and the handshake by which somebody else may seize them.
//! Never: the choice between magazine and depot, which is `shared`'s.
//! Rule M1: the racks are touched by the owner between `enter` and `leave`, or by the holder of the pool's mutex, who
//! is the owner itself or has seized the magazine: `seized` set, barrier passed, `busy` seen false.
//! Rule M2: `seized` changes only under the mutex; the owner, seeing it, leaves at once and goes through the mutex.
//! Rule M3: `bytes`, `len` and `hits` are written by whoever may touch the racks, and read by anybody.
//! Next room: `shared`.
#![allow(unsafe_code, reason = "one owner at a time by handshake, without a locked instruction")]

use super::{
    barrier::Barrier,
    block::{Block, List},
    depot::largest_fit,
};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, UnsafeCell, thread};

const SETS: usize = 32;
const WAYS: usize = 4;

/// The most buffers one magazine keeps.
pub(super) const MOST_BLOCKS: usize = 2048;

/// Free buffers of one thread.
#[repr(align(128))]
pub(super) struct Magazine {
    busy: AtomicBool,
    seized: AtomicBool,
    barrier: Barrier,
    bytes: AtomicUsize,
    len: AtomicUsize,
    hits: AtomicU64,
    racks: UnsafeCell<Racks>,
}

/// Racks of one capacity each, found by hashing the capacity to a set of four.
struct Racks {
    sets: [Set; SETS],
    /// Bytes of the pool's cap that this magazine may fill without asking.
    quota: usize,
    /// The clock of this thread: no less than the pool's at its last visit.
    clock: u64,
}

#[derive(Default)]
struct Set {
    capacities: [usize; WAYS],
    lists: [List; WAYS],
}

// SAFETY: M1 keeps the racks to one thread at a time, and blocks are Send.
unsafe impl Send for Magazine {}
// SAFETY: as above; the rest is atomic or constant.
unsafe impl Sync for Magazine {}

impl Magazine {
    pub(super) fn new(barrier: Barrier) -> Self {
        let racks = Racks { sets: std::array::from_fn(|_| Set::default()), quota: 0, clock: 0 };
        Self {
            busy: AtomicBool::new(false),
            seized: AtomicBool::new(false),
            barrier,
            bytes: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            hits: AtomicU64::new(0),
            racks: UnsafeCell::new(racks),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Takes a buffer of exactly this capacity, the most recent one.
    ///
    /// # Safety
    /// Only the owner calls this, and not while it holds the pool's mutex.
    #[inline]
    pub(super) unsafe fn acquire(&self, capacity: usize) -> Option<Box<Block>> {
        let mut taken = None;
        if self.enter() {
            // SAFETY: M1; the caller is the owner, between enter and leave.
            taken = self.racks.with_mut(|racks| unsafe { &mut *racks }.tagged(capacity)?.pop_newest());
            if taken.is_some() {
                self.count(self.bytes() - capacity, self.len() - 1);
                self.hits.store(self.hits() + 1, Ordering::Relaxed);
            }
        }
        self.leave();
        taken
    }

    /// Keeps a buffer if the quota and the racks have room for it, else gives it back.
    ///
    /// # Safety
    /// Only the owner calls this, and not while it holds the pool's mutex.
    #[inline]
    pub(super) unsafe fn release(&self, mut block: Box<Block>) -> Result<(), Box<Block>> {
        let kept = if self.enter() {
            let (bytes, len) = (self.bytes() + block.capacity(), self.len() + 1);
            self.racks.with_mut(|racks| {
                // SAFETY: M1; the caller is the owner, between enter and leave.
                let racks = unsafe { &mut *racks };
                if bytes > racks.quota || len > MOST_BLOCKS {
                    return Err(block);
                }
                racks.clock += 1;
                block.stamp = racks.clock;
                let Some(list) = racks.tagged(block.capacity()) else { return Err(block) };
                list.push_newest(block);
                self.count(bytes, len);
                Ok(())
            })
        } else {
            Err(block)
        };
        self.leave();
        kept
    }

    /// The racks, for whoever holds the pool's mutex.
    ///
    /// # Safety
    /// The caller holds the mutex of the magazine's pool, is its owner or has seized it, and has no other hold on it.
    pub(super) unsafe fn hold(&self) -> Hold<'_> {
        Hold { magazine: self }
    }

    /// First half of seizing: keeps the owner out from its next call on. The caller holds the pool's mutex.
    pub(super) fn close(&self) {
        self.seized.store(true, Ordering::Relaxed);
    }

    /// Second half, after the barrier: waits for a call of the owner that is under way.
    pub(super) fn wait(&self) {
        while self.busy.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }

    /// Lets the owner in again. The caller holds the pool's mutex.
    pub(super) fn open(&self) {
        self.seized.store(false, Ordering::Release);
    }

    #[inline(always)]
    fn enter(&self) -> bool {
        self.busy.store(true, Ordering::Relaxed);
        self.barrier.owner();
        !self.seized.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn leave(&self) {
        self.busy.store(false, Ordering::Release);
    }

    #[inline(always)]
    fn count(&self, bytes: usize, len: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
    }
}

/// The right to touch the racks under the pool's mutex.
pub(super) struct Hold<'a> {
    magazine: &'a Magazine,
}

impl Hold<'_> {
    fn racks<R>(&self, with: impl FnOnce(&mut Racks) -> R) -> R {
        // SAFETY: M1; whoever made the hold answers for it, and `with` never calls into a hold.
        self.magazine.racks.with_mut(|racks| with(unsafe { &mut *racks }))
    }

    fn less(&self, list: &List, capacity: usize) {
        self.magazine.count(self.bytes() - capacity * list.len(), self.len() - list.len());
    }

    pub(super) fn bytes(&self) -> usize {
        self.magazine.bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.magazine.len()
    }

    pub(super) fn quota(&self) -> usize {
        self.racks(|racks| racks.quota)
    }

    pub(super) fn set_quota(&self, quota: usize) {
        debug_assert!(quota >= self.bytes());
        self.racks(|racks| racks.quota = quota);
    }

    /// Moves this thread's clock and the pool's to the same next value.
    pub(super) fn tick(&self, pool: &mut u64) -> u64 {
        *pool = self.racks(|racks| {
            racks.clock = racks.clock.max(*pool) + 1;
            racks.clock
        });
        *pool
    }

    /// The smallest capacity here that may serve `asked` bytes.
    pub(super) fn smallest_fit(&self, asked: usize) -> Option<usize> {
        if self.len() == 0 {
            return None;
        }
        let fits = asked..=largest_fit(asked);
        self.racks(|racks| {
            let filled = racks.filled().map(|(capacity, _)| capacity);
            filled.filter(|capacity| fits.contains(capacity)).min()
        })
    }

    /// Takes the most recent buffer of this capacity.
    pub(super) fn take(&self, capacity: usize) -> Option<Box<Block>> {
        let mut list = self.racks(|racks| racks.tagged(capacity).map(|list| list.take_newest(1)))?;
        self.less(&list, capacity);
        list.pop_newest()
    }

    /// Adds buffers of one capacity, more recent than those here, or gives them back where no rack is free.
    pub(super) fn put(&self, capacity: usize, list: List) -> Result<(), List> {
        let len = list.len();
        self.racks(|racks| {
            let Some(rack) = racks.claim(capacity) else { return Err(list) };
            rack.append(list);
            Ok(())
        })?;
        self.magazine.count(self.bytes() + capacity * len, self.len() + len);
        Ok(())
    }

    /// Takes all buffers of the rack that this capacity would push out: the one with the oldest buffer of its set.
    pub(super) fn displace(&self, capacity: usize) -> (usize, List) {
        let displaced = self.racks(|racks| {
            let set = racks.set(capacity);
            let way = (0..WAYS).min_by_key(|&way| set.lists[way].oldest_stamp()).unwrap_or(0);
            (set.capacities[way], std::mem::take(&mut set.lists[way]))
        });
        self.less(&displaced.1, displaced.0);
        displaced
    }

    /// Takes the older half of the rack with the oldest buffer.
    pub(super) fn spill(&self) -> Option<(usize, List)> {
        let spilled = self.racks(|racks| {
            let (capacity, list) = racks.oldest()?;
            let half = list.len().div_ceil(2);
            Some((capacity, list.take_oldest(half)))
        })?;
        self.less(&spilled.1, spilled.0);
        Some(spilled)
    }

    /// Stamp of the buffer that came back longest ago.
    pub(super) fn oldest_stamp(&self) -> Option<u64> {
        self.racks(|racks| racks.oldest().and_then(|(_, list)| list.oldest_stamp()))
    }

    /// Takes the buffer that came back longest ago, and its share of the quota.
    pub(super) fn evict(&self) -> Option<Box<Block>> {
        let (capacity, mut list) = self.racks(|racks| {
            let (capacity, list) = racks.oldest()?;
            let taken = list.take_oldest(1);
            racks.quota -= capacity;
            Some((capacity, taken))
        })?;
        self.less(&list, capacity);
        list.pop_newest()
    }

    /// Takes everything, rack by rack; the quota stays.
    pub(super) fn drain(&self, mut each: impl FnMut(usize, List)) {
        self.racks(|racks| {
            for (capacity, list) in racks.filled() {
                each(capacity, std::mem::take(list));
            }
        });
        self.magazine.count(0, 0);
    }
}

impl Racks {
    #[inline(always)]
    fn set(&mut self, capacity: usize) -> &mut Set {
        let hash = (capacity as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SETS.ilog2());
        &mut self.sets[hash as usize]
    }

    /// The rack that carries this capacity, full or empty.
    #[inline(always)]
    fn tagged(&mut self, capacity: usize) -> Option<&mut List> {
        let set = self.set(capacity);
        let way = set.capacities.iter().position(|&tag| tag == capacity)?;
        Some(&mut set.lists[way])
    }

    /// The rack that carries this capacity, or an empty one that carries it from now on.
    fn claim(&mut self, capacity: usize) -> Option<&mut List> {
        let set = self.set(capacity);
        let tagged = set.capacities.iter().position(|&tag| tag == capacity);
        let way = tagged.or_else(|| set.lists.iter().position(List::is_empty))?;
        set.capacities[way] = capacity;
        Some(&mut set.lists[way])
    }

    fn filled(&mut self) -> impl Iterator<Item = (usize, &mut List)> {
        let racks = self.sets.iter_mut().flat_map(|set| set.capacities.iter().copied().zip(&mut set.lists));
        racks.filter(|(_, list)| !list.is_empty())
    }

    fn oldest(&mut self) -> Option<(usize, &mut List)> {
        self.filled().min_by_key(|(_, list)| list.oldest_stamp())
    }
}
