//! Bends numbers so that none goes beyond a cap: logits and scores of some families.
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
    op::{argument, contract::positive},
    tiles::each_grid,
};

/// `x = cap * tanh(x / cap)`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Softcap};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2], &[0.0f32, 1e9])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("cap");
/// ops.record(&mut stage, &Softcap { x: &x, cap: 30.0 })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [0.0, 30.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softcap<'a> {
    /// f32 of any shape; changed in place.
    pub x: &'a Tensor,
    /// What no element exceeds; above zero.
    pub cap: f32,
}

impl Op for Softcap<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "softcap";

    fn served() -> Vec<Served> {
        let kernel = |level| cpu::kernel(level).bundle(include_bytes!("cuda.bundle"), "softcap");
        vec![Served::per_level("f32", kernel)]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32()?;
        positive(Self::NAME, "cap", self.cap)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let (grid, elements) = each_grid(Self::NAME, kernel, self.x)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), self.cap.into(), elements.into()])?)
    }
}
