//! What an out-of-memory error tells: who has the memory, what will come back, and what the largest hole lies between.

use super::{
    home::Home,
    pool::PoolShared,
    range::BlockId,
    state::{NOBODY, State},
    stats::Tag,
};
use crate::error::MemoryReport;

impl State {
    /// What there is and who has it.
    pub(super) fn report(&mut self, pool: &PoolShared, asked: u64, tag: Option<Tag>) -> MemoryReport {
        let stats = self.snapshot();
        let mut by_tag: Vec<_> = Tag::ALL
            .iter()
            .zip(stats.by_tag)
            .filter(|&(_, bytes)| bytes > 0)
            .map(|(tag, bytes)| (tag.name().to_owned(), bytes))
            .collect();
        by_tag.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        let beside = self
            .range
            .largest_hole()
            .map_or_else(Default::default, |hole| [hole.below, hole.above].map(|block| self.label_of(block)));
        let home: &Home = &pool.home;
        MemoryReport {
            asked,
            limit: tag.map_or(pool.options.limit.min(home.limit()), |tag| pool.options.budgets[tag as usize]),
            tag: tag.map_or_else(String::new, |tag| tag.name().to_owned()),
            live: stats.live,
            retiring: stats.retiring,
            free: stats.free,
            largest_free: stats.largest_free,
            reserved: stats.reserved,
            by_tag,
            by_queue: self.retire.pending().collect(),
            beside_largest: beside,
        }
    }

    fn label_of(&mut self, block: Option<BlockId>) -> String {
        let slot = block.and_then(|block| self.holders.get(block.index()).copied());
        slot.filter(|slot| *slot != NOBODY).map_or_else(String::new, |slot| self.slab.label(slot))
    }
}
