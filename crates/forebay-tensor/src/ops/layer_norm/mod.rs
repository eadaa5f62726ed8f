//! Moves every row to a mean of zero and scales it to a variance of one, then weighs and shifts each column.
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
    op::{argument, contract::epsilon, optional, row_grid, size},
};

/// `out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias`, a row at a time.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::LayerNorm};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[3.0f32, 5.0])?;
/// let bias = Tensor::from_slice(&device, &[2], &[0.0f32, 1.0])?;
/// let out = Tensor::of(DType::F32, &[1, 2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("norm");
/// let op = LayerNorm { x: &x, weight: None, bias: Some(&bias), epsilon: 0.0, out: &out };
/// ops.record(&mut stage, &op)?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// f32, `[.., width]`.
    pub x: &'a Tensor,
    /// f32, `[width]`; without it columns stay as they are.
    pub weight: Option<&'a Tensor>,
    /// f32, `[width]`; without it nothing is added.
    pub bias: Option<&'a Tensor>,
    /// Keeps a row of equal numbers from a division by zero.
    pub epsilon: f32,
    /// f32 of the shape of `x`.
    pub out: &'a Tensor,
}

impl Op for LayerNorm<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "layer_norm";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "layer_norm"))]
    }

    fn check(&self) -> Result<()> {
        let [_, width] = argument(Self::NAME, "x", self.x).f32()?.rows()?;
        for (name, tensor) in [("weight", self.weight), ("bias", self.bias)] {
            if let Some(tensor) = tensor {
                argument(Self::NAME, name, tensor).f32()?.shaped(&[width])?;
            }
        }
        argument(Self::NAME, "out", self.out).f32()?.like(self.x)?;
        epsilon(Self::NAME, self.epsilon)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let (weight, bias) = (optional(self.weight, self.x)?, optional(self.bias, self.x)?);
        let grid = row_grid(Self::NAME, rows, width)?;
        let width = size(Self::NAME, "width", width)?;
        let (x, out) = (self.x.arg(), self.out.arg());
        let arguments = [x, weight.arg(), bias.arg(), out, width.into(), self.epsilon.into()];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
