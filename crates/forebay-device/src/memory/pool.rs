//! The pool: hands out buffers, takes them back when their last handle goes, and waits for queued work where it must.
//!
//! What needs neither the driver nor a wait is found in `state`; everything else is in `supply`. What the pool is told
//! is in `options`.

use std::{any::Any, fmt, sync::Weak};

use super::{
    buffer::Buffer,
    class,
    home::{Grave, Home},
    lease::{Fate, Handle, Sole},
    options::{Init, PoolOptions, Request},
    state::State,
    stats::{PoolStats, Tag},
    supply::SPAN,
    trace::event::Served,
    uses::Uses,
};
use crate::{
    backend::Region,
    error::{Brief, Error, Result},
    sync::{Arc, Mutex, MutexGuard, lock},
};

/// Alignment of every block in its region.
pub(super) const ALIGN: u64 = 256;

/// What an uninitialised buffer is filled with, so that reading it shows.
pub(super) const POISON: u8 = 0xCB;

/// A pool of device memory.
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Pool, PoolOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let pool = Pool::new(&device, PoolOptions::default().limit(64 << 20))?;
/// let buffer = pool.alloc(1 << 20)?;
/// drop(buffer);
/// assert_eq!(pool.stats().in_use, 0);
/// assert_eq!(pool.stats().free, 2 << 20, "kept for the next request");
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    pub(crate) shared: Arc<PoolShared>,
    /// Ends the registrations made through this pool when the last clone goes.
    _registrar: Arc<Registrar>,
}

/// What the pool's buffers keep alive.
pub(crate) struct PoolShared {
    pub(super) home: Arc<Home>,
    pub(super) options: PoolOptions,
    state: Mutex<State>,
    /// What every request asks of the device.
    pub(super) max_buffer: u64,
    /// The unit in which memory of this pool's kind is mapped; 0 where regions come with it.
    pub(super) page: u64,
    pub(super) own: Weak<Self>,
}

impl Pool {
    pub(crate) fn at(home: Arc<Home>, options: PoolOptions) -> Result<Self> {
        if options.slack_percent > 1000 {
            return Err(Error::Option { name: "slack_percent", wanted: "at most 1000".into() });
        }
        let page = home.caps().page_of(options.kind);
        let shared = Arc::new_cyclic(|own| PoolShared {
            state: Mutex::new(State::new(&home, page, options.limit)),
            // No region holds more, whatever the device says.
            max_buffer: home.caps().max_buffer.min(SPAN - SPAN % page.max(ALIGN)),
            page,
            home,
            options,
            own: own.clone(),
        });
        shared.home.residency.enlist(&shared);
        let registrar = Arc::new(Registrar { pool: Arc::downgrade(&shared), home: shared.home.clone() });
        Ok(Self { shared, _registrar: registrar })
    }

    /// A buffer of so many bytes, or of what the request says. Zero bytes are legal and cost no device memory.
    ///
    /// # Errors
    /// `TooLarge`, `LimitExceeded`, `Exhausted`, or what the driver says. Nothing is lost by a failure.
    #[inline]
    pub fn alloc(&self, request: impl Into<Request>) -> Result<Buffer> {
        let request = request.into();
        match self.shared.acquire(&request) {
            Ok(handle) => Ok(Buffer::new(handle, request.bytes)),
            Err(error) => Err(*error),
        }
    }

    /// What so many single requests would give, or nothing at all.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc); then none of the requests was served.
    pub fn alloc_batch(&self, requests: &[Request]) -> Result<Vec<Buffer>> {
        self.shared.check_batch(requests)?;
        let serve = |request| self.shared.acquire(request).map(Buffer::whole).map_err(|error| *error);
        requests.iter().map(serve).collect()
    }

    /// Whether a request would be served now without waiting for anything.
    pub fn would_fit(&self, bytes: u64) -> bool {
        self.shared.would_fit(bytes)
    }

    /// Gives free memory back to the driver: all but `keep` bytes. Returns how much went.
    ///
    /// # Errors
    /// What the driver says; what was given back until then stays given back.
    pub fn trim(&self, keep: u64) -> Result<u64> {
        let mut state = self.shared.lock();
        state.collect(&self.shared);
        state.flush_classes();
        let given = self.shared.give_back(&mut state, keep, None);
        drop(state);
        self.shared.home.sweep_graves();
        given
    }

