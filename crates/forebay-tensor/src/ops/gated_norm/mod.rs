//! Normalises rows and multiplies them by a gate: the output of delta networks.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `rms_norm` for the norm alone.

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

/// `x = x / sqrt(mean(x * x) + epsilon) * weight * silu(gate)`, a row at a time.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::GatedNorm};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[3.0f32, -3.0])?;
/// let weight = Tensor::from_slice(&device, &[2], &[1.0f32, 1.0])?;
/// let gate = Tensor::from_slice(&device, &[1, 2], &[0.0f32, 50.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("norm");
/// ops.record(&mut stage, &GatedNorm { x: &x, weight: &weight, gate: &gate, epsilon: 0.0 })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [0.0, -50.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GatedNorm<'a> {
    /// f32, `[.., width]`; changed in place.
    pub x: &'a Tensor,
    /// f32, `[width]`.
    pub weight: &'a Tensor,
    /// f32 of the shape of `x`.
    pub gate: &'a Tensor,
    /// Keeps a row of zeros from a division by zero.
    pub epsilon: f32,
}

impl Op for GatedNorm<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "gated_norm";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "gated_norm"))]
    }

    fn check(&self) -> Result<()> {
        let [_, width] = argument(Self::NAME, "x", self.x).f32()?.rows()?;
        argument(Self::NAME, "weight", self.weight).f32()?.shaped(&[width])?;
        argument(Self::NAME, "gate", self.gate).f32()?.like(self.x)?;
        epsilon(Self::NAME, self.epsilon)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let grid = row_grid(Self::NAME, rows, width)?;
        let width = size(Self::NAME, "width", width)?;
        let tensors = [self.x, self.weight, self.gate].map(Tensor::arg);
        let [x, weight, gate] = tensors;
        let arguments = [x, weight, gate, width.into(), self.epsilon.into()];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
