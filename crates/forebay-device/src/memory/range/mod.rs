//! Which bytes of a device's address space are free: pure bookkeeping, a two-level segregated fit over
//! numbered regions.
//!
//! Never calls a driver, never touches the memory it accounts for, takes no lock. It tells which pages lack
//! memory behind them ([`Range::missing`]) and which could give theirs back ([`Range::idle`]); the pool maps
//! and unmaps, and reports back what it did. The same calls in the same order give the same offsets. Next
//! rooms: `moves` (finding, cutting, joining), `lists` (free pieces by size), `pages` (what is mapped),
//! `figures` (what the range can say about itself).

#[cfg(test)]
mod audit;
mod figures;
mod lists;
mod moves;
mod pages;

use std::ops;

pub(crate) use figures::Idle;
use lists::{Lists, NIL};
use moves::Want;
use pages::Pages;

/// The unit of allocation in bytes.
pub(crate) const GRANULE: u64 = 256;

/// No region is larger than this many bytes.
pub(crate) const LARGEST_REGION: u64 = (u32::MAX as u64) * GRANULE;

/// Which end of a free piece a block is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// For what stays: weights, caches of attention.
    Low,
    /// For what goes soon: activations, staging.
    High,
}

/// What a request may be served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only bytes whose pages are all mapped.
    Mapped,
    /// Anything free, mapped first; the caller maps what [`Range::missing`] names.
    Any,
}

/// A live block. Numbers are dense and used again after `free`, so that a caller can keep a table beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockId(u32);

impl BlockId {
    /// The number, for tables.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The region, as numbered by whoever added it.
    pub(crate) region: u32,
    /// First byte, counted from the start of the region.
    pub(crate) offset: u64,
    /// Length in bytes, a multiple of the granule.
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Spare,
    Free,
    Live,
}

/// A stretch of one region; lengths and offsets in granules.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    len: u32,
    /// Neighbours by address.
    below: u32,
    above: u32,
    /// Neighbours in the list this node is in.
    prev: u32,
    next: u32,
    region: u32,
    bare: u32,
    /// Clock at the last free that ended in this node.
    freed: u32,
    state: State,
}

impl Node {
    fn end(&self) -> u32 {
        self.start + self.len
    }
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Region {
    first: u32,
    last: u32,
    len: u32,
    pages: Pages,
}

/// Bookkeeping of the address space of one kind of memory.
///
/// Invariants, after every call:
/// 1. The nodes of a region, followed by `above`, cover it from its first byte to its last without gap or
///    overlap.
/// 2. No two free nodes of a region touch.
/// 3. A free node is in exactly one list: that of its length, in `whole` if all its pages are mapped, else in
///    `torn`.
/// 4. `bare` of a node is the number of its granules that lie in unmapped pages.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Range {
    nodes: Vec<Node>,
    /// Head of the chain of nodes not in use.
    spare: u32,
    regions: Vec<Option<Region>>,
    /// Free pieces with every page mapped.
    whole: Lists,
    /// Free pieces with some page unmapped.
    torn: Lists,
    /// Granules a page; 0 if regions come mapped as wholes.
    page: u32,
    clock: u32,
    total: u64,
    free: u64,
    bare: u64,
    bare_free: u64,
    pieces: u32,
    blocks: u32,
}

impl Range {
    /// `page` is the unit in bytes in which the backend maps memory (a multiple of the granule), or 0 if
    /// regions come mapped as wholes.
    pub(crate) fn new(page: u64) -> Self {
        debug_assert!(page.is_multiple_of(GRANULE) && page < LARGEST_REGION);
        Self {
            nodes: Vec::new(),
            spare: NIL,
            regions: Vec::new(),
            whole: Lists::new(),
            torn: Lists::new(),
            page: (page / GRANULE) as u32,
            clock: 0,
            total: 0,
            free: 0,
            bare: 0,
            bare_free: 0,
            pieces: 0,
            blocks: 0,
        }
    }

