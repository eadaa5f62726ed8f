//! What stands behind a pool's mutex: the depot, the cap, and the magazines to be seized.
//!
//! Owns: who keeps a returned buffer, what is evicted for it, and the exact accounting. Never: the mutex itself, or
//! freeing; what has to go is collected for the caller.
//! Rule B1: depot bytes plus the quotas of all magazines never exceed the cap, and no magazine holds more than its
//! quota; so the cap bounds both together while no thread asks another.
//! Rule B2: a `State` is reached through the mutex only, so whoever calls here holds it.
//! Next rooms: `depot` and `magazine`.
#![allow(unsafe_code, reason = "reaches into magazines under the mutex")]

use super::{
    barrier::Barrier,
    block::{Block, List},
    depot::Depot,
    magazine::{Hold, MOST_BLOCKS, Magazine},
    source::MAPPED_FROM,
};
use crate::sync::Arc;

/// The most bytes one magazine keeps, whatever the cap.
const MOST_BYTES: usize = 256 << 20;

/// How many buffers of one capacity a thread takes from the depot at once.
const REFILL: usize = 16;

/// How much more quota than it needs a magazine is given at a time: this, or so many times the buffer.
const QUOTA_STEP: (usize, usize) = (256 << 10, 8);

/// The free buffers of one pool, and the count of everything.
pub(super) struct State {
    pub(super) cap: usize,
    pub(super) depot: Depot,
    pub(super) quotas: usize,
    pub(super) magazines: Vec<Arc<Magazine>>,
    pub(super) clock: u64,
    /// Hits that no living magazine counts.
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evicted: u64,
    pub(super) refused: u64,
}