    /// Adds memory of somebody else to the residency set without owning it. Twice is once, and a pool's own buffer is
    /// a member already. It ends by [`unregister`](Self::unregister), with this pool, or with the buffer.
    ///
    /// # Errors
    /// `ForeignDevice` if the buffer lives on another device.
    pub fn register(&self, buffer: &Buffer) -> Result<()> {
        let handle = buffer.handle();
        self.shared.home.own(handle, "buffer")?;
        handle.owner().change_membership(handle, true, Arc::as_ptr(&self.shared) as usize);
        Ok(())
    }

    /// Ends what [`register`](Self::register) began. False if there was nothing to end.
    pub fn unregister(&self, buffer: &Buffer) -> bool {
        self.shared.home.residency.unregister(buffer.handle().key())
    }

    /// The counters, all of one moment.
    pub fn stats(&self) -> PoolStats {
        let mut state = self.shared.lock();
        state.collect(&self.shared);
        state.snapshot()
    }

    /// What an out-of-memory error would report now.
    pub fn report(&self) -> crate::MemoryReport {
        let mut state = self.shared.lock();
        state.collect(&self.shared);
        state.report(&self.shared, 0, None)
    }
}

/// Ends registrations when the last clone of a pool goes.
#[derive(Debug)]
struct Registrar {
    pool: Weak<PoolShared>,
    home: Arc<Home>,
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.home.residency.unregister_all(self.pool.as_ptr() as usize);
        if let Some(pool) = self.pool.upgrade() {
            let mut state = pool.lock();
            state.closed = true;
            let own = if state.outstanding == 0 { state.own.take() } else { None };
            drop(state);
            // Dropped without the lock: this may be what kept the pool alive.
            drop(own);
        }
    }
}

impl fmt::Debug for PoolShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("options", &self.options).finish_non_exhaustive()
    }
}

