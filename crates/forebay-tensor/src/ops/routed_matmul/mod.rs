//! Multiplies rows of activations by the weights of the experts that were chosen for them.
//!
//! The kernel `decode` serves every format: it decodes pieces of the rows of an expert into f32. Next rooms: `reference` for
//! what it means, `cpu` for how it runs, `router` for who chooses, `mix` for what becomes of the results.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::ensure, grid, optional, size},
    tiles::{PerType, per_format},
};

/// `out[i, j] = x[i, j] * transpose(weight[ids[i, j]]) + bias[ids[i, j]]`; where `x` has no axis for `j`, all experts of a row
/// take the same. An expert may be chosen more than once. One that is not there fails the stage.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::RoutedMatmul};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let weight = Tensor::from_slice(&device, &[3, 1, 2], &[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0])?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[2.0f32, 5.0])?;
/// let ids = Tensor::from_slice(&device, &[1, 2], &[2u32, 0])?;
/// let out = Tensor::of(DType::F32, &[1, 2, 1], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("experts");
/// ops.record(&mut stage, &RoutedMatmul { weight: &weight, x: &x, ids: &ids, bias: None, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [7.0, 2.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RoutedMatmul<'a> {
    /// Any format of one plane, `[experts, rows, width]`.
    pub weight: &'a Tensor,
    /// f32, `[count, width]` or `[count, k, width]`.
    pub x: &'a Tensor,
    /// u32, `[count, k]`.
    pub ids: &'a Tensor,
    /// f32, `[experts, rows]`.
    pub bias: Option<&'a Tensor>,
    /// f32, `[count, k, rows]`.
    pub out: &'a Tensor,
}

impl Op for RoutedMatmul<'_> {
    type Kernels = PerType;
    const NAME: &'static str = "routed_matmul";

    fn served() -> Vec<Served> {
        per_format(cpu::decode)
    }

    fn check(&self) -> Result<()> {
        let [experts, rows, width] = argument(Self::NAME, "weight", self.weight).weight()?.axes()?;
        let [count, k] = argument(Self::NAME, "ids", self.ids).u32()?.axes()?;
        let x = argument(Self::NAME, "x", self.x).f32()?;
        let shared = self.x.shape().len() == 2;
        if shared {
            x.shaped(&[count, width])?
        } else {
            x.shaped(&[count, k, width])?
        }
        if let Some(bias) = self.bias {
            argument(Self::NAME, "bias", bias).f32()?.shaped(&[experts, rows])?;
        }
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, k, rows])?;
        ensure(width > 0, Self::NAME, "width of weight", 0.0, "at least 1")
    }

    fn kernel<'k>(&self, kernels: &'k PerType) -> Result<&'k Kernel> {
        kernels.of(self.weight.dtype())
    }

    fn launch(&self, kernels: &PerType, stage: &mut Stage<'_>) -> Result<()> {
        let [experts, rows, width] = argument(Self::NAME, "weight", self.weight).axes()?;
        if self.out.elements() == 0 {
            return Ok(());
        }
        let takers = if self.x.shape().len() == 2 { self.ids.shape()[1] } else { 1 };
        let sizes = [("rows", rows), ("width", width), ("experts", experts), ("k", takers)];
        let [rows, width, experts, takers] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let bias = optional(self.bias, self.x)?;
        let [weight, x, ids, out] = [self.weight, self.x, self.ids, self.out].map(Tensor::arg);
        let words = [rows?, width?, experts?, takers?].map(Into::into);
        let [rows, width, experts, takers] = words;
        let arguments = [weight, x, ids, bias.arg(), out, rows, width, experts, takers];
        Ok(stage.launch(self.kernel(kernels)?, grid(Self::NAME, self.ids.elements())?, &arguments)?)
    }
}
