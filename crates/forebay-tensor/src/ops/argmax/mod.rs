//! The place of the largest element of every row.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `top_k` for more than one.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::ensure, row_grid, size},
};

/// `out[i]` is the first index of the largest element of row `i`. What is not a number is never the largest; a row
/// without numbers gives 0.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Argmax};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2, 3], &[1.0f32, 5.0, 5.0, f32::NAN, -2.0, -1.0])?;
/// let out = Tensor::of(DType::U32, &[2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("argmax");
/// ops.record(&mut stage, &Argmax { x: &x, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<u32>()?, [1, 2]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Argmax<'a> {
    /// f32, `[rows, width]`, at least one column.
    pub x: &'a Tensor,
    /// u32, `[rows]`.
    pub out: &'a Tensor,
}

impl Op for Argmax<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "argmax";

    fn served() -> Vec<Served> {
        let kernel = |level| cpu::kernel(level).bundle(include_bytes!("cuda.bundle"), "argmax");
        vec![Served::per_level("f32", kernel)]
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        ensure(width > 0, Self::NAME, "width of x", 0.0, "at least 1")?;
        argument(Self::NAME, "out", self.out).u32()?.shaped(&[rows])
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let grid = row_grid(Self::NAME, rows, width)?;
        let width = size(Self::NAME, "width", width)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), self.out.arg(), width.into()])?)
    }
}
