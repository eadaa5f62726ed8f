//! What the lock of a pool guards: free blocks, retiring ranges, leases and counters, and the moves between them.
//!
//! Nothing here waits or asks the driver for memory; that is `supply`.

use std::{any::Any, collections::HashMap};

use super::{
    class::Classes,
    home::Home,
    lease::{Facts, Fate, Handle, Slab, Sole},
    marks::Marks,
    options::{Init, Request},
    pool::{ALIGN, PoolShared},
    range::{BlockId, End, Range, Reach},
    retire::Retire,
    stats::{PoolStats, Tag},
    trace::{PoolTrace, event::Served},
    uses::Uses,
};
use crate::{
    backend::{Region, ResidencyChange},
    error::Result,
    label::Label,
    launch::RegionId,
    sync::Arc,
};

/// The holder of a block that no lease stands for.
pub(super) const NOBODY: u32 = u32::MAX;

/// What the lock of a pool guards.
pub(super) struct State {
    pub(super) range: Range,
    pub(super) classes: Classes,
    pub(super) retire: Retire,
    pub(super) slab: Slab,
    /// Regions by their number in `range`.
    pub(super) regions: Vec<Option<Region>>,
    pub(super) stats: PoolStats,
    pub(super) marks: Marks,
    /// Leases with handles.
    pub(super) outstanding: u64,
    /// Keeps the pool alive while leases are out.
    pub(super) own: Option<Arc<PoolShared>>,
    /// No public handle on the pool is left.
    pub(super) closed: bool,
    /// What keeps outside memory valid, by lease.
    pub(super) keepers: HashMap<u32, Box<dyn Any + Send + Sync>>,
    /// Free mapped bytes that the last look for idle pages left.
    pub(super) vain_look: u64,
    /// The lease that stands for a block, for reports; by block.
    pub(super) holders: Vec<u32>,
    pub(super) trace: PoolTrace,
}

/// A block for a request, or the lease that already stands for it.
pub(super) enum Found {
    /// A block of the range, and whether its bytes are known to be zero.
    Block(BlockId, bool),
    /// A retiring lease that goes on as the new one.
    Lease(u32),
    /// A region for one buffer alone.
    Region(Region),
}

impl State {
    pub(super) fn new(home: &Home, page: u64, limit: u64) -> Self {
        Self {
            range: Range::new(page),
            classes: Classes::default(),
            retire: Retire::default(),
            slab: Slab::default(),
            regions: Vec::new(),
            stats: PoolStats::default(),
            marks: Marks::default(),
            outstanding: 0,
            own: None,
            closed: false,
            keepers: HashMap::new(),
            vain_look: 0,
            holders: Vec::new(),
            trace: home.trace.pool(limit),
        }
    }

    /// A block that needs neither the driver nor a wait.
    pub(super) fn find(&mut self, pool: &PoolShared, rounded: u64, request: &Request) -> Option<Found> {
        if !self.retire.is_empty() {
            self.collect(pool);
        }
        // What is still in use by the queue cannot be zeroed by the host.
        if let Some(queue) = request.queue.filter(|_| request.init == Init::Uninit)
            && let Some(slot) = self.retire.take(queue, rounded)
        {
            self.stats.early_reuses += 1;
            return Some(Found::Lease(slot));
        }
        if let Some(block) = self.classes.pop(rounded) {
            return Some(Found::Block(block, false));
        }
        let end = if request.tag.stays() { End::Low } else { End::High };
        let pieces = self.range.free_pieces();
        let block = self.range.alloc(rounded, ALIGN, end, Reach::Mapped)?;
        self.stats.splits += u64::from(self.range.free_pieces() >= pieces);
        Some(Found::Block(block, false))
    }

    /// Frees what has retired.
    pub(super) fn collect(&mut self, pool: &PoolShared) {
        let timeline = pool.home.timeline();
        while let Some(slot) = self.retire.pop_done(|queue, tick| timeline.is_done(queue, tick)) {
            let mut lease = self.slab.at(slot);
            pool.home.defer(self.retire_or_free(pool, &mut lease, false));
        }
    }