impl State {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            cap,
            depot: Depot::default(),
            quotas: 0,
            magazines: Vec::new(),
            clock: 0,
            hits: 0,
            misses: 0,
            evicted: 0,
            refused: 0,
        }
    }

    /// The smallest free buffer that may serve `asked` bytes, in the depot or the thread's own magazine. Before a
    /// large one is mapped anew, other threads' magazines are searched as well.
    pub(super) fn find(
        &mut self,
        own: Option<Hold<'_>>,
        magazine: Option<&Magazine>,
        asked: usize,
        barrier: Barrier,
    ) -> Option<Box<Block>> {
        let shared = self.depot.smallest_fit(asked);
        if let Some(own) = &own
            && let Some(mine) = own.smallest_fit(asked)
            && shared.is_none_or(|shared| mine <= shared)
        {
            return own.take(mine);
        }
        if let Some(shared) = shared {
            return self.refill(own, shared);
        }
        let elsewhere = || self.magazines.iter().any(|other| other.bytes() >= asked);
        if asked < MAPPED_FROM || !elsewhere() {
            return None;
        }
        let seized = self.seize(magazine, barrier);
        // SAFETY: seized, and B2.
        let holds: Vec<Hold<'_>> = seized.iter().map(|other| unsafe { other.hold() }).collect();
        let fits = holds.iter().enumerate().filter_map(|(i, hold)| Some((hold.smallest_fit(asked)?, i)));
        let found = fits.min().and_then(|(capacity, i)| holds[i].take(capacity));
        seized.iter().for_each(|other| other.open());
        found
    }

    /// Takes one buffer from the depot, and with it a few more for the thread's magazine.
    fn refill(&mut self, own: Option<Hold<'_>>, capacity: usize) -> Option<Box<Block>> {
        let room = own.as_ref().map_or(0, |own| {
            let bytes = magazine_limit(self.cap).saturating_sub(own.bytes());
            (bytes / capacity).min(MOST_BLOCKS.saturating_sub(own.len())).min(REFILL - 1)
        });
        let mut list = self.depot.take(capacity, 1 + room);
        let taken = list.pop_newest();
        if let Some(own) = own.filter(|_| !list.is_empty()) {
            if let Err(list) = own.put(capacity, list) {
                self.depot.put(capacity, list);
            }
            let (old, new) = (own.quota(), own.quota().max(own.bytes()));
            self.quotas += new - old;
            own.set_quota(new);
        }
        taken
    }

    /// Makes `capacity` bytes of the cap free: by eviction from the depot and the thread's own magazine where these
    /// hold enough, else from everywhere, beginning with what other threads may fill and do not. False if there is
    /// no such room.
    pub(super) fn make_room(
        &mut self,
        own: Option<&Hold<'_>>,
        magazine: Option<&Magazine>,
        capacity: usize,
        barrier: Barrier,
        freed: &mut List,
    ) -> bool {
        let own: Vec<&Hold<'_>> = own.into_iter().collect();
        self.trim(&own);
        if self.over(capacity) == 0 {
            return true;
        }
        let near = self.depot.bytes() + own.iter().map(|own| own.bytes()).sum::<usize>();
        if self.over(capacity) <= near && self.retained_bytes().saturating_add(capacity) > self.cap {
            self.evict(&own, capacity, freed);
            return true;
        }
        let seized = self.seize(magazine, barrier);
        // SAFETY: seized, and B2; the thread's own is not among them.
        let holds: Vec<Hold<'_>> = seized.iter().map(|other| unsafe { other.hold() }).collect();
        let holds: Vec<&Hold<'_>> = holds.iter().chain(own).collect();
        self.trim(&holds);
        self.evict(&holds, capacity, freed);
        seized.iter().for_each(|other| other.open());
        self.over(capacity) == 0
    }

    /// How many bytes too many there were with `more` bytes retained in addition.
    fn over(&self, more: usize) -> usize {
        (self.depot.bytes() + self.quotas).saturating_add(more).saturating_sub(self.cap)
    }

    /// Takes back the quota that these magazines do not use.
    pub(super) fn trim(&mut self, holds: &[&Hold<'_>]) {
        for hold in holds {
            self.quotas -= hold.quota() - hold.bytes();
            hold.set_quota(hold.bytes());
        }
    }

    /// Evicts by age from the depot and these magazines until `more` bytes fit under the cap.
    pub(super) fn evict(&mut self, holds: &[&Hold<'_>], more: usize, freed: &mut List) {
        while self.over(more) > 0 {
            let ages = holds.iter().enumerate().filter_map(|(i, hold)| Some((hold.oldest_stamp()?, Some(i))));
            let oldest = ages.chain(self.depot.oldest_stamp().map(|stamp| (stamp, None))).min();
            let block = match oldest {
                Some((_, Some(i))) => holds[i].evict().inspect(|block| self.quotas -= block.capacity()),
                Some((_, None)) => self.depot.pop_oldest(),
                None => None,
            };
            let Some(block) = block else { return };
            self.evicted += 1;
            freed.push_newest(block);
        }
    }

    /// Puts a buffer, for which there is room under the cap, into the thread's magazine or the depot.
    pub(super) fn keep(&mut self, own: Option<Hold<'_>>, mut block: Box<Block>) {
        let capacity = block.capacity();
        let limit = magazine_limit(self.cap);
        let mut list = List::new();
        let Some(own) = own.filter(|_| capacity <= limit) else {
            self.clock += 1;
            block.stamp = self.clock;
            list.push_newest(block);
            return self.depot.put(capacity, list);
        };
        block.stamp = own.tick(&mut self.clock);
        list.push_newest(block);
        self.quotas -= own.quota();
        while (own.bytes() + capacity > limit || own.len() >= MOST_BLOCKS)
            && let Some((capacity, spilled)) = own.spill()
        {
            self.depot.put(capacity, spilled);
        }
        if let Err(list) = own.put(capacity, list) {
            let (displaced, older) = own.displace(capacity);
            self.depot.put(displaced, older);
            if let Err(list) = own.put(capacity, list) {
                self.depot.put(capacity, list);
            }
        }
        let step = QUOTA_STEP.0.max(capacity.saturating_mul(QUOTA_STEP.1));
        let free = self.cap - self.depot.bytes() - self.quotas;
        let quota = own.bytes().saturating_add(step).min(limit).min(free).max(own.bytes());
        own.set_quota(quota);
        self.quotas += quota;
    }

    /// Keeps all owners but one out of their magazines; none are seized where the system refuses the barrier.
    pub(super) fn seize(&self, but: Option<&Magazine>, barrier: Barrier) -> Vec<Arc<Magazine>> {
        let others = |other: &&Arc<Magazine>| but.is_none_or(|but| !std::ptr::eq(but, &raw const ***other));
        let mut seized: Vec<_> = self.magazines.iter().filter(others).cloned().collect();
        seized.iter().for_each(|magazine| magazine.close());
        if seized.is_empty() || barrier.seizer() {
            seized.iter().for_each(|magazine| magazine.wait());
        } else {
            seized.drain(..).for_each(|magazine| magazine.open());
        }
        seized
    }

    /// Takes everything that is free out of the depot and all magazines, and all quota back.
    pub(super) fn empty(&mut self, barrier: Barrier, freed: &mut List) {
        self.depot.drain(freed);
        let seized = self.seize(None, barrier);
        for magazine in &seized {
            // SAFETY: seized, and B2.
            let hold = unsafe { magazine.hold() };
            hold.drain(|_, list| freed.append(list));
            self.trim(&[&hold]);
            magazine.open();
        }
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.depot.bytes() + self.magazines.iter().map(|magazine| magazine.bytes()).sum::<usize>()
    }

    pub(super) fn retained(&self) -> usize {
        self.depot.len() + self.magazines.iter().map(|magazine| magazine.len()).sum::<usize>()
    }
}

fn magazine_limit(cap: usize) -> usize {
    (cap - cap / 4).min(MOST_BYTES)
}