impl PoolShared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Serves a request.
    pub(crate) fn acquire(&self, request: &Request) -> Brief<Handle> {
        let too_large = || Box::new(Error::TooLarge { asked: request.bytes, most: self.max_buffer });
        if request.bytes > self.max_buffer {
            return Err(too_large());
        }
        let exact = request.exact || request.tag == Tag::Weights;
        let rounded = match request.dedicated {
            false => class::round(request.bytes, exact),
            true => request.bytes.checked_next_multiple_of(self.page.max(ALIGN)),
        };
        let rounded = rounded.ok_or_else(too_large)?;
        let mut state = self.lock();
        if request.bytes == 0 {
            let handle = state.hand_out_empty(self, request);
            state.note_allocated(&handle, Served::Nothing);
            return Ok(handle);
        }
        let may_find = !request.dedicated && self.fits_budget(&state, request);
        let found = if may_find { state.find(self, rounded, request) } else { None };
        let hit = found.is_some();
        let found = match found {
            Some(found) => found,
            None => {
                let supplied = self.supply(state, rounded, request)?;
                state = supplied.0;
                supplied.1
            }
        };
        *if hit { &mut state.stats.hits } else { &mut state.stats.misses } += 1;
        let served = if request.dedicated { Served::Dedicated } else { Served::Hit };
        let (handle, zeroed) = state.hand_out(self, found, rounded, request);
        state.note_allocated(&handle, served);
        drop(state);
        self.home.sweep_graves();
        self.prepare(&handle, request, zeroed)?;
        Ok(handle)
    }

    /// Gives fresh bytes the contents that the request wants.
    pub(super) fn prepare(&self, handle: &Handle, request: &Request, zeroed: bool) -> Result<()> {
        const SAMPLE: u64 = 1 << 20;
        let facts = handle.facts();
        let fill =
            |offset, bytes, byte| self.home.backend.fill(facts.region, facts.offset + offset, bytes, byte);
        match request.init {
            Init::Zeroed if !zeroed => fill(0, facts.len, 0),
            Init::Uninit if self.options.poison && request.queue.is_none() => {
                // Both ends of a large buffer are enough to notice.
                let head = facts.len.min(SAMPLE);
                fill(0, head, POISON)?;
                fill(
                    (facts.len - SAMPLE.min(facts.len)).max(head),
                    facts.len.saturating_sub(head).min(SAMPLE),
                    POISON,
                )
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fits_budget(&self, state: &State, request: &Request) -> bool {
        let tag = request.tag as usize;
        let live = state.stats.by_tag[tag];
        live.checked_add(request.bytes).is_some_and(|sum| sum <= self.options.budgets[tag])
    }

    /// Takes a lease back whose last handle is gone. What comes back may be all that keeps the pool alive, so it is
    /// dropped by the caller, when nothing borrows the pool any more.
    #[must_use]
    pub(super) fn release(&self, mut lease: Sole<'_>) -> Option<Arc<Self>> {
        if lease.take_guards() {
            // Guards that were leaked: the next owner of the lease has nothing to do with them.
            self.home.access.lock().forget(lease.key());
        }
        let mut state = self.lock();
        let facts = lease.facts();
        let (bytes, tag, taken) = (facts.len, facts.tag, facts.taken());
        let fate = *lease.fate();
        if fate != Fate::Arena {
            state.stats.in_use -= 1;
            state.stats.live -= bytes;
            state.stats.taken -= taken;
            state.stats.by_tag[tag as usize] -= bytes;
            if tag.stays() {
                state.marks.lower(taken);
            }
            state.end_membership(self, &mut lease, fate);
        }
        let freed = state.retire_or_free(self, &mut lease, true);
        state.outstanding -= 1;
        let own = if state.outstanding == 0 && state.closed { state.own.take() } else { None };
        drop(state);
        self.home.sweep_graves();
        self.home.defer(freed);
        own
    }
}

impl PoolShared {
    /// More leases for an arena to cut from its chunks.
    pub(super) fn spare_leases(&self, leases: &mut Vec<Handle>) {
        let mut state = self.lock();
        leases.extend((0..64).map(|_| state.spare_lease(self)));
    }

    /// One more lease for an arena to cut.
    pub(super) fn spare_lease(&self) -> Handle {
        self.lock().spare_lease(self)
    }

    /// Gives leases that an arena cut from a chunk blocks of their own, and the rest of the chunk back. `chunk` is the
    /// arena's only handle on it, `held` are in the order of their places, and the arena drops its handles next.
    pub(super) fn carve(&self, chunk: &mut Handle, uses: &Uses, held: &[&Handle]) {
        let rest = self.lock().carve(self, chunk, uses, held);
        // Dropped without the lock, which each of them takes.
        drop(rest);
    }

    /// Adds or removes an allocation of this pool, or outside memory on behalf of a pool (0: of nobody).
    pub(crate) fn change_membership(&self, handle: &Handle, member: bool, registrar: usize) -> bool {
        let mut state = self.lock();
        match state.fate_of(handle) {
            Fate::Block(_) | Fate::Region => state.set_member(self, handle, member),
            Fate::External if member => self.home.residency.register(handle, registrar),
            Fate::External => self.home.residency.unregister(handle.key()),
            Fate::Nothing | Fate::Arena => false,
        }
    }

    /// Makes memory of somebody else a buffer. `keeper` is dropped when nobody uses the memory any more.
    pub(crate) fn import(
        &self,
        region: &Region,
        request: &Request,
        read_only: bool,
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Handle {
        let mut state = self.lock();
        let mut handle = state.lease(self, request, Fate::External, region, (0, 0));
        if let Some(mut sole) = handle.sole() {
            sole.facts().read_only = read_only;
        }
        state.keepers.insert(handle.facts().slot, keeper);
        state.note_allocated(&handle, Served::Outside);
        handle
    }

    /// Gives back what is free, if nobody is busy with this pool.
    pub(super) fn try_trim(&self) -> Result<u64> {
        match self.state.try_lock() {
            Ok(mut state) => {
                state.collect(self);
                state.flush_classes();
                self.give_back(&mut state, 0, None)
            }
            Err(_) => Ok(0),
        }
    }
}

impl Drop for PoolShared {
    /// No handle is left. What queued work still uses goes to the device's graveyard, everything else to the driver.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut grave = Grave { reserved: state.stats.reserved, ..Grave::default() };
        state.trace.closed(state.stats.reserved);
        grave.regions.extend(state.regions.iter().flatten().map(|region| region.id));
        for (slot, queue, tick) in state.retire.drain() {
            grave.ticks.push((queue, tick));
            let mut lease = state.slab.at(slot);
            grave.ticks.extend(lease.uses().iter().map(|used| (used.queue, used.last())));
            if matches!(lease.fate(), Fate::Region | Fate::External) {
                grave.regions.push(lease.facts().region);
            }
        }
        grave.keepers.extend(state.keepers.drain().map(|(_, keeper)| keeper));
        self.home.bury(grave);
    }
}