    /// Lets a range go whose last handle is gone: now, or when the queues that use it have come far enough. `asked`:
    /// the handle went just now.
    pub(super) fn retire_or_free(
        &mut self,
        pool: &PoolShared,
        lease: &mut Sole<'_>,
        asked: bool,
    ) -> Result<()> {
        if !lease.uses().is_empty() {
            lease.uses().prune(pool.home.timeline());
            let uses = lease.uses();
            let (first, shared) = (uses.iter().next().copied(), uses.iter().nth(1).is_some());
            if let Some(used) = first {
                let facts = lease.facts();
                let (slot, taken, len, tag) = (facts.slot, facts.taken(), facts.len, facts.tag);
                // Early reuse is for blocks: a region of its own goes back to the driver.
                let shared = shared || !matches!(lease.fate(), Fate::Block(_));
                self.retire.push(slot, used.queue, used.last(), taken, shared);
                if asked && *lease.fate() != Fate::Arena {
                    self.trace.free_requested(slot, len, tag, Some((used.queue, used.last())));
                }
                return Ok(());
            }
        }
        let Facts { slot, len, tag, .. } = *lease.facts();
        match *lease.fate() {
            Fate::Arena => {}
            _ if asked => self.trace.free_requested(slot, len, tag, None),
            _ => self.trace.free_completed(slot, len, tag),
        }
        self.free(pool, lease)
    }

    /// Puts a range that nobody uses back where it came from.
    fn free(&mut self, pool: &PoolShared, lease: &mut Sole<'_>) -> Result<()> {
        let fate = std::mem::replace(lease.fate(), Fate::Nothing);
        let facts = lease.facts();
        facts.label = Label::default();
        let (slot, region, taken) = (facts.slot, facts.region, facts.taken());
        self.slab.put(slot);
        match fate {
            Fate::Nothing | Fate::Arena => Ok(()),
            Fate::Block(block) => self.free_block(pool, block, taken),
            Fate::Region => self.free_region(pool, region, taken),
            Fate::External => {
                let released = pool.home.backend.region_release(region);
                if let Some(keeper) = self.keepers.remove(&slot) {
                    pool.home.bury_keeper(keeper);
                }
                released
            }
        }
    }

    fn free_block(&mut self, pool: &PoolShared, block: BlockId, bytes: u64) -> Result<()> {
        // The lease is somebody else's from here on, and may change without the pool's lock.
        self.set_holder(block, NOBODY);
        let retain = pool.retain(self);
        if self.free_bytes() + bytes <= retain && self.classes.push(bytes, block) {
            return Ok(());
        }
        let place = self.range.block(block).filter(|place| place.bytes > retain);
        self.range.free(block);
        if self.free_bytes() > retain {
            // One return that is too large by itself goes at once; otherwise what was used longest ago.
            let keep = if place.is_some() { retain } else { retain - retain / 8 };
            pool.ease(self, keep, place)?;
        }
        Ok(())
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.range.mapped_free_bytes() + self.classes.bytes()
    }

    pub(super) fn flush_classes(&mut self) {
        let range = &mut self.range;
        self.classes.flush(|block| {
            range.free(block);
        });
    }

    /// Notes who has a block, for reports.
    pub(super) fn set_holder(&mut self, block: BlockId, slot: u32) {
        if self.holders.len() <= block.index() {
            self.holders.resize(block.index() + 1, NOBODY);
        }
        self.holders[block.index()] = slot;
    }

    pub(super) fn hand_out_empty(&mut self, pool: &PoolShared, request: &Request) -> Handle {
        let region = Region { id: u32::MAX, address: 0, host: 0, bytes: 0, mapped: true, zeroed: true };
        self.lease(pool, request, Fate::Nothing, &region, (0, 0))
    }

    pub(super) fn hand_out(
        &mut self,
        pool: &PoolShared,
        found: Found,
        rounded: u64,
        request: &Request,
    ) -> (Handle, bool) {
        let (block, zeroed) = match found {
            Found::Block(block, zeroed) => (block, zeroed),
            Found::Lease(slot) => return (self.renew(pool, slot, request), false),
            Found::Region(region) => {
                self.stats.taken += rounded;
                let handle = self.lease(pool, request, Fate::Region, &region, (0, rounded));
                let change =
                    ResidencyChange { region: region.id, offset: 0, bytes: request.bytes, add: true };
                pool.home.residency.stage(change);
                return (handle, region.zeroed);
            }
        };
        let place = self.range.block(block);
        debug_assert!(place.is_some_and(|place| place.bytes == rounded), "{place:?} for {rounded}");
        let (local, offset) = place.map_or((0, 0), |place| (place.region, place.offset));
        let region = self.regions.get(local as usize).copied().flatten();
        let nowhere = Region { id: u32::MAX, address: 0, host: 0, bytes: 0, mapped: true, zeroed: true };
        let region = region.unwrap_or(nowhere);
        self.stats.taken += rounded;
        self.note_waste(rounded - request.bytes);
        let handle = self.lease(pool, request, Fate::Block(block), &region, (offset, rounded));
        self.set_holder(block, handle.facts().slot);
        (handle, zeroed)
    }

