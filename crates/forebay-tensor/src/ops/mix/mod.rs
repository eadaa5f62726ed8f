//! Adds the results of the experts of every row up by their weights.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `router` for where weights come from.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, grid_by_thread, size},
};

/// `out[i] = sum(weights[i, j] * x[i, j])`, in the order of `j`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Mix};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 2, 2], &[1.0f32, 2.0, 10.0, 20.0])?;
/// let weights = Tensor::from_slice(&device, &[1, 2], &[0.5f32, 2.0])?;
/// let out = Tensor::of(DType::F32, &[1, 2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("mix");
/// ops.record(&mut stage, &Mix { x: &x, weights: &weights, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [20.5, 41.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mix<'a> {
    /// f32, `[count, k, width]`.
    pub x: &'a Tensor,
    /// f32, `[count, k]`.
    pub weights: &'a Tensor,
    /// f32, `[count, width]`.
    pub out: &'a Tensor,
}

impl Op for Mix<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "mix";

    fn served() -> Vec<Served> {
        let kernel = |level| cpu::kernel(level).bundle(include_bytes!("cuda.bundle"), "mix");
        vec![Served::per_level("f32", kernel)]
    }

    fn check(&self) -> Result<()> {
        let [count, k, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        argument(Self::NAME, "weights", self.weights).f32()?.shaped(&[count, k])?;
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, width])
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [count, k, width] = argument(Self::NAME, "x", self.x).axes()?;
        let grid = grid_by_thread(Self::NAME, kernel, count, count * width)?;
        let sizes =
            [("experts of a row", k * width), ("k", k), ("width", width), ("elements", count * width)];
        let [all, k, width, elements] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let [x, weights, out] = [self.x, self.weights, self.out].map(Tensor::arg);
        let arguments = [x, weights, out, all?.into(), k?.into(), width?.into(), elements?.into()];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
