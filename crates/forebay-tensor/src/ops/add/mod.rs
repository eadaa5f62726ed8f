//! Adds one tensor to another in place: the residual path of a layer.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(test)]
pub(crate) mod cases;
mod cpu;
#[cfg(test)]
mod reference;

use forebay_device::{Device, Grid, Kernel, Stage};

use crate::{
    DType, Op, Result, Tensor,
    op::{argument, groups},
};

/// Elements of a group.
const PART: usize = 4096;

/// `x = x + y`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Add};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[3], &[1.0f32, 2.0, 3.0])?;
/// let y = Tensor::from_slice(&device, &[3], &[0.5f32, 0.5, -3.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("sum");
/// ops.record(&mut stage, &Add { x: &x, y: &y })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [1.5, 2.5, 0.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Add<'a> {
    /// f32 of any shape; changed in place.
    pub x: &'a Tensor,
    /// f32 of the shape of `x`.
    pub y: &'a Tensor,
}

impl Op for Add<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "add";

    fn load(device: &Device) -> Result<Kernel> {
        Ok(device.load(&cpu::kernel())?)
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).of(DType::F32)?;
        argument(Self::NAME, "y", self.y).of(DType::F32)?.shaped(self.x.shape())
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let grid = Grid::linear(groups(Self::NAME, self.x.elements().div_ceil(PART))?, 1);
        Ok(stage.launch(kernel, grid, &[self.x.buffer().arg(), self.y.buffer().arg()])?)
    }
}
