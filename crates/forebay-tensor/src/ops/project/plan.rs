//! How a launch is shared out: a block for each multiprocessor, with as many warps as leave room for the block of the next launch.
//!
//! Next room: `cuda.cu`, which has the same numbers.

use std::cmp::Reverse;

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
/// Of a few rows: bytes of a stage of one of them in the room, and those that a kernel copies; floats from the sums of one to those of
/// the next; columns whose squares are one number; and bytes of a barrier.
pub(super) const STAGE_BYTES: usize = STAGE * 48;
const COPIED_BYTES: usize = STAGE * 40;
const APART: usize = ROWS + 4;
pub(super) const SQUARES: usize = 128;
const BARRIER: usize = 8;
/// The most warps of a block of a few rows.
const MOST_WARPS_OF_FEW: usize = 12;
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

    /// How products of one row are shared out, of an op that was checked.
    pub(super) fn one(&self, op: &Project<'_>, layout: &PanelLayout) -> Result<Shares> {
        let [count, width] = [op.x.shape()[0], op.x.shape()[1]];
        let blocks = self.blocks(op.maps, op.finish);
        let warps = self.warps(layout, width).unwrap_or(FEWEST_WARPS);
        let batch = self.batch(warps, blocks.panels, layout, width);
        let bytes = shared_bytes(warps, batch, layout, width).max(self.alone(op.maps));
        blocks.shares(count, Block { warps, batch, run: 1, bytes })
    }

    /// How products of a few rows are shared out, where there is room for the rows.
    pub(super) fn few(&self, op: &Project<'_>, maps: &[Map<'_>], layout: &PanelLayout) -> Option<Shares> {
        let [count, width] = [op.x.shape()[0], op.x.shape()[1]];
        let blocks = self.blocks(maps, op.finish);
        let rows = Few { count, width, layout };
        blocks.shares(1, self.block_of_few(&rows, &blocks)?).ok()
    }

    /// What a block of a few rows has. It shares half of the memory at least, so that a multiprocessor never has two of them.
    fn block_of_few(&self, rows: &Few<'_>, blocks: &Blocks) -> Option<Block> {
        let [all, most] = self.shared;
        let mut warps = (FEWEST_WARPS..=MOST_WARPS_OF_FEW).rev().step_by(2);
        let block = warps.find_map(|warps| rows.block(warps, blocks, most.saturating_sub(FIXED)))?;
        Some(Block { bytes: block.bytes.max(all / 2), ..block })
    }

    /// The fewest bytes that blocks of these maps share.
    fn alone(&self, maps: &[Map<'_>]) -> usize {
        if maps.len() == 1 { self.shared[0] / 2 - SHORT_OF_HALF } else { 0 }
    }

    fn blocks(&self, maps: &[Map<'_>], finish: Finish) -> Blocks {
        let panels = |map: &Map<'_>| map.weight.shape()[0].div_ceil(ROWS);
        let (units, panels_of_unit): (usize, usize) = match finish {
            Finish::Gate(_) => (panels(&maps[0]), 2),
            _ => (maps.iter().map(panels).sum(), 1),
        };
        let count = units.min(self.multiprocessors);
        Blocks { count, panels: units.div_ceil(count.max(1)) * panels_of_unit, panels_of_unit }
    }
}

/// How a launch is shared out: batches of panels that are ended at a time, and runs of stages that warps take turns at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    pub(super) grid: Grid,
    pub(super) batch: u32,
    pub(super) run: u32,
}

/// Blocks of a launch, the panels of each, and how many of these are ended by the same threads.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    count: usize,
    panels: usize,
    panels_of_unit: usize,
}

impl Blocks {
    fn shares(&self, times: usize, block: Block) -> Result<Shares> {
        let Block { warps, batch, run, bytes } = block;
        let shared_bytes = size(Project::NAME, "shared bytes", bytes)?;
        let groups = [groups(Project::NAME, self.count)?, groups(Project::NAME, times)?, 1];
        let grid = Grid { groups, threads: [(warps * WARP) as u32, 1, 1], shared_bytes };
        Ok(Shares { grid, batch: batch as u32, run: run as u32 })
    }
}

/// What a block has: warps, panels that they sum at a time, stages of a run, and bytes that they share.
#[derive(Clone, Copy, Debug)]
struct Block {
    warps: usize,
    batch: usize,
    run: usize,
    bytes: usize,
}

