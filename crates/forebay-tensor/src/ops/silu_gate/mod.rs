//! The gate of a SwiGLU network: one branch, through SiLU, scales the other.
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
const PART: usize = 1024;

/// `up = silu(gate) * up`, where `silu(x) = x / (1 + exp(-x))`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::SiluGate};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let gate = Tensor::from_slice(&device, &[2], &[0.0f32, 100.0])?;
/// let up = Tensor::from_slice(&device, &[2], &[5.0f32, 0.5])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("gate");
/// ops.record(&mut stage, &SiluGate { gate: &gate, up: &up })?;
/// stage.submit()?;
/// assert_eq!(up.to_vec::<f32>()?, [0.0, 50.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SiluGate<'a> {
    /// f32 of any shape.
    pub gate: &'a Tensor,
    /// f32 of the shape of `gate`; changed in place.
    pub up: &'a Tensor,
}

impl Op for SiluGate<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "silu_gate";

    fn load(device: &Device) -> Result<Kernel> {
        Ok(device.load(&cpu::kernel())?)
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "gate", self.gate).of(DType::F32)?;
        argument(Self::NAME, "up", self.up).of(DType::F32)?.shaped(self.gate.shape())
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let grid = Grid::linear(groups(Self::NAME, self.up.elements().div_ceil(PART))?, 1);
        Ok(stage.launch(kernel, grid, &[self.gate.buffer().arg(), self.up.buffer().arg()])?)
    }
}
