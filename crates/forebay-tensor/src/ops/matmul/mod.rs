//! Multiplies rows of activations by a weight of any format.
//!
//! The kernel `decode` serves every format: it decodes a piece of a weight's row into f32 and takes its product with
//! all rows of activations. Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Grid, Kernel, Stage};

use crate::{
    DType, Op, Result, Served, Tensor,
    op::{argument, groups},
    tiles::{PerType, per_format},
};

/// Rows of the weight of a group.
const PART: usize = 16;

/// `out = x * transpose(weight)`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Matmul};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let weight = Tensor::from_slice(&device, &[3, 2], &[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0])?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[2.0f32, 5.0])?;
/// let out = Tensor::of(DType::F32, &[1, 3], device.alloc(12)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("product");
/// ops.record(&mut stage, &Matmul { weight: &weight, x: &x, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [2.0, 5.0, 7.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Matmul<'a> {
    /// Any format of one plane, `[rows, width]`.
    pub weight: &'a Tensor,
    /// f32, `[count, width]`.
    pub x: &'a Tensor,
    /// f32, `[count, rows]`.
    pub out: &'a Tensor,
}

impl Op for Matmul<'_> {
    type Kernels = PerType;
    const NAME: &'static str = "matmul";

    fn served() -> Vec<Served> {
        per_format(cpu::decode)
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "weight", self.weight).weight()?.axes()?;
        let x = argument(Self::NAME, "x", self.x).of(DType::F32)?;
        let [count, _] = x.axes()?;
        x.shaped(&[count, width])?;
        argument(Self::NAME, "out", self.out).of(DType::F32)?.shaped(&[count, rows])
    }

    fn kernel<'k>(&self, kernels: &'k PerType) -> Result<&'k Kernel> {
        kernels.of(self.weight.dtype())
    }

    fn launch(&self, kernels: &PerType, stage: &mut Stage<'_>) -> Result<()> {
        if self.out.elements() == 0 {
            return Ok(());
        }
        if self.weight.elements() == 0 {
            return Ok(stage.fill(self.out.buffer(), 0)?);
        }
        let rows = self.weight.shape()[0];
        let grid = Grid::linear(groups(Self::NAME, rows.div_ceil(PART))?, 1);
        let [weight, x, out] = [self.weight, self.x, self.out].map(|tensor| tensor.buffer().arg());
        let rows = crate::op::size(Self::NAME, "rows", rows)?;
        Ok(stage.launch(self.kernel(kernels)?, grid, &[weight, x, out, rows.into()])?)
    }
}
