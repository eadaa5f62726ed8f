//! Which memory the driver is asked to keep at hand: changes are staged and reach it in one call a submission.
//!
//! A member is an allocation; the count moves when it is added or removed. What the driver is told are pieces of
//! regions: a pool's memory is told once when it is taken and once when it is given back, not at every reuse.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use super::{lease::Handle, pool::PoolShared};
use crate::{
    backend::{Backend, ResidencyChange},
    error::Result,
    launch::RegionId,
    sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock},
};

/// Staged changes above which what cancels out is dropped, so that a program that never submits stays small.
const SETTLE: usize = 1024;

/// Drops changes that a later one undoes. The order of what is left is that of its places.
fn settle(staged: &mut Vec<ResidencyChange>) {
    let mut net: BTreeMap<(RegionId, u64, u64), i64> = BTreeMap::new();
    for change in staged.drain(..) {
        *net.entry((change.region, change.offset, change.bytes)).or_default() +=
            if change.add { 1 } else { -1 };
    }
    for ((region, offset, bytes), sum) in net {
        let change = ResidencyChange { region, offset, bytes, add: sum > 0 };
        staged.extend(std::iter::repeat_n(change, sum.unsigned_abs() as usize));
    }
}

/// The set of one device, and its counters.
#[derive(Debug)]
pub(crate) struct Residency {
    enabled: bool,
    /// The pools of the device. Each counts its own members, under its own lock.
    pools: Mutex<Vec<Weak<PoolShared>>>,
    /// Outside memory that was registered, by allocation, with who registered it.
    registered: Mutex<HashMap<usize, (usize, ResidencyChange)>>,
    dirty: AtomicBool,
    staged: Mutex<Vec<ResidencyChange>>,
    driver_calls: AtomicU64,
}

impl Residency {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            pools: Mutex::new(Vec::new()),
            registered: Mutex::new(HashMap::new()),
            dirty: AtomicBool::new(false),
            staged: Mutex::new(Vec::new()),
            driver_calls: AtomicU64::new(0),
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn driver_calls(&self) -> u64 {
        self.driver_calls.load(Ordering::Relaxed)
    }

    pub(crate) fn staged(&self) -> usize {
        lock(&self.staged).len()
    }

    /// Members: allocations of all pools, and what was registered.
    pub(crate) fn members(&self) -> u64 {
        if !self.enabled {
            return 0;
        }
        let registered = lock(&self.registered).len() as u64;
        self.pools().iter().map(|pool| pool.lock().stats.members).sum::<u64>() + registered
    }

    pub(super) fn enlist(&self, pool: &Arc<PoolShared>) {
        let mut pools = lock(&self.pools);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    fn pools(&self) -> Vec<Arc<PoolShared>> {
        lock(&self.pools).iter().filter_map(Weak::upgrade).collect()
    }

    /// Gives back what is free in the device's other pools. Those that are busy just now are left alone.
    pub(super) fn trim_others(&self, asking: &PoolShared) -> Result<u64> {
        let mut freed = 0;
        for pool in self.pools() {
            if !std::ptr::eq(Arc::as_ptr(&pool), asking) {
                freed += pool.try_trim()?;
            }
        }
        Ok(freed)
    }

    /// Adds outside memory; twice is once.
    pub(super) fn register(&self, handle: &Handle, registrar: usize) -> bool {
        let facts = handle.facts();
        let change =
            ResidencyChange { region: facts.region, offset: facts.offset, bytes: facts.len, add: true };
        let mut registered = lock(&self.registered);
        if registered.contains_key(&handle.key()) {
            return false;
        }
        registered.insert(handle.key(), (registrar, change));
        self.stage(change);
        true
    }

    /// Removes outside memory.
    pub(super) fn unregister(&self, key: usize) -> bool {
        match lock(&self.registered).remove(&key) {
            None => false,
            Some((_, change)) => {
                self.stage(ResidencyChange { add: false, ..change });
                true
            }
        }
    }

    /// Removes all that one pool registered.
    pub(super) fn unregister_all(&self, registrar: usize) {
        lock(&self.registered).retain(|_, (by, change)| {
            if *by == registrar {
                self.stage(ResidencyChange { add: false, ..*change });
            }
            *by != registrar
        });
    }

    pub(super) fn stage(&self, change: ResidencyChange) {
        if self.enabled && change.bytes > 0 {
            let mut staged = lock(&self.staged);
            if staged.len() >= SETTLE && staged.len() == staged.capacity() {
                settle(&mut staged);
            }
            staged.push(change);
            self.dirty.store(true, Ordering::Release);
        }
    }

    /// Tells the driver what is staged, in one call, and says of how many changes. Nothing is lost when it fails.
    pub(crate) fn commit(&self, backend: &dyn Backend) -> Result<usize> {
        if !self.dirty.load(Ordering::Acquire) {
            return Ok(0);
        }
        let mut staged = lock(&self.staged);
        if staged.is_empty() {
            return Ok(0);
        }
        backend.residency(&staged)?;
        let told = staged.len();
        self.driver_calls.fetch_add(1, Ordering::Relaxed);
        staged.clear();
        self.dirty.store(false, Ordering::Release);
        Ok(told)
    }
}