    /// A lease on part of a region.
    pub(super) fn lease(
        &mut self,
        pool: &PoolShared,
        request: &Request,
        fate: Fate,
        region: &Region,
        (offset, taken): (u64, u64),
    ) -> Handle {
        self.note_out(pool);
        let mut lease = self.slab.take();
        *lease.fate() = fate;
        let facts = lease.facts();
        facts.len = request.bytes;
        facts.tag = request.tag;
        facts.read_only = false;
        facts.owner = pool;
        facts.offset = offset;
        facts.address = region.address + offset;
        facts.host = if region.host == 0 { 0 } else { region.host + offset as usize };
        facts.label.clone_from(&request.label);
        facts.region = region.id;
        facts.set_taken(taken);
        let member = matches!(fate, Fate::Block(_) | Fate::Region);
        lease.set_member(member);
        let handle = lease.hand_out();
        self.count_in(request, member);
        handle
    }

    /// A lease that an arena cuts from its chunks. It stands for nothing yet.
    pub(super) fn spare_lease(&mut self, pool: &PoolShared) -> Handle {
        self.note_out(pool);
        let mut lease = self.slab.take();
        *lease.fate() = Fate::Arena;
        lease.facts().owner = pool;
        lease.hand_out()
    }

    /// See `PoolShared::carve`. Returns handles on the pieces that nobody holds, for the caller to drop.
    pub(super) fn carve(
        &mut self,
        pool: &PoolShared,
        chunk: &mut Handle,
        uses: &Uses,
        held: &[&Handle],
    ) -> Vec<Handle> {
        let (whole, tag) = (chunk.facts().clone(), chunk.facts().tag);
        let Fate::Block(mut block) = self.fate_of(chunk) else {
            // A chunk without bytes.
            for lease in held {
                lease.set_fate(Fate::Nothing);
                self.count_in_carved(0, lease.facts().tag, false);
                self.note_allocated(lease, Served::Carved);
            }
            return Vec::new();
        };
        let bytes = self.range.block(block).map_or(0, |block| block.bytes);
        // The chunk's own lease ends here; its bytes are handed on piece by piece.
        self.stats.in_use -= 1;
        self.stats.live -= whole.len;
        self.stats.taken -= bytes;
        self.stats.by_tag[tag as usize] -= whole.len;
        self.stats.members -= u64::from(chunk.set_member(false));
        chunk.set_fate(Fate::Arena);
        self.trace.free_requested(whole.slot, whole.len, tag, None);
        let mut rest = Vec::new();
        let mut at = 0;
        for lease in held {
            let facts = lease.facts();
            let (start, size) = (facts.offset - whole.offset, facts.len.next_multiple_of(ALIGN));
            if size == 0 {
                lease.set_fate(Fate::Nothing);
                self.count_in_carved(facts.len, facts.tag, false);
                self.note_allocated(lease, Served::Carved);
                continue;
            }
            if start > at
                && let Some(upper) = self.range.split(block, start - at)
            {
                rest.push(self.piece(pool, block, &whole, at, start - at, uses));
                block = upper;
            }
            let mine = block;
            at = start + size;
            if at < bytes
                && let Some(upper) = self.range.split(block, size)
            {
                block = upper;
            }
            lease.set_fate(Fate::Block(mine));
            lease.set_member(true);
            self.set_holder(mine, facts.slot);
            self.stats.taken += size;
            self.count_in_carved(facts.len, facts.tag, true);
            self.note_allocated(lease, Served::Carved);
        }
        if at < bytes {
            rest.push(self.piece(pool, block, &whole, at, bytes - at, uses));
        }
        rest
    }

