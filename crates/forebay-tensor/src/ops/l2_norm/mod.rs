//! Scales every row to a length of one, in place: queries and keys of delta networks.
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
    op::{argument, contract::epsilon, row_grid, size},
};

/// `x = x / sqrt(sum(x * x) + epsilon)`, a row at a time.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::L2Norm};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[3.0f32, -4.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("norm");
/// ops.record(&mut stage, &L2Norm { x: &x, epsilon: 0.0 })?;
/// stage.submit()?;
/// let x = x.to_vec::<f32>()?;
/// assert!((x[0] - 0.6).abs() < 1e-6 && (x[1] + 0.8).abs() < 1e-6);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct L2Norm<'a> {
    /// f32, `[.., width]`; changed in place.
    pub x: &'a Tensor,
    /// Keeps a row of zeros from a division by zero.
    pub epsilon: f32,
}

impl Op for L2Norm<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "l2_norm";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "l2_norm"))]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32()?.rows()?;
        epsilon(Self::NAME, self.epsilon)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let grid = row_grid(Self::NAME, rows, width)?;
        let width = size(Self::NAME, "width", width)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), width.into(), self.epsilon.into()])?)
    }
}
