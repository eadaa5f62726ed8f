//! `matmul` on a card, of weights in rows: which kernel serves how many rows of activations, and how many blocks run it.
//!
//! Next room: `cuda.cu`, the kernels.

use forebay_device::{Grid, KernelDef};

use super::{Matmul, cpu};
use crate::{
    DType, Op, Result,
    op::{THREADS, groups, size},
    tiles::cuda::{THREADS_OF_ROWS, entry_of_rows, rows_of_block},
};

/// The most rows of activations that warps multiply; more are multiplied in tiles.
const FEW: usize = 16;
/// Rows of activations that a block of warps multiplies.
const TOGETHER: usize = 8;
/// Rows of either side of a tile.
const SIDE: usize = 64;

const BUNDLE: &[u8] = include_bytes!("cuda.bundle");

/// Adds the code for a few rows of activations.
pub(super) fn rows(kernel: KernelDef, dtype: DType) -> KernelDef {
    let entries = ["matmul_rows_f32", "matmul_rows_f16", "matmul_rows_bf16", "matmul_rows_blocks"];
    kernel.bundle(BUNDLE, entry_of_rows(dtype, entries))
}

/// The kernel for many.
pub(super) fn tiles(dtype: DType) -> KernelDef {
    KernelDef::new(format!("matmul_tiles_{dtype}"), cpu::signature_of_floats())
        .bundle(BUNDLE, "matmul_rows_tiles")
}

/// Whether so many rows are many.
pub(super) fn is_many(count: usize) -> bool {
    count > FEW
}

/// The blocks for so many rows of activations and of the weight.
pub(super) fn grid(dtype: DType, count: usize, rows: usize) -> Result<Grid> {
    let (blocks, threads) = if is_many(count) {
        (count.div_ceil(SIDE).saturating_mul(rows.div_ceil(SIDE)), THREADS as usize)
    } else {
        (count.div_ceil(TOGETHER).saturating_mul(rows.div_ceil(rows_of_block(dtype))), THREADS_OF_ROWS)
    };
    Ok(Grid::linear(groups(Matmul::NAME, blocks)?, size(Matmul::NAME, "threads", threads)?))
}
