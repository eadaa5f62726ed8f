//! `routed_matmul` on a card, of weights in rows: warps make the elements of few results, tiles those of many that an
//! expert shares.
//!
//! Next room: `cuda.cu`, the kernels.

use forebay_device::{Grid, KernelDef};

use super::{RoutedMatmul, cpu};
use crate::{
    DType, Op, Result,
    op::{THREADS, groups, size},
    tiles::{
        Rows,
        cuda::{THREADS_OF_ROWS, entry_of_rows, rows_of_block},
    },
};

/// Rows of either side of a tile.
const SIDE: usize = 64;
/// Shared memory of a tile: two stages of two sides, each in two numbers of 40 elements of 2 bytes for each row.
const BYTES: u32 = 2 * 2 * 2 * 40 * 2 * SIDE as u32;

const BUNDLE: &[u8] = include_bytes!("cuda.bundle");

/// Adds the code for a few results.
pub(super) fn rows(kernel: KernelDef, dtype: DType) -> KernelDef {
    let entries = [
        "routed_matmul_rows_f32",
        "routed_matmul_rows_f16",
        "routed_matmul_rows_bf16",
        "routed_matmul_rows_blocks",
    ];
    kernel.bundle(BUNDLE, entry_of_rows(dtype, entries))
}

/// The kernel for many.
pub(super) fn tiles(dtype: DType, rows: Rows) -> Option<KernelDef> {
    let entries = [
        "routed_matmul_rows_tiles_f32",
        "routed_matmul_rows_tiles_f16",
        "routed_matmul_rows_tiles_bf16",
        "routed_matmul_rows_tiles_blocks",
    ];
    let kernel = KernelDef::new(format!("routed_matmul_tiles_{dtype}"), cpu::signature_of_floats());
    (rows == Rows::By64).then(|| kernel.bundle(BUNDLE, entry_of_rows(dtype, entries)))
}

/// How many of so many results an expert makes at a time. Tiles read every expert once, so that they are worth it from a
/// few results of each on.
pub(super) fn rows_at_a_time(results: usize, experts: usize) -> Rows {
    if results > SIDE && results >= experts.saturating_mul(2) { Rows::By64 } else { Rows::One }
}

/// The blocks for so many results of so many rows of an expert.
pub(super) fn grid(dtype: DType, results: usize, experts: usize, rows: usize) -> Result<Grid> {
    let groups = |blocks| groups(RoutedMatmul::NAME, blocks);
    if rows_at_a_time(results, experts) == Rows::One {
        let blocks = results.saturating_mul(rows.div_ceil(rows_of_block(dtype)));
        return Ok(Grid::linear(groups(blocks)?, size(RoutedMatmul::NAME, "threads", THREADS_OF_ROWS)?));
    }
    // One expert more stands for ids that are none, and an expert gets as many blocks as if all were chosen alike.
    let experts = experts.max(1);
    let parts = results.div_ceil(experts.saturating_mul(SIDE)).max(1);
    let blocks = rows.div_ceil(SIDE).saturating_mul(experts + 1).saturating_mul(parts);
    Ok(Grid { shared_bytes: BYTES, ..Grid::linear(groups(blocks)?, THREADS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_results_of_an_expert_are_made_in_tiles() {
        assert_eq!(rows_at_a_time(64, 2), Rows::One);
        assert_eq!(rows_at_a_time(255, 128), Rows::One);
        assert_eq!(rows_at_a_time(256, 128), Rows::By64);
        let few = grid(DType::BF16, 16, 128, 770).unwrap();
        assert_eq!(few, Grid::linear(16 * 97, 128));
        let many = grid(DType::IQ2_S, 4096 * 8, 128, 770).unwrap();
        assert_eq!((many.groups, many.threads), ([13 * 129 * 4, 1, 1], [256, 1, 1]));
        assert_eq!(many.shared_bytes, 40_960);
    }
}
