//! Scales every row to a root mean square of one, then each column by its weight.
//!
//! Rows are the last axis, so that heads are normalised one by one where they have an axis of their own.
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod reference;

use forebay_device::{Kernel, KernelDef, Stage};

use crate::{
    Extent, Op, Result, Served, Tensor,
    op::{argument, contract::epsilon, optional, row_grid, size},
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
/// ops.record(&mut stage, &RmsNorm { x: &x, weight: Some(&weight), epsilon: 0.0, out: Some(&out) })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [1.0, -0.5]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// f32, `[.., width]`.
    pub x: &'a Tensor,
    /// f32, `[width]`; without it columns stay as they are.
    pub weight: Option<&'a Tensor>,
    /// Keeps a row of zeros from a division by zero.
    pub epsilon: f32,
    /// f32 of the shape of `x`; without it `x` is changed in place.
    pub out: Option<&'a Tensor>,
}

impl Op for RmsNorm<'_> {
    type Kernels = [Kernel; 2];
    const NAME: &'static str = "rms_norm";

    fn served() -> Vec<Served> {
        let on_card = |kernel: KernelDef, entry| kernel.bundle(include_bytes!("cuda.bundle"), entry);
        vec![
            Served::per_level("f32", move |level| on_card(cpu::kernel(level), "rms_norm")),
            Served::per_level("f32, in place", move |level| {
                on_card(cpu::in_place(level), "rms_norm_in_place")
            }),
        ]
    }

    fn check(&self) -> Result<()> {
        let [_, width] = argument(Self::NAME, "x", self.x).f32()?.rows()?;
        if let Some(weight) = self.weight {
            argument(Self::NAME, "weight", weight).f32()?.shaped(&[width])?;
        }
        if let Some(out) = self.out {
            argument(Self::NAME, "out", out).f32()?.like(self.x)?;
        }
        epsilon(Self::NAME, self.epsilon)
    }

    fn kernel<'k>(&self, [apart, in_place]: &'k [Kernel; 2]) -> Result<&'k Kernel> {
        Ok(if self.out.is_some() { apart } else { in_place })
    }

    fn launch(&self, kernels: &[Kernel; 2], stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let weight = optional(self.weight, self.x)?;
        let (grid, width) = (row_grid(Self::NAME, rows, width)?, size(Self::NAME, "width", width)?);
        let (weight, epsilon) = (weight.arg(), self.epsilon.into());
        let kernel = self.kernel(kernels)?;
        match self.out {
            Some(out) => {
                stage.launch(kernel, grid, &[self.x.arg(), weight, out.arg(), width.into(), epsilon])?
            }
            None => stage.launch(kernel, grid, &[self.x.arg(), weight, width.into(), epsilon])?,
        }
        Ok(())
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        self.weight.map(|weight| Extent::weight(weight.buffer(), weight.name())).into_iter().collect()
    }
}
