//! What a range says about itself: totals, its largest hole, idle pages, and a walk over everything in
//! address order.
//!
//! Changes nothing. Totals are kept as they change and cost nothing to read; the rest looks at lists or
//! nodes. Next room: `mod.rs` beside this.

use std::ops;

use super::{
    BlockId, GRANULE, Node, Range, Region, State,
    lists::{NIL, list_of},
};

/// A stretch of a region, free or live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) region: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// How many of the bytes lie in unmapped pages.
    pub(crate) unmapped: u64,
    /// The block, if it is live.
    pub(crate) block: Option<BlockId>,
}

/// A free stretch and the blocks that bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) region: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) below: Option<BlockId>,
    pub(crate) above: Option<BlockId>,
}

/// Whole mapped pages with nothing live in them: unmapping gives back `bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(super) piece: u32,
    pub(crate) region: u32,
    /// Of the region.
    pub(crate) bytes: ops::Range<u64>,
    /// How many frees ago something in the piece around it was last in use.
    pub(crate) age: u32,
}

impl Idle {
    /// Some of the pages.
    pub(crate) fn part(&self, bytes: ops::Range<u64>) -> Self {
        Self { bytes, ..self.clone() }
    }
}

impl Range {
    /// Bytes of all regions.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total * GRANULE
    }

    /// Bytes of all free pieces.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free * GRANULE
    }

    /// Bytes of all live blocks, as rounded to the granule.
    pub(crate) fn live_bytes(&self) -> u64 {
        (self.total - self.free) * GRANULE
    }

    /// Bytes that have memory behind them.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        (self.total - self.bare) * GRANULE
    }

    /// Free bytes that have memory behind them.
    pub(crate) fn mapped_free_bytes(&self) -> u64 {
        (self.free - self.bare_free) * GRANULE
    }

    /// How many pieces the free bytes are in.
    pub(crate) fn free_pieces(&self) -> u32 {
        self.pieces
    }

    /// How many blocks are live.
    pub(crate) fn live_blocks(&self) -> u32 {
        self.blocks
    }

    /// Length of a region in bytes.
    pub(crate) fn region_bytes(&self, region: u32) -> Option<u64> {
        self.region(region).map(|region| u64::from(region.len) * GRANULE)
    }

    /// Free bytes at the end of a region: what growing it would join.
    pub(crate) fn tail_bytes(&self, region: u32) -> u64 {
        let last = self.region(region).map(|region| &self.nodes[region.last as usize]);
        last.filter(|last| last.state == State::Free).map_or(0, |last| u64::from(last.len) * GRANULE)
    }

    /// Whether the region is there and nothing in it is live.
    pub(crate) fn is_wholly_free(&self, region: u32) -> bool {
        self.region(region).is_some_and(|region| {
            region.first == region.last && self.nodes[region.first as usize].state == State::Free
        })
    }

    /// The regions nothing lives in, in order of their numbers.
    pub(crate) fn wholly_free_regions(&self) -> impl Iterator<Item = u32> {
        (0..self.regions.len() as u32).filter(|region| self.is_wholly_free(*region))
    }

    /// How many frees ago something at the start of a region was last in use.
    pub(crate) fn region_age(&self, region: u32) -> u32 {
        self.region(region)
            .map_or(0, |region| self.clock.wrapping_sub(self.nodes[region.first as usize].freed))
    }

    /// The longest free piece. Looks through one list of each kind.
    pub(crate) fn largest_hole(&self) -> Option<Hole> {
        let longest = [&self.whole, &self.torn]
            .into_iter()
            .filter_map(|lists| lists.last().map(|list| lists.head(list)))
            .flat_map(|head| self.chain(head))
            .max_by_key(|i| (self.nodes[*i as usize].len, std::cmp::Reverse(*i)))?;
        let node = &self.nodes[longest as usize];
        let block = |i: u32| (i != NIL).then_some(BlockId(i));
        Some(Hole {
            region: node.region,
            offset: u64::from(node.start) * GRANULE,
            bytes: u64::from(node.len) * GRANULE,
            below: block(node.below),
            above: block(node.above),
        })
    }

    /// Bytes of the longest free piece that has memory behind all of it.
    pub(crate) fn largest_mapped(&self) -> u64 {
        let head = self.whole.last().map(|list| self.whole.head(list));
        let longest =
            head.into_iter().flat_map(|head| self.chain(head)).map(|i| self.nodes[i as usize].len).max();
        u64::from(longest.unwrap_or(0)) * GRANULE
    }

    /// Everything, region by region, in address order.
    pub(crate) fn walk(&self) -> impl Iterator<Item = Piece> {
        self.regions.iter().flatten().flat_map(|region| self.column(region.first)).map(|i| {
            let node = &self.nodes[i as usize];
            Piece {
                region: node.region,
                offset: u64::from(node.start) * GRANULE,
                bytes: u64::from(node.len) * GRANULE,
                unmapped: u64::from(node.bare) * GRANULE,
                block: (node.state == State::Live).then_some(BlockId(i)),
            }
        })
    }

    /// The runs of whole mapped pages inside free pieces, least recently freed first. Unmapping one and
    /// saying so with [`Range::unmapped`] leaves the others of the answer as they are.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        if self.page == 0 {
            return Vec::new();
        }
        let mut idle = Vec::new();
        for lists in [&self.whole, &self.torn] {
            let mut list = lists.first_from(list_of(self.page));
            while let Some(at) = list {
                for i in self.chain(lists.head(at)) {
                    self.idle_of(i, &mut idle);
                }
                list = lists.first_from(at + 1);
            }
        }
        idle.sort_by_key(|idle| (std::cmp::Reverse(idle.age), idle.region, idle.bytes.start));
        idle
    }

    fn idle_of(&self, piece: u32, idle: &mut Vec<Idle>) {
        let node = &self.nodes[piece as usize];
        let Some(region) = self.region(node.region) else { return };
        let age = self.clock.wrapping_sub(node.freed);
        let runs = region.pages.runs(region.pages.within(node.start, node.end()), true);
        idle.extend(runs.map(|bytes| Idle { piece, region: node.region, bytes, age }));
    }

    fn region(&self, region: u32) -> Option<&Region> {
        self.regions.get(region as usize)?.as_ref()
    }

    /// A list from its head on.
    fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        self.follow(head, |node| node.next)
    }

    /// A region from its first node on.
    fn column(&self, first: u32) -> impl Iterator<Item = u32> {
        self.follow(first, |node| node.above)
    }

    fn follow(&self, from: u32, next: fn(&Node) -> u32) -> impl Iterator<Item = u32> {
        let mut i = from;
        std::iter::from_fn(move || {
            let at = i;
            i = next(self.nodes.get(at as usize)?);
            Some(at)
        })
    }
}
