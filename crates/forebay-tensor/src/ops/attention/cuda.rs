//! `attention` on a card: how a launch is cut into blocks, and what a block shares. It knows sizes only.
//!
//! The numbers are those of `cuda.cu`, `matrix.cu` and `warpgroups.cu`, where blocks are described.

use forebay_device::{Device, Grid, Kernel, KernelDef, Signature};

use super::{MOST_SPLIT, cpu};
use crate::{
    DType, Result, Served,
    op::{Loaded, groups},
};

/// The most parts.
const MOST_PARTS: usize = 64;
/// Parts of all caches together, where each has a position of its own, that a card is busy with; and the most that each has at least.
const BUSY_PARTS: usize = 2 * MOST_PARTS;
const FEWEST_PARTS: usize = 8;
/// The fewest positions of a part.
pub(super) const LEAST_PART: usize = 32;
/// The most positions of a tile, and the fewest.
const TILES: [usize; 2] = [64, 8];
/// Bytes that tiles of keys and values stay below, while they can.
const TILE_BYTES: usize = 40 << 10;
/// Threads of a block, by warps, and of one that joins.
const WARPS: usize = 8;
const THREADS: u32 = 32 * WARPS as u32;
const JOIN_THREADS: usize = 512;
/// Rows of a block that multiplies matrices, its threads, the widths that it is made for, and the keys of a tile for each.
const MATRIX_ROWS: usize = 64;
const MATRIX_THREADS: u32 = 128;
const MATRIX_TILES: [(usize, usize); 4] = [(64, 64), (96, 64), (128, 64), (256, 32)];
/// The widest but the last.
const NARROW: usize = 128;
/// Elements that are copied at a time, and tiles that a block has at once: of keys and values, this one and the next.
const EIGHT: usize = 8;
const TILES_AT_ONCE: usize = 4;
/// What tiles begin at multiples of.
const PIECE: usize = 16;

/// The cards whose warpgroups multiply; rows of a block there, its threads, the width and the keys of a tile, and tiles at once.
const CARDS: u32 = 90;
const GROUP_ROWS: usize = 128;
const GROUP_THREADS: u32 = 384;
const GROUP_WIDTH: usize = 128;
const GROUP_TILE: usize = 128;
const GROUP_TILES: usize = 4;
/// What such a block aligns its tiles to.
const TURN: usize = 1024;

/// What kernels that multiply matrices serve, and their functions: any of which a card has, and last by warpgroups.
const MATRICES: [(&str, &str, &[u8]); 5] = [
    ("f16, in matrices", "attention_matrix_f16", MATRIX_SOURCE),
    ("bf16, in matrices", "attention_matrix_bf16", MATRIX_SOURCE),
    ("f16, in wide matrices", "attention_matrix_wide_f16", MATRIX_SOURCE),
    ("bf16, in wide matrices", "attention_matrix_wide_bf16", MATRIX_SOURCE),
    ("f16, by warpgroups", "attention_warpgroups_f16", include_bytes!("warpgroups.bundle")),
];
const MATRIX_SOURCE: &[u8] = include_bytes!("matrix.bundle");

/// The kernels that multiply matrices, which are there on cards only.
pub(super) fn served() -> [Served; 5] {
    MATRICES.map(|(types, entry, source)| {
        let def = KernelDef::new(entry, Signature::new(cpu::of_one_cache::<half::f16>().collect::<Vec<_>>()));
        Served::new(types, def.bundle(source, entry))
    })
}

/// Whether warpgroups of a card multiply.
pub(super) fn is_for(device: &Device) -> bool {
    device.caps().architecture == CARDS
}

/// Kernels that multiply matrices.
#[derive(Debug)]
pub(super) struct Matrices {
    any: [Kernel; 4],
    /// Where the card has what it needs.
    warpgroups: Option<Kernel>,
}

impl Matrices {
    /// Loads what [`served`] gave.
    pub(super) fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let (any, warpgroups) = served.split_at(MATRICES.len() - 1);
        let warpgroups = is_for(device).then(|| Kernel::load(device, warpgroups)).transpose()?;
        Ok(Self { any: Loaded::load(device, any)?, warpgroups })
    }

    /// The kernel that serves a launch, if one does, and its grid.
    pub(super) fn of(&self, op: &'static str, sizes: &Sizes) -> Result<Option<(&Kernel, Grid)>> {
        match (sizes.matrices(), &self.warpgroups) {
            (None, _) => Ok(None),
            (_, Some(kernel)) if sizes.suits_warpgroups() => Ok(Some((kernel, sizes.group_grid(op)?))),
            (Some(which), _) => Ok(Some((&self.any[which], sizes.matrix_grid(op)?))),
        }
    }
}