    /// Adds a region under a number of the caller's choice (small: a table is indexed by it). False, and
    /// nothing done, if the number is taken, or `bytes` is 0, too large, or no multiple of the page or the
    /// granule.
    #[must_use]
    pub(crate) fn add_region(&mut self, region: u32, bytes: u64, mapped: bool) -> bool {
        let slot = region as usize;
        let Some(len) = self.region_len(bytes) else { return false };
        if self.regions.get(slot).is_some_and(Option::is_some) {
            return false;
        }
        let mut pages = Pages::new(self.page);
        let bare = pages.grow(len, mapped);
        let node = self.spawn(Node { region, len, bare, ..Node::blank() });
        if self.regions.len() <= slot {
            self.regions.resize_with(slot + 1, || None);
        }
        self.regions[slot] = Some(Region { first: node, last: node, len, pages });
        self.total += u64::from(len);
        self.bare += u64::from(bare);
        self.link(node);
        true
    }

    /// Makes a region longer at its end. False, and nothing done, if there is no such region, or `bytes` is
    /// 0, no multiple of the page or the granule, or too much.
    #[must_use]
    pub(crate) fn grow_region(&mut self, region: u32, bytes: u64, mapped: bool) -> bool {
        let Some(more) = self.region_len(bytes) else { return false };
        let Some(at) = self.regions.get_mut(region as usize).and_then(Option::as_mut) else { return false };
        let Some(len) = at.len.checked_add(more) else { return false };
        let (start, last) = (at.len, at.last);
        let bare = at.pages.grow(len, mapped);
        at.len = len;
        self.total += u64::from(more);
        self.bare += u64::from(bare);
        if self.nodes[last as usize].state == State::Free {
            self.unlink(last);
            self.nodes[last as usize].len += more;
            self.nodes[last as usize].bare += bare;
            self.link(last);
        } else {
            let node = self.spawn(Node { region, start, len: more, bare, below: last, ..Node::blank() });
            self.nodes[last as usize].above = node;
            self.set_last(region, node);
            self.link(node);
        }
        true
    }

    /// Forgets a region. False, and nothing done, unless it is there and wholly free.
    #[must_use]
    pub(crate) fn remove_region(&mut self, region: u32) -> bool {
        if !self.is_wholly_free(region) {
            return false;
        }
        let Some(at) = self.regions[region as usize].take() else { return false };
        self.unlink(at.first);
        self.total -= u64::from(at.len);
        self.bare -= u64::from(self.nodes[at.first as usize].bare);
        self.retire(at.first);
        true
    }

    /// Takes `bytes`, rounded up to the granule, starting at a multiple of `align` (a power of two) from the
    /// start of a region. `None` if `bytes` is 0 or nothing in reach fits.
    #[inline]
    pub(crate) fn alloc(&mut self, bytes: u64, align: u64, end: End, reach: Reach) -> Option<BlockId> {
        debug_assert!(align.is_power_of_two());
        if bytes == 0 {
            return None;
        }
        let len = u32::try_from(bytes.div_ceil(GRANULE)).ok()?;
        let align = u32::try_from(align.div_ceil(GRANULE)).ok()?.max(1);
        let want = Want { len, align, sure: len.checked_add(align - 1)?, end };
        let whole = self.fit(&self.whole, &want);
        if self.torn.is_empty() {
            let (node, at) = whole?;
            return Some(self.take(node, at, len));
        }
        if let Some((node, at)) = whole {
            // What would break up pages that could be given back goes, if it can, where none are. Small blocks are not
            // worth the search.
            let wide = len >= self.page / 8 && self.nodes[node as usize].len - len >= self.page;
            let (node, at) = wide.then(|| self.fit_mapped(&self.torn, &want)).flatten().unwrap_or((node, at));
            return Some(self.take(node, at, len));
        }
        let (node, at) = match reach {
            Reach::Any => self.fit_thrifty(&self.torn, &want).or_else(|| self.fit(&self.torn, &want))?,
            Reach::Mapped => self.fit_mapped(&self.torn, &want)?,
        };
        Some(self.take(node, at, len))
    }

    /// Where a live block lies; `None` if the number is not live.
    #[inline]
    pub(crate) fn block(&self, id: BlockId) -> Option<Block> {
        let node = self.live(id)?;
        Some(Block {
            region: node.region,
            offset: u64::from(node.start) * GRANULE,
            bytes: u64::from(node.len) * GRANULE,
        })
    }