/// A few rows, and how the weights that they meet lie.
#[derive(Clone, Copy, Debug)]
struct Few<'a> {
    count: usize,
    width: usize,
    layout: &'a PanelLayout,
}

impl Few<'_> {
    /// What a block of so many warps has, where it can end a panel and does not share more than `limit` bytes: of runs that fit
    /// the quickest, and of those the longest.
    fn block(&self, warps: usize, blocks: &Blocks, limit: usize) -> Option<Block> {
        let Blocks { panels, panels_of_unit, .. } = *blocks;
        let (stages, columns) = (stages_of(self.width), columns_of(self.count));
        let at_once = warps * WARP / (ROWS * self.count) * panels_of_unit;
        let batch = panels.next_multiple_of(2).min(at_once);
        // A batch is summed while the next one is multiplied, if there is one.
        let sums = if panels > batch { 2 * batch } else { batch } * columns * APART * 4;
        let block = |run: usize| {
            let bytes = stages * (COPIED_BYTES * columns + BARRIER)
                + sums * stages.div_ceil(run).min(warps)
                + warps * SLOTS * stage_bytes(self.layout);
            Block { warps, batch, run, bytes }
        };
        // Stages that the warp with the most of them has.
        let time = |run: usize| {
            let turns = |panels: usize| (panels * stages.div_ceil(run)).div_ceil(warps);
            (panels / batch * turns(batch) + turns(panels % batch)) * run
        };
        let runs = (0..usize::BITS).map(|power| 1 << power).take_while(|run| *run < 2 * stages);
        let fit =
            runs.filter(|_| batch >= panels_of_unit.max(1)).map(block).filter(|block| block.bytes <= limit);
        fit.min_by_key(|block| (time(block.run), Reverse(block.run)))
    }
}

/// Columns of tensor cores that a few rows have: an even number.
pub(super) fn columns_of(count: usize) -> usize {
    count.next_multiple_of(2)
}

/// Stages of a panel.
pub(super) fn stages_of(width: usize) -> usize {
    width.div_ceil(COLUMNS * STAGE)
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
    let parts = stages_of(width).min(warps);
    width / COLUMNS * PIECE + 2 * batch * ROWS * 4 * parts + warps * SLOTS * stage_bytes(layout)
}

/// Bytes of a stage of a panel.
fn stage_bytes(layout: &PanelLayout) -> usize {
    ROWS * layout.side_bytes() * (STAGE * COLUMNS / layout.span) + 64 * layout.bits * STAGE
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

    #[test]
    fn a_few_rows_have_room_and_all_warps_have_stages() {
        let large = Card { multiprocessors: 132, shared: [228 << 10, 227 << 10] };
        let of = |dtype| PanelLayout::of(dtype, None).unwrap();
        let block = |dtype, count, width, panels, panels_of_unit| {
            let (layout, blocks) = (of(dtype), Blocks { count: 132, panels, panels_of_unit });
            let rows = Few { count, width, layout: &layout };
            large.block_of_few(&rows, &blocks).map(|block| (block.warps, block.batch, block.run))
        };
        // Of one batch, of two, and where a warp has several runs of a panel.
        assert_eq!(block(DType::Q4_K, 8, 4096, 2, 1), Some((12, 2, 1)));
        assert_eq!(block(DType::Q4_K, 8, 4096, 12, 2), Some((12, 6, 8)));
        assert_eq!(block(DType::Q4_K, 8, 12_288, 2, 1), Some((12, 2, 8)));
        // Wider rows have room where there are fewer of them.
        assert_eq!(block(DType::Q4_K, 8, 28_672, 2, 1), None);
        assert!(block(DType::Q4_K, 4, 28_672, 2, 1).is_some());
        for (dtype, count, width) in
            [(DType::Q6_K, 8, 12_288), (DType::Q8_0, 8, 12_288), (DType::Q8_0, 2, 32)]
        {
            for (panels, of_unit) in [(1, 1), (2, 2), (3, 1), (72, 1), (6, 2)] {
                let (warps, batch, run) = block(dtype, count, width, panels, of_unit).unwrap();
                assert!(
                    batch >= of_unit && batch * ROWS * count / of_unit <= warps * WARP,
                    "{batch} of {panels}"
                );
                assert!(run.is_power_of_two() && run < 2 * stages_of(width));
            }
        }
    }
}
