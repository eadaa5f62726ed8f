//! How a launch is shared out: a block for each multiprocessor, with as many warps as leave room for the block of the next launch.
//!
//! Next room: `cuda.cu`, which has the same numbers.

use forebay_device::{Caps, Grid};

use super::{Finish, Map, Project};
use crate::{
    Op, Result,
    op::{groups, size},
    quant::panel::{COLUMNS, PanelLayout, ROWS},
};

const WARP: usize = 32;
/// The most warps of a block, the fewest that are worth leaving room for, and the fewest.
const MOST_WARPS: usize = 16;
const ENOUGH_WARPS: usize = 8;
const FEWEST_WARPS: usize = 2;
/// Stages that a warp has in shared memory, and how many times 32 columns each has.
const SLOTS: usize = 2;
const STAGE: usize = 8;
/// Panels whose products are summed at a time: what warps leave room for, and the most; there is room for two times so many.
const PANELS: usize = 8;
const MOST_PANELS: usize = 16;
/// Bytes of 32 elements of the row.
const PIECE: usize = 48;
/// What blocks share that does not depend on the launch, and what the driver keeps of each.
const FIXED: usize = 2 << 10;
/// What a block of one map leaves of half the memory, so that a multiprocessor never has two of them, and still has room for one that
/// stays below half. What comes before such a launch may leave some multiprocessors free and others not.
const SHORT_OF_HALF: usize = 1280;

/// What a plan has to know of a card.
#[derive(Clone, Copy, Debug)]
pub(super) struct Card {
    multiprocessors: usize,
    /// Bytes that the blocks of a multiprocessor share, and those that one block may have.
    shared: [usize; 2],
}

impl Card {
    /// A card that has an engine for copies to shared memory, for which there is an image of its own.
    pub(super) fn of(caps: &Caps) -> Option<Self> {
        let shared = match caps.architecture {
            90 | 100 => [228 << 10, 227 << 10],
            120 => [100 << 10, 99 << 10],
            _ => return None,
        };
        Some(Self { multiprocessors: caps.workers.max(1), shared })
    }

    /// Warps of a block, where a row and two warps have room.
    fn warps(&self, layout: &PanelLayout, width: usize) -> Option<usize> {
        let [all, most] = self.shared;
        let most_of = |fewest: usize, limit: usize| {
            let fits =
                |warps: &usize| shared_bytes(*warps, fewest_panels(*warps), layout, width) + FIXED <= limit;
            (fewest..=MOST_WARPS).rev().step_by(2).find(fits)
        };
        most_of(ENOUGH_WARPS, all / 2).or_else(|| most_of(FEWEST_WARPS, most))
    }

    /// Panels at a time, of as many as a block has: whoever ends them waits for all warps, so the fewer times the better.
    fn batch(&self, warps: usize, panels: usize, layout: &PanelLayout, width: usize) -> usize {
        let [all, most] = self.shared;
        let bytes = |batch| shared_bytes(warps, batch, layout, width) + FIXED;
        let fewest = fewest_panels(warps);
        let limit = if bytes(fewest) <= all / 2 { all / 2 } else { most };
        let wanted = panels.next_multiple_of(2).min(MOST_PANELS).min(panels_ended(warps));
        (fewest..=wanted).rev().step_by(2).find(|batch| bytes(*batch) <= limit).unwrap_or(fewest)
    }

    /// Whether there is room for a row of this width.
    pub(super) fn fits(&self, layout: &PanelLayout, width: usize) -> bool {
        self.warps(layout, width).is_some()
    }

    /// The grid of an op that was checked, and how many panels a block sums at a time.
    pub(super) fn grid(&self, op: &Project<'_>, layout: &PanelLayout) -> Result<(Grid, u32)> {
        let panels = |map: &Map<'_>| map.weight.shape()[0].div_ceil(ROWS);
        let (units, panels_of_unit): (usize, usize) = match op.finish {
            Finish::Gate(_) => (panels(&op.maps[0]), 2),
            _ => (op.maps.iter().map(panels).sum(), 1),
        };
        let [count, width] = [op.x.shape()[0], op.x.shape()[1]];
        let blocks = units.min(self.multiprocessors);
        let warps = self.warps(layout, width).unwrap_or(FEWEST_WARPS);
        let batch = self.batch(warps, units.div_ceil(blocks.max(1)) * panels_of_unit, layout, width);
        let alone = if op.maps.len() == 1 { self.shared[0] / 2 - SHORT_OF_HALF } else { 0 };
        let bytes = shared_bytes(warps, batch, layout, width).max(alone);
        let shared_bytes = size(Project::NAME, "shared bytes", bytes)?;
        let groups = [groups(Project::NAME, blocks)?, groups(Project::NAME, count)?, 1];
        Ok((Grid { groups, threads: [(warps * WARP) as u32, 1, 1], shared_bytes }, batch as u32))
    }
}

/// Panels whose rows have a thread each.
fn panels_ended(warps: usize) -> usize {
    warps * WARP / ROWS
}

/// The fewest panels at a time that so many warps are given room for.
fn fewest_panels(warps: usize) -> usize {
    PANELS.min(panels_ended(warps))
}

/// Bytes that a block shares, of so many warps and for so many panels at a time.
fn shared_bytes(warps: usize, batch: usize, layout: &PanelLayout, width: usize) -> usize {
    let stage = ROWS * layout.side_bytes() * (STAGE * COLUMNS / layout.span) + 64 * layout.bits * STAGE;
    let parts = width.div_ceil(COLUMNS * STAGE).min(warps);
    width / COLUMNS * PIECE + 2 * batch * ROWS * 4 * parts + warps * SLOTS * stage
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn blocks_leave_room_for_the_next_where_they_can() {
        let card = |[all, most]: [usize; 2]| Card { multiprocessors: 132, shared: [all << 10, most << 10] };
        let (large, small) = (card([228, 227]), card([100, 99]));
        let of = |dtype| PanelLayout::of(dtype, None).unwrap();
        assert_eq!(shared_bytes(16, 8, &of(DType::Q4_K), 4096), 128 * 48 + 16 * 16 * 4 * 16 + 32 * 2304);
        assert_eq!(large.warps(&of(DType::Q4_K), 12_288), Some(16));
        assert_eq!(large.warps(&of(DType::Q6_K), 12_288), Some(12));
        assert_eq!(large.warps(&of(DType::Q8_0), 65_536), Some(12));
        assert_eq!(small.warps(&of(DType::Q4_K), 4096), Some(16));
        assert_eq!(small.warps(&of(DType::Q4_K), 65_536), None);
        // As many as a block has, while a block of the next launch still has room.
        let batch = |panels, width| large.batch(16, panels, &of(DType::Q4_K), width);
        assert_eq!([batch(3, 4096), batch(12, 4096), batch(72, 4096), batch(12, 12_288)], [8, 12, 16, 10]);
        // Each of their rows has a thread.
        assert_eq!((fewest_panels(2), large.batch(2, 72, &of(DType::Q4_K), 4096)), (4, 4));
    }
}