    /// Gives a block back and joins it with what is free beside it. False, and nothing done, if the number is
    /// not live.
    #[inline]
    pub(crate) fn free(&mut self, id: BlockId) -> bool {
        if self.live(id).is_none() {
            return false;
        }
        self.blocks -= 1;
        self.settle(id.0);
        true
    }

    /// Keeps the first `bytes` of a block (at least a granule) and frees the rest. False, and nothing done,
    /// if the number is not live or the block is shorter than that.
    #[must_use]
    pub(crate) fn shrink(&mut self, id: BlockId, bytes: u64) -> bool {
        let keep = bytes.div_ceil(GRANULE).max(1);
        match self.live(id) {
            Some(node) if keep < u64::from(node.len) => {
                let tail = self.cut(id.0, keep as u32);
                self.settle(tail);
                true
            }
            Some(node) => keep == u64::from(node.len),
            None => false,
        }
    }

    /// Makes two live blocks of one; the first keeps the number and its first `bytes`. `None`, and nothing
    /// done, unless `bytes` is a multiple of the granule inside the block.
    pub(crate) fn split(&mut self, id: BlockId, bytes: u64) -> Option<BlockId> {
        let node = self.live(id)?;
        if bytes == 0 || !bytes.is_multiple_of(GRANULE) || bytes / GRANULE >= u64::from(node.len) {
            return None;
        }
        self.blocks += 1;
        Some(BlockId(self.cut(id.0, (bytes / GRANULE) as u32)))
    }

    /// The runs of unmapped pages a live block lies in, as bytes of its region, in order. Whole pages: a run
    /// may reach past the block on both sides.
    pub(crate) fn missing(&self, id: BlockId) -> impl Iterator<Item = ops::Range<u64>> {
        let node = self.live(id).filter(|node| node.bare > 0);
        let region = node.and_then(|node| self.regions[node.region as usize].as_ref());
        node.zip(region)
            .into_iter()
            .flat_map(|(node, region)| region.pages.runs(region.pages.around(node.start, node.end()), false))
    }

    /// Notes that the pages of `bytes` (a run of [`Range::missing`] of `id`, or a part of one in whole pages)
    /// are mapped.
    pub(crate) fn mapped(&mut self, id: BlockId, bytes: ops::Range<u64>) {
        let Some(node) = self.live(id).copied() else { return };
        let Some(region) = self.regions[node.region as usize].as_ref() else { return };
        let Some(span) = region.pages.span(&bytes) else { return };
        // A page at the edge of the block can reach into its neighbours, and when those are blocks that wait
        // for their own pages, into the neighbours' neighbours.
        let (mut low, mut at) = (id.0, node);
        while at.start > span.start && at.below != NIL {
            low = at.below;
            at = self.nodes[low as usize];
        }
        let mut i = low;
        while i != NIL && self.nodes[i as usize].start < span.end {
            self.clothe(i, &span);
            i = self.nodes[i as usize].above;
        }
        if let Some(region) = self.regions[node.region as usize].as_mut() {
            region.pages.set(&span, true);
        }
    }

    /// Notes that the pages of `idle` are unmapped. False, and nothing done, if they are no longer free and
    /// mapped, which cannot be as long as nothing was allocated since [`Range::idle`].
    #[must_use]
    pub(crate) fn unmapped(&mut self, idle: &Idle) -> bool {
        let Some(node) = self.nodes.get(idle.piece as usize).copied() else { return false };
        let Some(region) = self.regions.get_mut(idle.region as usize).and_then(Option::as_mut) else {
            return false;
        };
        let Some(span) = region.pages.span(&idle.bytes) else { return false };
        let inside = node.state == State::Free
            && node.region == idle.region
            && node.start <= span.start
            && span.end <= node.end();
        if !inside || region.pages.bare(span.start, span.end) > 0 {
            return false;
        }
        region.pages.set(&span, false);
        self.unlink(idle.piece);
        self.nodes[idle.piece as usize].bare += span.end - span.start;
        self.bare += u64::from(span.end - span.start);
        self.link(idle.piece);
        true
    }
}

impl Node {
    fn blank() -> Self {
        Self {
            start: 0,
            len: 0,
            below: NIL,
            above: NIL,
            prev: NIL,
            next: NIL,
            region: 0,
            bare: 0,
            freed: 0,
            state: State::Free,
        }
    }
}
