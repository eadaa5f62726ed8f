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
/// Panels whose products are summed at a time; there is room for two times so many.
const PANELS: usize = 8;
/// Bytes of 32 elements of the row.
const PIECE: usize = 48;
/// What blocks share that does not depend on the launch, and what the driver keeps of each.
const FIXED: usize = 2 << 10;

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
            let warps = (fewest..=MOST_WARPS).rev().step_by(2);
            warps.into_iter().find(|warps| shared_bytes(*warps, layout, width) + FIXED <= limit)
        };
        most_of(ENOUGH_WARPS, all / 2).or_else(|| most_of(FEWEST_WARPS, most))
    }

    /// So many bytes that a multiprocessor has room for one such block beside one of the others.
    fn alone(&self) -> usize {
        self.shared[0] / 2 - FIXED * 5 / 8
    }

    /// Whether there is room for a row of this width.
    pub(super) fn fits(&self, layout: &PanelLayout, width: usize) -> bool {
        self.warps(layout, width).is_some()
    }

    /// The grid of an op that was checked.
    pub(super) fn grid(&self, op: &Project<'_>, layout: &PanelLayout) -> Result<Grid> {
        let panels = |map: &Map<'_>| map.weight.shape()[0].div_ceil(ROWS);
        let units: usize = match op.finish {
            Finish::Gate(_) => panels(&op.maps[0]),
            _ => op.maps.iter().map(panels).sum(),
        };
        let [count, width] = [op.x.shape()[0], op.x.shape()[1]];
        let blocks = groups(Project::NAME, units.min(self.multiprocessors))?;
        let warps = self.warps(layout, width).unwrap_or(FEWEST_WARPS);
        let mut bytes = shared_bytes(warps, layout, width);
        if op.norm.is_none() {
            bytes = bytes.max(self.alone());
        }
        let shared_bytes = size(Project::NAME, "shared bytes", bytes)?;
        let groups = [blocks, groups(Project::NAME, count)?, 1];
        Ok(Grid { groups, threads: [(warps * WARP) as u32, 1, 1], shared_bytes })
    }
}

/// Bytes that a block of so many warps shares.
fn shared_bytes(warps: usize, layout: &PanelLayout, width: usize) -> usize {
    let stage = ROWS * layout.side_bytes() * (STAGE * COLUMNS / layout.span) + 64 * layout.bits * STAGE;
    let parts = width.div_ceil(COLUMNS * STAGE).min(warps);
    width / COLUMNS * PIECE + 2 * PANELS * ROWS * 4 * parts + warps * SLOTS * stage
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
        assert_eq!(shared_bytes(16, &of(DType::Q4_K), 4096), 128 * 48 + 16 * 16 * 4 * 16 + 32 * 2304);
        assert_eq!(large.warps(&of(DType::Q4_K), 12_288), Some(16));
        assert_eq!(large.warps(&of(DType::Q6_K), 12_288), Some(12));
        assert_eq!(large.warps(&of(DType::Q8_0), 65_536), Some(12));
        assert_eq!(small.warps(&of(DType::Q4_K), 4096), Some(16));
        assert_eq!(small.warps(&of(DType::Q4_K), 65_536), None);
    }
}
