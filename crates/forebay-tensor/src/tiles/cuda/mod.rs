//! What kernels on cards share: how much a block does. The device code beside this is included by the kernels of ops.
//!
//! `begin.cuh` has sums and elements, and is what every kernel begins with; `each.cuh` walks elements that stand for
//! themselves, `walk.cuh` goes along rows, `curves.cuh` has what they are put through; `decode.cuh` has the formats of
//! weights, `rows.cuh` and `tile.cuh` multiply by weights that lie in rows. `cargo xtask kernels` compiles the sources;
//! what comes out lies beside each as `cuda.bundle`. A card cannot fail a launch halfway, so kernels write what is not a
//! number where the CPU would fail a stage, and never touch what is not theirs.
//! Weights that are packed lie in the panels of the CPU: `panels` says what kernels are told of them.

pub(crate) mod order;
pub(crate) mod panels;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod tables;

use crate::DType;

/// Elements of a block where every element stands for itself.
pub(crate) const EACH: usize = 1024;

/// Threads of a block that multiplies rows of a weight, as they lie, by a few rows of activations: four warps.
pub(crate) const THREADS_OF_ROWS: usize = 128;

/// The rows of the weight of such a block: one a warp, two where the type is plain.
pub(crate) fn rows_of_block(dtype: DType) -> usize {
    if dtype.is_plain() { 8 } else { 4 }
}

/// Which of the entries of such kernels serves a type: those of f32, f16, bf16, and of blocks.
pub(crate) fn entry_of_rows(dtype: DType, entries: [&'static str; 4]) -> &'static str {
    match dtype {
        DType::F32 => entries[0],
        DType::F16 => entries[1],
        DType::BF16 => entries[2],
        _ => entries[3],
    }
}
