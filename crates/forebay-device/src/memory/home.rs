//! What all memory of one device shares: the backend, the access lock, residency, and the limit across pools.
//!
//! Everything that can outlive the public `Device` (buffers, pools, fences) holds a `Home`; the backend is closed when
//! the last of them is gone.

use std::{any::Any, fmt};

use super::{
    access::AccessTable,
    lease::Handle,
    residency::Residency,
    trace::{Tracing, options::TraceOptions},
};
use crate::{
    backend::{
        Backend, ResidencyChange,
        timeline::{Patience, Timeline},
    },
    caps::Caps,
    error::{Error, Result},
    launch::RegionId,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock},
};

/// What is left of a pool whose last handle went while queued work still used its memory.
#[derive(Default)]
pub(super) struct Grave {
    /// Free once all of these are done.
    pub(super) ticks: Vec<(u32, u64)>,
    pub(super) regions: Vec<RegionId>,
    /// Bytes counted against the device's limit.
    pub(super) reserved: u64,
    pub(super) keepers: Vec<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Grave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grave")
            .field("ticks", &self.ticks)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// The common ground of a device's memory.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) access: AccessTable,
    pub(crate) residency: Residency,
    /// Bytes that all pools together took from the driver.
    reserved: AtomicU64,
    limit: u64,
    deferred: Deferred,
    pub(crate) trace: Tracing,
    /// Dropped before the graves: it finishes queued work, which may still use what they keep.
    pub(crate) backend: Box<dyn Backend>,
    has_graves: AtomicBool,
    graves: Mutex<Vec<Grave>>,
}

/// An error that happened where nobody could be told: the next fallible call returns it.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    any: AtomicBool,
    first: Mutex<Option<Error>>,
}

impl Deferred {
    /// Keeps an error, unless there is an earlier one.
    pub(super) fn keep(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            lock(&self.first).get_or_insert(error);
            self.any.store(true, Ordering::Release);
        }
    }

    fn take(&self) -> Result<()> {
        if self.any.load(Ordering::Acquire)
            && let Some(error) = lock(&self.first).take()
        {
            self.any.store(false, Ordering::Release);
            return Err(error);
        }
        Ok(())
    }
}

impl Home {
    /// # Errors
    /// `Io` if a trace is wanted that cannot be written.
    pub(crate) fn new(
        backend: Box<dyn Backend>,
        limit: u64,
        residency: bool,
        trace: Option<&TraceOptions>,
    ) -> Result<Self> {
        let trace = Tracing::open(trace, backend.caps(), limit)?;
        Ok(Self {
            access: AccessTable::new(trace.submissions()),
            residency: Residency::new(residency),
            reserved: AtomicU64::new(0),
            limit,
            deferred: Deferred::default(),
            trace,
            backend,
            has_graves: AtomicBool::new(false),
            graves: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn caps(&self) -> &Caps {
        self.backend.caps()
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        self.backend.timeline()
    }

    /// Waits for a tick and returns how it ended.
    pub(crate) fn wait(&self, queue: u32, tick: u64, patience: Patience<'_>) -> Result<()> {
        let outcome = self.timeline().wait(queue, tick, patience);
        self.trace.see(self.timeline(), queue);
        outcome
    }

    /// Counts bytes against the device's limit before they are taken. False, and nothing counted, past the limit.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let before = self.reserved.fetch_add(bytes, Ordering::Relaxed);
        if before.checked_add(bytes).is_some_and(|sum| sum <= self.limit) {
            return true;
        }
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Gives bytes back that `reserve` counted.
    pub(crate) fn unreserve(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Keeps an error that a drop could not return.
    pub(crate) fn defer(&self, outcome: Result<()>) {
        self.deferred.keep(outcome);
    }

    /// Returns a kept error, once.
    pub(crate) fn take_deferred(&self) -> Result<()> {
        self.deferred.take()
    }

    /// Gives a dead pool's memory back now, or when queued work is done with it.
    pub(super) fn bury(&self, grave: Grave) {
        lock(&self.graves).push(grave);
        self.has_graves.store(true, Ordering::Release);
        self.sweep_graves();
    }

    /// Lets go of what kept outside memory valid, at the next sweep: to drop it can run anybody's code, which must
    /// not meet the lock of a pool.
    pub(super) fn bury_keeper(&self, keeper: Box<dyn Any + Send + Sync>) {
        lock(&self.graves).push(Grave { keepers: vec![keeper], ..Grave::default() });
        self.has_graves.store(true, Ordering::Release);
    }

    /// The work that dead pools wait for.
    pub(super) fn grave_ticks(&self) -> Vec<(u32, u64)> {
        if !self.has_graves.load(Ordering::Acquire) {
            return Vec::new();
        }
        let timeline = self.timeline();
        let graves = lock(&self.graves);
        let ticks = graves.iter().flat_map(|grave| &grave.ticks).copied();
        ticks.filter(|&(queue, tick)| !timeline.is_done(queue, tick)).collect()
    }

    /// Gives back what dead pools left and nothing uses any more. Called without the lock of any pool. Says whether
    /// there was something.
    #[inline]
    pub(crate) fn sweep_graves(&self) -> bool {
        self.has_graves.load(Ordering::Acquire) && self.sweep()
    }

    #[cold]
    fn sweep(&self) -> bool {
        let mut due = Vec::new();
        {
            let mut graves = lock(&self.graves);
            let timeline = self.timeline();
            let is_due =
                |grave: &mut Grave| grave.ticks.iter().all(|&(queue, tick)| timeline.is_done(queue, tick));
            due.extend(graves.extract_if(.., is_due));
            self.has_graves.store(!graves.is_empty(), Ordering::Release);
        }
        let swept = !due.is_empty();
        for grave in due {
            self.unreserve(grave.reserved);
            for region in grave.regions {
                self.residency.stage(ResidencyChange { region, offset: 0, bytes: u64::MAX, add: false });
                self.defer(self.backend.region_release(region));
            }
        }
        swept
    }

    /// Refuses what belongs to another device.
    pub(crate) fn own(&self, handle: &Handle, what: &'static str) -> Result<()> {
        let theirs = &handle.owner().home;
        if std::ptr::eq(self, Arc::as_ptr(theirs)) {
            return Ok(());
        }
        Err(Error::ForeignDevice { what, theirs: theirs.name(), ours: self.name() })
    }

    /// How this device is called in errors.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.caps().backend, self.caps().name)
    }
}

impl Drop for Home {
    /// The last who used the device is gone. Queued work ends first: until then it uses what the graves keep.
    fn drop(&mut self) {
        self.backend.close();
        self.sweep_graves();
        // Left is only what a kernel still uses that dropped its own device: that memory stays.
        lock(&self.graves).drain(..).for_each(|grave| std::mem::forget(grave.keepers));
    }
}
