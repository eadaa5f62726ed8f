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
    op::{argument, grid},
};

/// `out = x`, with codes of 8 bits for each 32 elements of a row.
///
/// [`Matmul`](super::Matmul) shows it with the product that it is made for.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// f32, `[count, width]`.
    pub x: &'a Tensor,
    /// rounded, `[count, width]`.
    pub out: &'a Tensor,
}

impl Op for Round<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "round";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel())]
    }

    fn check(&self) -> Result<()> {
        let [count, width] = argument(Self::NAME, "x", self.x).of(DType::F32)?.axes()?;
        argument(Self::NAME, "out", self.out).of(DType::Rounded)?.shaped(&[count, width])
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let blocks = self.out.elements() / DType::Rounded.block_elements();
        let grid = grid(Self::NAME, blocks)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), self.out.arg()])?)
    }
}