/// Parts that what is seen of a cache is cut into.
pub(super) fn parts_in(capacity: usize) -> usize {
    capacity.div_ceil(LEAST_PART).min(MOST_PARTS)
}

/// The same for each of so many caches: many keep a card busy with fewer parts each.
pub(super) fn parts_of_each(count: usize, capacity: usize) -> usize {
    let most = (BUSY_PARTS / count.max(1)).clamp(FEWEST_PARTS, MOST_PARTS);
    capacity.div_ceil(LEAST_PART).min(most)
}

/// The sizes of a launch that decide how it is cut.
pub(super) struct Sizes {
    pub(super) dtype: DType,
    /// Whether each position has a cache of its own, and is cut as if it were alone.
    pub(super) apart: bool,
    pub(super) count: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) width: usize,
    pub(super) value_width: usize,
}

impl Sizes {
    /// Positions that are cut together, and how often there are so many.
    fn together(&self) -> [usize; 2] {
        if self.apart { [1, self.count] } else { [self.count, 1] }
    }

    /// Rows of a block: heads of one key-value head at some positions.
    pub(super) fn rows(&self) -> usize {
        if self.together()[0] * self.heads / self.groups <= 4 { 4 } else { 8 }
    }

    fn row_bytes(&self) -> [usize; 2] {
        let bytes = |width: usize| width / self.dtype.block_elements() * self.dtype.block_bytes();
        [bytes(self.width), bytes(self.value_width)]
    }

    /// Positions of a tile.
    pub(super) fn tile(&self) -> usize {
        let [most, least] = TILES;
        let (bytes, mut tile) = (self.row_bytes().iter().sum::<usize>(), most);
        while tile > least && tile * bytes > TILE_BYTES {
            tile /= 2;
        }
        tile
    }

    /// The grid, for so many parts of each row.
    pub(super) fn grid(&self, op: &'static str, parts: usize) -> Result<Grid> {
        let (rows, tile, [count, times]) = (self.rows(), self.tile(), self.together());
        let blocks = self.groups * (count * self.heads / self.groups).div_ceil(rows) * parts;
        // Queries, then tiles, or in their place the sums of values of teams of warps.
        let queries = (rows * self.width.next_multiple_of(2) * 4).next_multiple_of(PIECE);
        let tiles: usize =
            self.row_bytes().map(|bytes| (tile * bytes + PIECE).next_multiple_of(PIECE)).iter().sum();
        let teams = WARPS / self.value_width.div_ceil(64).min(WARPS);
        let sums = teams * rows * self.value_width.next_multiple_of(2) * 4;
        let mut grid = Grid::linear(groups(op, blocks)?, THREADS);
        grid.groups[1] = groups(op, times)?;
        grid.shared_bytes = (queries + tiles.max(sums)) as u32;
        Ok(grid)
    }

    /// Which of the kernels that multiply matrices on any card serves, if one does: many positions, types that matrices can be of, and
    /// widths that are copied whole.
    pub(super) fn matrices(&self) -> Option<usize> {
        let widest = self.width.max(self.value_width);
        let whole = self.width.is_multiple_of(EIGHT) && self.value_width.is_multiple_of(EIGHT);
        let of = [DType::F16, DType::BF16].iter().position(|dtype| *dtype == self.dtype)?;
        let serves = !self.apart && self.count > MOST_SPLIT && whole && self.matrix_tile().is_some();
        serves.then_some(if widest > NARROW { of + 2 } else { of })
    }

    fn matrix_tile(&self) -> Option<(usize, usize)> {
        let widest = self.width.max(self.value_width);
        MATRIX_TILES.into_iter().find(|(width, _)| widest <= *width)
    }

    pub(super) fn suits_warpgroups(&self) -> bool {
        self.dtype == DType::F16 && [self.width, self.value_width] == [GROUP_WIDTH; 2]
    }

