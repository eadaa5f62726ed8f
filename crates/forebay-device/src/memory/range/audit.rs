//! The invariants of a range, checked from scratch. Tests call it after every move; nothing else does.
//!
//! Shares no counting with what it checks: it walks regions, lists and pages one granule at a time where it
//! can.

use super::{GRANULE, NIL, Range, State, lists::shortest_in};

impl Range {
    /// Says which invariant does not hold.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let mut free = std::collections::BTreeSet::new();
        let (mut total, mut free_len, mut bare, mut bare_free, mut blocks) = (0, 0, 0, 0, 0);
        for (number, region) in self.regions.iter().enumerate() {
            let Some(region) = region else { continue };
            let (mut i, mut below, mut at, mut was_free) = (region.first, NIL, 0, false);
            while i != NIL {
                let node = &self.nodes[i as usize];
                let here = format!("region {number}, node {i} at {at}: {node:?}");
                if node.start != at || node.len == 0 || node.region as usize != number || node.below != below
                {
                    return Err(format!("1. does not follow what is below it: {here}"));
                }
                let is_free = node.state == State::Free;
                if is_free && was_free {
                    return Err(format!("2. two free nodes touch: {here}"));
                }
                let recount = region.pages.recount(node.start, node.end());
                if recount != node.bare {
                    return Err(format!("4. {recount} granules are bare: {here}"));
                }
                match node.state {
                    State::Spare => return Err(format!("1. a spare node is in a region: {here}")),
                    State::Live => blocks += 1,
                    State::Free => {
                        free.insert(i);
                        free_len += u64::from(node.len);
                        bare_free += u64::from(node.bare);
                    }
                }
                total += u64::from(node.len);
                bare += u64::from(node.bare);
                (was_free, at, below, i) = (is_free, at + node.len, i, node.above);
            }
            if at != region.len || below != region.last {
                return Err(format!("1. region {number} ends at {at} by node {below}: {region:?}"));
            }
        }
        let said = (self.total, self.free, self.bare, self.bare_free, self.blocks, self.pieces as usize);
        let counted = (total, free_len, bare, bare_free, blocks, free.len());
        if said != counted {
            return Err(format!("totals say {said:?}, the nodes {counted:?}"));
        }
        self.audit_lists(free)
    }

    fn audit_lists(&self, mut free: std::collections::BTreeSet<u32>) -> Result<(), String> {
        for (lists, whole) in [(&self.whole, true), (&self.torn, false)] {
            let mut from = 0;
            for list in 0..lists.count() {
                let (mut i, mut prev) = (lists.head(list), NIL);
                if (i != NIL) != (lists.first_from(list) == Some(list)) {
                    return Err(format!("3. the bitmaps are wrong about list {list} (whole: {whole})"));
                }
                while i != NIL {
                    let node = &self.nodes[i as usize];
                    let fits = shortest_in(list) <= node.len
                        && (list + 1 == lists.count() || node.len < shortest_in(list + 1));
                    if !fits || (node.bare == 0) != whole || node.prev != prev || !free.remove(&i) {
                        return Err(format!("3. list {list} (whole: {whole}) has node {i}: {node:?}"));
                    }
                    (prev, i) = (i, node.next);
                    from = list;
                }
            }
            if lists.last().unwrap_or(0) != from {
                return Err(format!("3. the bitmaps are wrong about the last list (whole: {whole})"));
            }
        }
        if free.is_empty() { Ok(()) } else { Err(format!("3. in no list: {free:?}")) }
    }

    /// Whether a byte of a region has memory behind it, straight from the page bits.
    pub(crate) fn is_mapped(&self, region: u32, byte: u64) -> bool {
        let granule = (byte / GRANULE) as u32;
        self.regions[region as usize]
            .as_ref()
            .is_some_and(|region| region.pages.recount(granule, granule + 1) == 0)
    }
}
