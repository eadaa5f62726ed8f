//! The moves of a range: finding a piece that fits, cutting, joining, filing under the right list.
//!
//! Each keeps what `mod.rs` states as invariants once the call it is part of has ended; in between, a node
//! that is in no list is in the hands of one function. Next rooms: `mod.rs`, which calls these, and `lists`.

use std::ops;

use super::{
    BlockId, End, GRANULE, Node, Range, State,
    lists::{Lists, NIL, list_of, list_over},
};

/// Entries of the list a request falls into that are looked at before a larger piece is cut: exact fits live
/// there.
const PROBES: usize = 4;

/// Entries that are looked at when no list holds only pieces that fit.
const LAST_RESORT: usize = 64;

/// A request, in granules.
#[derive(Clone, Copy)]
pub(super) struct Want {
    pub(super) len: u32,
    pub(super) align: u32,
    /// A piece this long fits wherever it starts.
    pub(super) sure: u32,
    pub(super) end: End,
}

impl Want {
    /// Where in `node` the block would start.
    #[inline]
    fn place(&self, node: &Node) -> Option<u32> {
        let room = node.len.checked_sub(self.len)?;
        if self.align == 1 {
            return Some(if self.end == End::Low { node.start } else { node.start + room });
        }
        let (low, high) = (u64::from(node.start), u64::from(node.start + room));
        let at = match self.end {
            End::Low => low.next_multiple_of(u64::from(self.align)),
            End::High => high - high % u64::from(self.align),
        };
        (low <= at && at <= high).then_some(at as u32)
    }
}

impl Range {
    pub(super) fn region_len(&self, bytes: u64) -> Option<u32> {
        let unit = u64::from(self.page.max(1)) * GRANULE;
        (bytes > 0 && bytes.is_multiple_of(unit)).then(|| u32::try_from(bytes / GRANULE).ok()).flatten()
    }

    #[inline]
    pub(super) fn live(&self, id: BlockId) -> Option<&Node> {
        self.nodes.get(id.0 as usize).filter(|node| node.state == State::Live)
    }

    /// A piece of `lists` the request fits in, and where in it.
    #[inline]
    pub(super) fn fit(&self, lists: &Lists, want: &Want) -> Option<(u32, u32)> {
        let own = list_of(want.len);
        if let Some(found) = self.scan(lists.head(own), want, PROBES) {
            return Some(found);
        }
        if let Some(list) = list_over(want.sure).and_then(|from| lists.first_from(from)) {
            let node = lists.head(list);
            return want.place(&self.nodes[node as usize]).map(|at| (node, at));
        }
        self.fit_last(lists, want)
    }

    /// No list holds only pieces that fit; the lists between may hold some that do.
    #[cold]
    fn fit_last(&self, lists: &Lists, want: &Want) -> Option<(u32, u32)> {
        let last = list_of(want.sure);
        let mut list = lists.first_from(list_of(want.len));
        while let Some(at) = list.filter(|at| *at <= last) {
            if let Some(found) = self.scan(lists.head(at), want, LAST_RESORT) {
                return Some(found);
            }
            list = lists.first_from(at + 1);
        }
        None
    }

    #[inline]
    fn scan(&self, head: u32, want: &Want, most: usize) -> Option<(u32, u32)> {
        let mut i = head;
        for _ in 0..most {
            if i == NIL {
                break;
            }
            let node = &self.nodes[i as usize];
            if let Some(at) = want.place(node) {
                return Some((i, at));
            }
            i = node.next;
        }
        None
    }

    /// A piece with unmapped pages that has room for the block in its mapped ones, at either end.
    pub(super) fn fit_mapped(&self, torn: &Lists, want: &Want) -> Option<(u32, u32)> {
        self.spots(torn, want).find(|&(i, at)| self.bare_at(i, at, want.len) == 0)
    }

    /// The piece and its end where the block takes the fewest pages that nothing else is in, and of these needs the
    /// fewest to be mapped, among the first that are looked at. Pages that something else is in cannot be given back
    /// anyway, so filling them costs nothing.
    pub(super) fn fit_thrifty(&self, torn: &Lists, want: &Want) -> Option<(u32, u32)> {
        self.spots(torn, want).min_by_key(|&(i, at)| {
            let node = &self.nodes[i as usize];
            self.regions[node.region as usize].as_ref().map_or((0, 0), |region| {
                let (own, free) =
                    (region.pages.around(at, at + want.len), region.pages.within(node.start, node.end()));
                let empty = own.end.min(free.end).saturating_sub(own.start.max(free.start));
                (empty, region.pages.runs(own, false).map(|run| run.end - run.start).sum::<u64>())
            })
        })
    }

    /// Both ends of the pieces that fit, shortest pieces first, up to a bound.
    fn spots(&self, lists: &Lists, want: &Want) -> impl Iterator<Item = (u32, u32)> {
        let other = match want.end {
            End::Low => End::High,
            End::High => End::Low,
        };
        let ends = [*want, Want { end: other, ..*want }];
        let mut list = lists.first_from(list_of(want.len));
        let mut i = list.map_or(NIL, |list| lists.head(list));
        let pieces = std::iter::from_fn(move || {
            while i == NIL {
                list = lists.first_from(list? + 1);
                i = list.map_or(NIL, |list| lists.head(list));
            }
            let at = i;
            i = self.nodes[i as usize].next;
            Some(at)
        });
        pieces.take(LAST_RESORT).flat_map(move |i| {
            let node = &self.nodes[i as usize];
            ends.into_iter().filter_map(move |want| want.place(node).map(|at| (i, at)))
        })
    }