    /// The grid where warpgroups multiply.
    fn group_grid(&self, op: &'static str) -> Result<Grid> {
        let blocks = self.groups * (self.count * self.heads / self.groups).div_ceil(GROUP_ROWS);
        let mut grid = Grid::linear(groups(op, blocks)?, GROUP_THREADS);
        grid.shared_bytes = ((GROUP_TILES * GROUP_TILE + GROUP_ROWS) * GROUP_WIDTH * 2 + TURN) as u32;
        Ok(grid)
    }

    /// The grid of any kernel that multiplies matrices.
    fn matrix_grid(&self, op: &'static str) -> Result<Grid> {
        let blocks = self.groups * (self.count * self.heads / self.groups).div_ceil(MATRIX_ROWS);
        let elements = self.matrix_tile().map_or(0, |(width, keys)| (width + EIGHT) * keys);
        let mut grid = Grid::linear(groups(op, blocks)?, MATRIX_THREADS);
        grid.shared_bytes = (TILES_AT_ONCE * elements * 2) as u32;
        Ok(grid)
    }

    /// The grid that joins parts.
    pub(super) fn join_grid(&self, op: &'static str) -> Result<Grid> {
        let teams = (JOIN_THREADS / self.value_width.next_multiple_of(32)).max(1);
        let [count, times] = self.together();
        let mut grid = Grid::linear(groups(op, count * self.heads)?, JOIN_THREADS as u32);
        grid.groups[1] = groups(op, times)?;
        grid.shared_bytes = (teams * self.value_width * 4) as u32;
        Ok(grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_serve_many_positions_over_halves_of_widths_that_are_copied_whole() {
        let sizes = |dtype, count, width, value_width| Sizes {
            dtype,
            apart: false,
            count,
            heads: 4,
            groups: 2,
            width,
            value_width,
        };
        let of = |dtype, count, width, value_width| sizes(dtype, count, width, value_width).matrices();
        assert_eq!(of(DType::F16, 5, 128, 64), Some(0));
        assert_eq!(of(DType::BF16, 512, 8, 16), Some(1));
        assert_eq!(of(DType::F16, 512, 80, 136), Some(2));
        assert_eq!(of(DType::BF16, 512, 256, 8), Some(3));
        for (dtype, count, width, value_width) in [
            (DType::F16, 4, 64, 64),
            (DType::F32, 9, 64, 64),
            (DType::F16, 9, 68, 64),
            (DType::F16, 9, 64, 264),
        ] {
            assert_eq!(of(dtype, count, width, value_width), None, "{dtype} {count} {width} {value_width}");
        }
        for (width, bytes) in [(64, 4 * 64 * 72 * 2), (80, 4 * 64 * 104 * 2), (200, 4 * 32 * 264 * 2)] {
            let grid = sizes(DType::F16, 100, width, 64).matrix_grid("attention").unwrap();
            assert_eq!((grid.groups[0], grid.shared_bytes), (8, bytes));
        }
        let apart = Sizes { apart: true, ..sizes(DType::F16, 100, 64, 64) };
        assert_eq!(apart.matrices(), None, "rows of several caches share no matrix");
    }

    #[test]
    fn every_width_fits_the_memory_that_blocks_share_on_any_card() {
        for dtype in [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0] {
            for width in (1..=576).filter(|width| width % dtype.block_elements() == 0) {
                for (count, value_width) in [(1, width), (9, width), (9, dtype.block_elements()), (2, 576)] {
                    let sizes =
                        Sizes { dtype, apart: false, count, heads: 12, groups: 3, width, value_width };
                    let grid = sizes.grid("attention", 7).unwrap();
                    assert!(grid.shared_bytes < 88 << 10, "{dtype} {width} {value_width}");
                    let rows = if count == 1 { 4 } else { 8 };
                    assert_eq!(grid.groups[0] as usize, 3 * (count * 4).div_ceil(rows) * 7);
                    assert!(sizes.join_grid("attention").unwrap().shared_bytes <= 4 * 576);
                    let alone = Sizes { count: 1, ..sizes }.grid("attention", 7).unwrap();
                    let apart = Sizes { apart: true, ..sizes }.grid("attention", 7).unwrap();
                    assert_eq!(apart.groups, [alone.groups[0], count as u32, 1]);
                    assert_eq!(apart.shared_bytes, alone.shared_bytes);
                }
            }
        }
    }
}
