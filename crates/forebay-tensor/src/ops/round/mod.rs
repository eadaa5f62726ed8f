//! Rounds rows of activations for the products with weights of integer codes.
//!
//! One rounding serves all weights that read the same rows. Next rooms: `quant::rounded` for what the bytes mean,
//! `reference` for what the op means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    DType, Op, Result, Served, Tensor,
    op::{argument, grid_by_device, size},
};

/// Warps of a block of threads on a card; each of them owns a block of elements.
const WARPS: usize = 4;

/// `out = x`, with codes of 8 bits for each 32 elements of a row. Where `out` has twice as many rows, the second half holds what
/// rounding took from the first: the sum of both is as near to `x` as codes of 15 bits.
///
/// [`Matmul`](super::Matmul) shows it with the product that it is made for.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// f32, `[.., width]`.
    pub x: &'a Tensor,
    /// rounded, of the shape of `x`, or `[2 * count, width]` for an `x` of `[count, width]`.
    pub out: &'a Tensor,
}

impl Op for Round<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "round";

    fn served() -> Vec<Served> {
        let kernel = |level| cpu::kernel(level).bundle(include_bytes!("cuda.bundle"), "round_rows");
        vec![Served::per_level("f32", kernel)]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).of(DType::F32)?.rows()?;
        let out = argument(Self::NAME, "out", self.out).of(DType::Rounded)?;
        match (self.is_twice(), self.x.shape()) {
            (true, [count, width]) => out.shaped(&[2 * count, *width]),
            _ => out.like(self.x),
        }
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let blocks = self.x.elements() / DType::Rounded.block_elements();
        let count = size(Self::NAME, "blocks", blocks)?;
        let rest = if self.is_twice() { count } else { 0 };
        let grid = grid_by_device(Self::NAME, kernel, blocks, [blocks.div_ceil(4 * WARPS), 32 * WARPS])?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), self.out.arg(), rest.into(), count.into()])?)
    }
}

impl Round<'_> {
    fn is_twice(&self) -> bool {
        match (self.x.shape(), self.out.shape()) {
            ([count, _], [rows, _]) => *count > 0 && *rows == 2 * count,
            _ => false,
        }
    }
}