    fn bare_at(&self, i: u32, at: u32, len: u32) -> u32 {
        self.bare_in(self.nodes[i as usize].region, at, at + len)
    }

    fn bare_in(&self, region: u32, start: u32, end: u32) -> u32 {
        self.regions[region as usize].as_ref().map_or(0, |region| region.pages.bare(start, end))
    }

    /// Makes `len` granules from `at` of a free piece a live block; what is left on either side stays free.
    #[inline]
    pub(super) fn take(&mut self, piece: u32, at: u32, len: u32) -> BlockId {
        self.unlink(piece);
        let mut block = piece;
        if at > self.nodes[piece as usize].start {
            let head = at - self.nodes[piece as usize].start;
            block = self.cut(piece, head);
            self.link(piece);
        }
        if self.nodes[block as usize].len > len {
            let tail = self.cut(block, len);
            self.link(tail);
        }
        self.nodes[block as usize].state = State::Live;
        self.blocks += 1;
        BlockId(block)
    }

    /// Splits a node that is in no list after its first `len` granules; the new node is the upper part.
    #[inline]
    pub(super) fn cut(&mut self, i: u32, len: u32) -> u32 {
        let node = self.nodes[i as usize];
        let start = node.start + len;
        let bare = if node.bare == 0 { 0 } else { self.bare_in(node.region, start, node.end()) };
        let upper =
            self.spawn(Node { start, len: node.len - len, below: i, bare, prev: NIL, next: NIL, ..node });
        self.nodes[i as usize].len = len;
        self.nodes[i as usize].bare -= bare;
        self.nodes[i as usize].above = upper;
        match node.above {
            NIL => self.set_last(node.region, upper),
            above => self.nodes[above as usize].below = upper,
        }
        upper
    }

    /// Makes a node that is in no list a free one, joined with its free neighbours.
    #[inline]
    pub(super) fn settle(&mut self, i: u32) {
        let (mut i, node) = (i, self.nodes[i as usize]);
        if node.above != NIL && self.nodes[node.above as usize].state == State::Free {
            self.unlink(node.above);
            self.join(i, node.above);
        }
        if node.below != NIL && self.nodes[node.below as usize].state == State::Free {
            self.unlink(node.below);
            self.join(node.below, i);
            i = node.below;
        }
        self.clock = self.clock.wrapping_add(1);
        self.nodes[i as usize].freed = self.clock;
        self.link(i);
    }

    /// Adds `upper` to `lower`; neither is in a list.
    #[inline]
    fn join(&mut self, lower: u32, upper: u32) {
        let gone = self.nodes[upper as usize];
        let node = &mut self.nodes[lower as usize];
        node.len += gone.len;
        node.bare += gone.bare;
        node.above = gone.above;
        match gone.above {
            NIL => self.set_last(gone.region, lower),
            above => self.nodes[above as usize].below = lower,
        }
        self.retire(upper);
    }

    /// Takes out of `bare` what lies in the pages of `span`, which are about to count as mapped.
    pub(super) fn clothe(&mut self, i: u32, span: &ops::Range<u32>) {
        let node = self.nodes[i as usize];
        let (start, end) = (node.start.max(span.start), node.end().min(span.end));
        if node.bare == 0 || start >= end {
            return;
        }
        let bare = self.bare_in(node.region, start, end);
        let free = node.state == State::Free;
        if free {
            self.unlink(i);
        }
        self.nodes[i as usize].bare -= bare;
        self.bare -= u64::from(bare);
        if free {
            self.link(i);
        }
    }

    /// Puts a node into the list its length and mapping say; it is free from here on.
    #[inline]
    pub(super) fn link(&mut self, i: u32) {
        let node = &mut self.nodes[i as usize];
        node.state = State::Free;
        self.pieces += 1;
        self.free += u64::from(node.len);
        self.bare_free += u64::from(node.bare);
        let lists = if node.bare == 0 { &mut self.whole } else { &mut self.torn };
        lists.push(&mut self.nodes, i);
    }

    #[inline]
    pub(super) fn unlink(&mut self, i: u32) {
        let node = &self.nodes[i as usize];
        self.pieces -= 1;
        self.free -= u64::from(node.len);
        self.bare_free -= u64::from(node.bare);
        let lists = if node.bare == 0 { &mut self.whole } else { &mut self.torn };
        lists.remove(&mut self.nodes, i);
    }

    pub(super) fn set_last(&mut self, region: u32, node: u32) {
        if let Some(region) = self.regions[region as usize].as_mut() {
            region.last = node;
        }
    }

    #[inline]
    pub(super) fn spawn(&mut self, node: Node) -> u32 {
        match self.spare {
            NIL => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
            i => {
                self.spare = self.nodes[i as usize].next;
                self.nodes[i as usize] = node;
                i
            }
        }
    }

    #[inline]
    pub(super) fn retire(&mut self, i: u32) {
        self.nodes[i as usize].state = State::Spare;
        self.nodes[i as usize].next = self.spare;
        self.spare = i;
    }
}
