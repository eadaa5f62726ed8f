#![allow(unsafe_code, reason = "leases are counted in place, beside what they describe")]
//! A lease: the single right to a range, counted by its handles. Everything that names device memory holds a handle.
//!
//! Leases live in slabs that never move and are recycled, so that handing one out allocates nothing. Rules:
//! - L1 A slab is freed only with its `Slab`, which the owner keeps as long as a handle to one of its leases exists.
//! - L2 `facts` are written by the owner alone, and only while it holds the sole right to the lease: between taking it
//!   from the slab and handing out the first handle, or after the last handle is gone.
//! - L3 `uses` are touched only under the access lock of the device, or by the owner as in L2.
//! - L4 The count is raised only through an existing handle, so whoever sees it at 1 while holding a handle is alone.
//! - L5 `fate` is written only by the owner under its lock, before the owner lowers the count by a handle of its own.
//!
//! Next room: `buffer`, the public face of a handle; `pool`, the owner.

use std::{cell::UnsafeCell, fmt, marker::PhantomData, ptr::NonNull};

use super::{
    access::AccessGuard,
    count::Count,
    pool::PoolShared,
    range::{BlockId, GRANULE},
    uses::Uses,
};
use crate::{
    label::Label,
    launch::{Place, RegionId},
    sync::{AtomicU32, Ordering},
};

/// One lease in its slab: two cache lines. The first holds the counters, the uses and the length, which is all that a
/// reset looks at.
#[repr(C, align(64))]
pub(crate) struct Lease {
    handles: Count,
    /// Host guards on it, which are listed in `access`, and [`MEMBER`].
    guards: AtomicU32,
    uses: UnsafeCell<Uses>,
    facts: UnsafeCell<Facts>,
    fate: UnsafeCell<Fate>,
}

// Loom counts with larger atomics.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Lease>() == 128);

/// The bit beside the count of guards that says that the allocation is a member of the residency set.
const MEMBER: u32 = 1 << 31;

/// What does not change while handles exist.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Facts {
    /// Bytes asked for.
    pub(crate) len: u64,
    /// Number of the lease in its slab.
    pub(super) slot: u32,
    pub(crate) tag: super::stats::Tag,
    pub(crate) read_only: bool,
    /// The owner. Null only while the lease is in its slab.
    pub(super) owner: *const PoolShared,
    /// First byte, counted from the start of the region.
    pub(crate) offset: u64,
    /// First byte as the device sees it.
    pub(crate) address: u64,
    /// First byte as the host sees it; 0 if it does not.
    pub(crate) host: usize,
    pub(crate) label: Label,
    pub(crate) region: RegionId,
    /// Granules set aside.
    granules: u32,
}

impl Facts {
    /// Bytes set aside.
    #[inline]
    pub(crate) fn taken(&self) -> u64 {
        u64::from(self.granules) * GRANULE
    }

    /// Notes the bytes set aside, which are whole granules of one region.
    #[inline]
    pub(super) fn set_taken(&mut self, bytes: u64) {
        debug_assert!(bytes.is_multiple_of(GRANULE) && bytes / GRANULE <= u64::from(u32::MAX), "{bytes}");
        self.granules = (bytes / GRANULE) as u32;
    }

    /// Part of the allocation, as launches name it.
    #[inline]
    pub(crate) fn place(&self, start: u64, len: u64) -> Place {
        if len == 0 {
            return Place::NOWHERE;
        }
        Place { region: self.region, offset: self.offset + start, address: self.address + start, len }
    }
}

/// What becomes of the range when the last handle goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// There is no range.
    Nothing,
    /// It goes back into the pool's range.
    Block(BlockId),
    /// It is a region of its own.
    Region,
    /// It belongs to somebody else.
    External,
    /// It is part of a chunk that an arena holds.
    Arena,
}

// SAFETY: L2 to L5 say who touches the cells and when; everything else is atomic. `Facts::owner` points to a
// `PoolShared`, which is `Send + Sync`, and L1 keeps it alive.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl Lease {
    fn vacant(slot: u32) -> Self {
        Self {
            handles: Count::none(),
            guards: AtomicU32::new(0),
            uses: UnsafeCell::new(Uses::default()),
            facts: UnsafeCell::new(Facts {
                len: 0,
                slot,
                tag: super::stats::Tag::Other,
                read_only: false,
                owner: std::ptr::null(),
                offset: 0,
                address: 0,
                host: 0,
                label: Label::default(),
                region: 0,
                granules: 0,
            }),
            fate: UnsafeCell::new(Fate::Nothing),
        }
    }
}