    /// A lease on a piece of a chunk that nobody holds.
    fn piece(
        &mut self,
        pool: &PoolShared,
        block: BlockId,
        whole: &Facts,
        offset: u64,
        bytes: u64,
        uses: &Uses,
    ) -> Handle {
        let host = if whole.host == 0 { 0 } else { whole.host - whole.offset as usize };
        let region = Region {
            id: whole.region,
            address: whole.address - whole.offset,
            host,
            bytes: 0,
            mapped: true,
            zeroed: false,
        };
        let request = Request::new(bytes).tag(whole.tag);
        let mut handle =
            self.lease(pool, &request, Fate::Block(block), &region, (whole.offset + offset, bytes));
        self.stats.taken += bytes;
        self.set_holder(block, handle.facts().slot);
        self.note_allocated(&handle, Served::Carved);
        if let Some(mut sole) = handle.sole() {
            sole.uses().inherit(uses);
        }
        handle
    }

    fn count_in_carved(&mut self, bytes: u64, tag: Tag, member: bool) {
        self.stats.in_use += 1;
        self.stats.live += bytes;
        self.stats.by_tag[tag as usize] += bytes;
        self.stats.members += u64::from(member);
    }

    /// A retiring lease goes on with a new request; its uses still order what comes next.
    pub(super) fn renew(&mut self, pool: &PoolShared, slot: u32, request: &Request) -> Handle {
        self.note_out(pool);
        let mut lease = self.slab.at(slot);
        let earlier = std::mem::take(lease.uses());
        lease.uses().inherit(&earlier);
        let facts = lease.facts();
        let taken = facts.taken();
        facts.len = request.bytes;
        facts.label = request.label.clone();
        facts.tag = request.tag;
        lease.set_member(true);
        let handle = lease.hand_out();
        debug_assert!(std::ptr::eq(handle.facts().owner, pool));
        self.stats.taken += taken;
        self.note_waste(taken - request.bytes);
        self.count_in(request, true);
        handle
    }

    fn note_waste(&mut self, waste: u64) {
        self.stats.worst_waste = self.stats.worst_waste.max(waste);
        self.stats.total_waste += waste;
    }

    /// One more lease is out: as long as there are any, the pool keeps itself alive.
    pub(super) fn note_out(&mut self, pool: &PoolShared) {
        self.outstanding += 1;
        if self.own.is_none() {
            self.own = pool.own.upgrade();
        }
    }

    pub(super) fn count_in(&mut self, request: &Request, member: bool) {
        self.stats.in_use += 1;
        self.stats.live += request.bytes;
        self.stats.by_tag[request.tag as usize] += request.bytes;
        self.stats.members += u64::from(member);
        self.stats.note_peaks();
        self.marks.note(self.stats.taken + self.retire.bytes());
    }

    pub(super) fn end_membership(&mut self, pool: &PoolShared, lease: &mut Sole<'_>, fate: Fate) {
        let member = lease.set_member(false);
        let (region, offset, bytes) = (lease.facts().region, lease.facts().offset, lease.facts().len);
        match fate {
            Fate::External => _ = pool.home.residency.unregister(lease.key()),
            Fate::Block(_) if member => self.stats.members -= 1,
            // Taken out by hand: whoever gets these bytes next is a member again.
            Fate::Block(_) => pool.home.residency.stage(ResidencyChange { region, offset, bytes, add: true }),
            Fate::Region if member => {
                self.stats.members -= 1;
                pool.home.residency.stage(ResidencyChange { region, offset, bytes, add: false });
            }
            _ => {}
        }
    }

    /// Adds or removes an allocation by hand. Says whether that changed anything.
    pub(super) fn set_member(&mut self, pool: &PoolShared, handle: &Handle, member: bool) -> bool {
        if handle.set_member(member) == member {
            return false;
        }
        let facts = handle.facts();
        let (region, offset, bytes) = (facts.region, facts.offset, facts.len);
        pool.home.residency.stage(ResidencyChange { region, offset, bytes, add: member });
        self.stats.members = self.stats.members.wrapping_add_signed(if member { 1 } else { -1 });
        true
    }

    /// Tells the trace of an allocation that was counted.
    #[inline]
    pub(super) fn note_allocated(&mut self, handle: &Handle, served: Served) {
        self.trace.allocated(handle, served, &self.stats);
    }

    pub(super) fn fate_of(&self, handle: &Handle) -> Fate {
        self.slab.fate(handle.facts().slot)
    }

    pub(super) fn snapshot(&mut self) -> PoolStats {
        self.stats.free = self.free_bytes();
        self.stats.largest_free = self.range.largest_mapped();
        self.stats.retiring = self.retire.bytes();
        self.stats.clone()
    }

    pub(super) fn region_id(&self, local: u32) -> RegionId {
        self.regions.get(local as usize).copied().flatten().map_or(u32::MAX, |region| region.id)
    }
}
