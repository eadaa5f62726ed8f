//! Scales every row to a root mean square of one, then each column by its weight.
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
    op::{argument, bad_value, groups},
};

/// `out = x / sqrt(mean(x * x) + epsilon) * weight`, a row at a time.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::RmsNorm};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[3.0f32, -3.0])?;
/// let weight = Tensor::from_slice(&device, &[2], &[1.0f32, 0.5])?;
/// let out = Tensor::of(DType::F32, &[1, 2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("norm");
/// ops.record(&mut stage, &RmsNorm { x: &x, weight: &weight, epsilon: 0.0, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [1.0, -0.5]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// f32, `[rows, width]`.
    pub x: &'a Tensor,
    /// f32, `[width]`.
    pub weight: &'a Tensor,
    /// Keeps a row of zeros from a division by zero.
    pub epsilon: f32,
    /// f32, `[rows, width]`.
    pub out: &'a Tensor,
}

impl Op for RmsNorm<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "rms_norm";

    fn load(device: &Device) -> Result<Kernel> {
        Ok(device.load(&cpu::kernel())?)
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).of(DType::F32)?.axes()?;
        argument(Self::NAME, "weight", self.weight).of(DType::F32)?.shaped(&[width])?;
        argument(Self::NAME, "out", self.out).of(DType::F32)?.shaped(&[rows, width])?;
        if self.epsilon >= 0.0 && self.epsilon.is_finite() {
            return Ok(());
        }
        Err(bad_value(Self::NAME, "epsilon", self.epsilon.into(), "finite and not negative"))
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        if self.x.elements() == 0 {
            return Ok(());
        }
        let grid = Grid::linear(groups(Self::NAME, self.x.shape()[0])?, 1);
        let buffers = [self.x, self.weight, self.out].map(|tensor| tensor.buffer().arg());
        let [x, weight, out] = buffers;
        Ok(stage.launch(kernel, grid, &[x, weight, out, self.epsilon.into()])?)
    }
}
