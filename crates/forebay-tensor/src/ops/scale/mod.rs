//! Multiplies all elements by one number.
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
    op::{argument, contract::finite},
    tiles::each_grid,
};

/// `x = factor * x`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Scale};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[3], &[1.0f32, -2.0, 0.5])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("scale");
/// ops.record(&mut stage, &Scale { x: &x, factor: 4.0 })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [4.0, -8.0, 2.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Scale<'a> {
    /// f32 of any shape; changed in place.
    pub x: &'a Tensor,
    /// What every element is multiplied by.
    pub factor: f32,
}

impl Op for Scale<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "scale";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "scale"))]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32()?;
        finite(Self::NAME, "factor", self.factor)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let (grid, elements) = each_grid(Self::NAME, kernel, self.x)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), self.factor.into(), elements.into()])?)
    }
}