/// A counted right to a lease.
pub(crate) struct Handle(NonNull<Lease>);

// SAFETY: a handle is a counted pointer to a `Lease`, which is `Send + Sync`.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// What does not change while this handle exists.
    pub(crate) fn facts(&self) -> &Facts {
        // SAFETY: L1 and L2: we hold a handle, so the slab is there and nobody writes.
        unsafe { &*self.0.as_ref().facts.get() }
    }

    /// The uses of the allocation.
    pub(crate) fn uses<'a>(&'a self, _lock: &'a mut AccessGuard<'_>) -> &'a mut Uses {
        // SAFETY: L3: the access lock is held, and its guard is borrowed for as long as the result.
        unsafe { &mut *self.0.as_ref().uses.get() }
    }

    /// The host guards on it, and [`MEMBER`].
    pub(super) fn guards(&self) -> &AtomicU32 {
        // SAFETY: L1.
        unsafe { &self.0.as_ref().guards }
    }

    /// Whether the host guards bytes of it, or forgot to stop.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        self.guards().load(Ordering::Relaxed) & !MEMBER > 0
    }

    /// Sets whether this is a member of the residency set, and says whether it was. The owner's lock orders this with
    /// the counts that go with it.
    pub(super) fn set_member(&self, member: bool) -> bool {
        let before = match member {
            true => self.guards().fetch_or(MEMBER, Ordering::Relaxed),
            false => self.guards().fetch_and(!MEMBER, Ordering::Relaxed),
        };
        before & MEMBER != 0
    }

    /// The owner. It lives as long as this handle.
    pub(crate) fn owner(&self) -> &PoolShared {
        // SAFETY: L1 and L2: set when the lease was handed out, and alive as long as handles are.
        unsafe { &*self.facts().owner }
    }

    /// Tells one allocation from another.
    pub(crate) fn key(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// Whether this is the only handle. Nobody else can make another one while the caller holds it exclusively.
    pub(super) fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// What the last handle does when it goes.
    #[cold]
    #[inline(never)]
    fn release(&self) {
        // SAFETY: L1: the slab and the owner live as long as a lease of it is out. The last handle is going, so the owner
        // has the sole right to the lease (L2).
        let owner = unsafe {
            let lease = self.0.as_ref();
            let owner = (*lease.facts.get()).owner;
            (*owner).release(Sole::new(self.0))
        };
        // The slab may go with it: neither it nor the owner is borrowed any more.
        drop(owner);
    }

    pub(super) fn count(&self) -> u32 {
        // SAFETY: L1.
        unsafe { self.0.as_ref() }.handles.get()
    }

    /// A second handle, of an arena that holds the only one.
    #[inline]
    pub(super) fn second(&mut self) -> Self {
        // SAFETY: L1.
        unsafe { self.0.as_ref() }.handles.second();
        Self(self.0)
    }

    /// Decides what becomes of the range, for an owner that holds a handle and its own lock.
    pub(super) fn set_fate(&self, fate: Fate) {
        // SAFETY: L5: whoever drops the last handle reads it after lowering the count, and the caller's own handle goes
        // after this.
        unsafe { *self.0.as_ref().fate.get() = fate }
    }

    /// The owner's own view, when it alone holds the lease.
    pub(super) fn sole(&mut self) -> Option<Sole<'_>> {
        // SAFETY: L4: the count is 1 and this handle is borrowed exclusively.
        self.is_alone().then(|| unsafe { Sole::new(self.0) })
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // SAFETY: L1.
        unsafe { self.0.as_ref() }.handles.more();
        Self(self.0)
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: L1.
        let lease = unsafe { self.0.as_ref() };
        if !lease.handles.less() {
            return;
        }
        self.release();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("len", &self.facts().len).field("label", &self.facts().label).finish()
    }
}

/// The sole right to a lease: no handle exists, or only the one this was made of.
pub(super) struct Sole<'a> {
    lease: NonNull<Lease>,
    life: PhantomData<&'a mut Lease>,
}

