//! Turns every row into weights that sum to one, in place.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::finite, row_grid, size},
};

/// `x = e^(scale * x) / sum(e^(scale * x))`, a row at a time. An element of minus infinity weighs nothing; a row of nothing
/// else has no softmax, and becomes not-a-number.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Softmax};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 3], &[5.0f32, 5.0, f32::NEG_INFINITY])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("softmax");
/// ops.record(&mut stage, &Softmax { x: &x, scale: 1.0 })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [0.5, 0.5, 0.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softmax<'a> {
    /// f32, `[.., width]`; changed in place.
    pub x: &'a Tensor,
    /// What elements are multiplied by first.
    pub scale: f32,
}

impl Op for Softmax<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "softmax";

    fn served() -> Vec<Served> {
        let kernel = |level| cpu::kernel(level).bundle(include_bytes!("cuda.bundle"), "softmax");
        vec![Served::per_level("f32", kernel)]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32()?.rows()?;
        finite(Self::NAME, "scale", self.scale)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let grid = row_grid(Self::NAME, rows, width)?;
        let width = size(Self::NAME, "width", width)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), width.into(), self.scale.into()])?)
    }
}
