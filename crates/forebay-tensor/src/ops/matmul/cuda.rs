//! `matmul` on a card, of weights in rows: which kernel serves how many rows of activations, and how many blocks run it.
//!
//! Next room: `cuda.cu`, the kernels.

use forebay_device::{Grid, KernelDef, Param, Signature};

use super::Matmul;
use crate::{
    DType, Op, Result,
    op::{THREADS, groups, size},
    tiles::{
        Rows,
        cuda::{THREADS_OF_ROWS, entry_of_rows, rows_of_block},
    },
};

/// The most rows of activations that warps multiply; more are multiplied in tiles.
const FEW: usize = 16;
/// Rows of activations that a block of warps multiplies.
const TOGETHER: usize = 8;
/// Warps of a block.
const WARPS: usize = 4;
/// So few rows are shared by the warps of a block where they have so many bytes.
const NOT_ALL: usize = 2048;
const LONG: usize = 8192;
/// Rows of either side of a tile.
const SMALL: usize = 64;
const LARGE: usize = 128;
/// As many large tiles keep a card busy.
const BUSY: usize = 96;
/// Shared memory for each row of a tile: two stages of two sides, each in two numbers of 40 elements of 2 bytes.
const BYTES_OF_ROW: usize = 2 * 2 * 2 * 40 * 2;

const BUNDLE: &[u8] = include_bytes!("cuda.bundle");

/// Weight, activations, output; rows of the weight, how it lies, its width, and rows of activations.
pub(super) fn signature(x: Param) -> Signature {
    let buffers = [Param::read::<u8>(), x, Param::write::<f32>()];
    Signature::new([&buffers[..], &[const { Param::u32() }; 4]].concat())
}

/// The kernel for a few rows of activations.
pub(super) fn rows(name: &str, dtype: DType) -> KernelDef {
    let entries = ["matmul_rows_f32", "matmul_rows_f16", "matmul_rows_bf16", "matmul_rows_blocks"];
    KernelDef::new(name, signature(Param::read::<f32>())).bundle(BUNDLE, entry_of_rows(dtype, entries))
}

/// The kernels for many; types that are not plain have none for large tiles.
pub(super) fn tiles(dtype: DType, rows: Rows) -> Option<KernelDef> {
    let small = [
        "matmul_rows_small_tiles_f32",
        "matmul_rows_small_tiles_f16",
        "matmul_rows_small_tiles_bf16",
        "matmul_rows_small_tiles_blocks",
    ];
    let large =
        ["matmul_rows_large_tiles_f32", "matmul_rows_large_tiles_f16", "matmul_rows_large_tiles_bf16", ""];
    let (size, entries) = match rows {
        Rows::By64 => ("small", small),
        Rows::By128 if dtype.is_plain() => ("large", large),
        _ => return None,
    };
    let kernel = KernelDef::new(format!("matmul_{size}_tiles_{dtype}"), signature(Param::read::<f32>()));
    Some(kernel.bundle(BUNDLE, entry_of_rows(dtype, entries)))
}

/// How many rows of activations are multiplied at a time, of so many, by a weight of so many rows.
pub(super) fn rows_at_a_time(dtype: DType, count: usize, rows: usize) -> Rows {
    match count {
        0 | 1 => Rows::One,
        2..=FEW => Rows::Few,
        _ if dtype.is_plain() && tiles_of(count, rows, LARGE) >= BUSY => Rows::By128,
        _ => Rows::By64,
    }
}

fn tiles_of(count: usize, rows: usize, side: usize) -> usize {
    count.div_ceil(side).saturating_mul(rows.div_ceil(side))
}

/// Rows of the weight of a block of warps. Few long rows are shared by all warps of a block, so that every multiprocessor
/// has some; how many blocks there are tells the kernel so.
fn rows_of_warps(dtype: DType, rows: usize, width: usize) -> usize {
    let long = width.saturating_mul(dtype.block_bytes()) >= LONG;
    if dtype.is_plain() && rows <= NOT_ALL && long {
        rows_of_block(dtype) / WARPS
    } else {
        rows_of_block(dtype)
    }
}

/// The blocks for so many rows of activations and of the weight.
pub(super) fn grid(dtype: DType, count: usize, [rows, width]: [usize; 2]) -> Result<Grid> {
    let groups = |blocks| groups(Matmul::NAME, blocks);
    let side = match rows_at_a_time(dtype, count, rows) {
        Rows::One | Rows::Few => {
            let blocks =
                count.div_ceil(TOGETHER).saturating_mul(rows.div_ceil(rows_of_warps(dtype, rows, width)));
            return Ok(Grid::linear(groups(blocks)?, size(Matmul::NAME, "threads", THREADS_OF_ROWS)?));
        }
        Rows::By64 => SMALL,
        Rows::By128 => LARGE,
    };
    let shared_bytes = size(Matmul::NAME, "shared bytes", side * BYTES_OF_ROW)?;
    Ok(Grid { shared_bytes, ..Grid::linear(groups(tiles_of(count, rows, side))?, THREADS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_large_where_they_keep_a_card_busy() {
        assert_eq!(rows_at_a_time(DType::F16, 16, 1 << 20), Rows::Few);
        assert_eq!(rows_at_a_time(DType::F16, 17, 4096), Rows::By64);
        assert_eq!(rows_at_a_time(DType::F16, 512, 1024), Rows::By64);
        assert_eq!(rows_at_a_time(DType::F16, 512, 4096), Rows::By128);
        assert_eq!(rows_at_a_time(DType::IQ2_S, 512, 4096), Rows::By64);
        let large = grid(DType::BF16, 512, [4000, 64]).unwrap();
        assert_eq!((large.groups, large.shared_bytes), ([4 * 32, 1, 1], 81_920));
        let small = grid(DType::Q4_K, 65, [65, 256]).unwrap();
        assert_eq!((small.groups, small.threads, small.shared_bytes), ([4, 1, 1], [256, 1, 1], 40_960));
        assert_eq!(grid(DType::F16, 9, [17, 4095]).unwrap(), Grid::linear(2 * 3, 128));
        assert_eq!(grid(DType::F16, 9, [17, 4096]).unwrap(), Grid::linear(2 * 9, 128));
        assert_eq!(grid(DType::F16, 9, [2049, 4096]).unwrap(), Grid::linear(2 * 257, 128));
        assert_eq!(grid(DType::Q4_K, 8, [17, 8192]).unwrap(), Grid::linear(5, 128));
    }
}