impl Sole<'_> {
    /// # Safety
    /// The caller has the sole right to the lease (L2) for as long as the result lives.
    unsafe fn new(lease: NonNull<Lease>) -> Self {
        Self { lease, life: PhantomData }
    }

    /// Tells one allocation from another, as `Handle::key` does.
    pub(super) fn key(&self) -> usize {
        self.lease.as_ptr() as usize
    }

    /// Sets the count of host guards to 0, and says whether there were any.
    pub(super) fn take_guards(&mut self) -> bool {
        let guards = self.guards();
        let now = guards.load(Ordering::Relaxed);
        let any = now & !MEMBER > 0;
        if any {
            guards.store(now & MEMBER, Ordering::Relaxed);
        }
        any
    }

    /// Sets whether this is a member of the residency set, and says whether it was. Nobody else is there to see it.
    pub(super) fn set_member(&mut self, member: bool) -> bool {
        let guards = self.guards();
        let now = guards.load(Ordering::Relaxed);
        guards.store(if member { now | MEMBER } else { now & !MEMBER }, Ordering::Relaxed);
        now & MEMBER != 0
    }

    fn guards(&self) -> &AtomicU32 {
        // SAFETY: L1.
        unsafe { &self.lease.as_ref().guards }
    }

    pub(super) fn facts(&mut self) -> &mut Facts {
        // SAFETY: L2: the right is ours alone.
        unsafe { &mut *self.lease.as_ref().facts.get() }
    }

    pub(super) fn uses(&mut self) -> &mut Uses {
        // SAFETY: L3: the right is ours alone.
        unsafe { &mut *self.lease.as_ref().uses.get() }
    }

    pub(super) fn fate(&mut self) -> &mut Fate {
        // SAFETY: L2 and L5: the right is ours alone.
        unsafe { &mut *self.lease.as_ref().fate.get() }
    }

    /// Hands the lease out again: its first handle.
    pub(super) fn hand_out(self) -> Handle {
        // SAFETY: L1.
        unsafe { self.lease.as_ref() }.handles.start();
        Handle(self.lease)
    }
}

/// Leases that never move, numbered, taken and put back.
#[derive(Default)]
pub(super) struct Slab {
    chunks: Vec<Box<[Lease; Self::CHUNK]>>,
    free: Vec<u32>,
}

impl Slab {
    const CHUNK: usize = 64;

    /// A lease that is nobody's.
    pub(super) fn take(&mut self) -> Sole<'_> {
        if self.free.is_empty() {
            let first = (self.chunks.len() * Self::CHUNK) as u32;
            let chunk: Box<[Lease; Self::CHUNK]> =
                Box::new(std::array::from_fn(|index| Lease::vacant(first + index as u32)));
            self.chunks.push(chunk);
            self.free.extend((first..first + Self::CHUNK as u32).rev());
        }
        let slot = self.free.pop().unwrap_or(0);
        self.at(slot)
    }

    /// The lease of a number that the caller has the sole right to. It stays where it is while the slab grows.
    pub(super) fn at<'a>(&mut self, slot: u32) -> Sole<'a> {
        let lease = NonNull::from(&self.chunks[slot as usize / Self::CHUNK][slot as usize % Self::CHUNK]);
        // SAFETY: L2: the slab belongs to the owner, whose lock the caller holds, and it asks only for its own numbers.
        unsafe { Sole::new(lease) }
    }

    /// The label of a lease that is out, for reports. The owner's lock keeps the last handle from going meanwhile.
    pub(super) fn label(&self, slot: u32) -> String {
        let lease = &self.chunks[slot as usize / Self::CHUNK][slot as usize % Self::CHUNK];
        // SAFETY: L2: facts of a lease that is out are written by nobody, and only read here.
        unsafe { (*lease.facts.get()).label.to_string() }
    }

    /// What becomes of a lease that is out, as its owner decided under its lock.
    pub(super) fn fate(&self, slot: u32) -> Fate {
        let lease = &self.chunks[slot as usize / Self::CHUNK][slot as usize % Self::CHUNK];
        // SAFETY: L5: written only by the owner under its lock, which the caller holds.
        unsafe { *lease.fate.get() }
    }

    /// Takes a lease back.
    pub(super) fn put(&mut self, slot: u32) {
        self.free.push(slot);
    }
}
