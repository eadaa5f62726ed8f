//! Adds one tensor to another in place: the residual path of a layer, and the bias of a row.
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
    op::{argument, grid_by_device, size},
    tiles::{PART, cuda::EACH},
};

/// `x = x + y`; a shorter `y` is added to every row.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Add};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0])?;
/// let y = Tensor::from_slice(&device, &[2], &[0.5f32, -2.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("sum");
/// ops.record(&mut stage, &Add { x: &x, y: &y })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [1.5, 0.0, 3.5, 2.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Add<'a> {
    /// f32 of any shape; changed in place.
    pub x: &'a Tensor,
    /// f32 of the shape of `x`, or of its last axes.
    pub y: &'a Tensor,
}

impl Op for Add<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "add";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "add"))]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32()?;
        argument(Self::NAME, "y", self.y).f32()?.repeats_over(self.x.shape())
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [elements, period] = [self.x, self.y].map(|x| size(Self::NAME, "elements", x.elements()));
        let (elements, period) = (elements?, period?);
        let parts = self.x.elements().div_ceil(PART);
        let blocks = [self.x.elements().div_ceil(EACH), EACH / 4];
        let grid = grid_by_device(Self::NAME, kernel, parts, blocks)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), self.y.arg(), elements.into(), period.into()])?)
    }
}
