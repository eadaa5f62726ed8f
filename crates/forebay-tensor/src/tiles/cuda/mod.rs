//! What kernels on cards share: how much a block does. The device code beside this is included by the kernels of ops.
//!
//! `begin.cuh` has sums and elements, and is what every kernel begins with; `each.cuh` walks elements that stand for
//! themselves, `curves.cuh` has what they are put through. `cargo xtask kernels` compiles the sources; what
//! comes out lies beside each as `cuda.bundle`. A card cannot fail a launch halfway, so kernels write what is not a number
//! where the CPU would fail a stage, and never touch what is not theirs.

pub(crate) mod order;
#[cfg(test)]
mod tables;

/// Elements of a block where every element stands for itself.
pub(crate) const EACH: usize = 1024;
