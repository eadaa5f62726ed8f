//! The place of the largest element of every row.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(test)]
pub(crate) mod cases;
mod cpu;
#[cfg(test)]
mod reference;

use forebay_device::{Device, Grid, Kernel, Stage};

use crate::{
    ArgumentFault, DType, Error, Op, Result, Tensor,
    op::{argument, groups, size},
};

/// `out[i]` is the first index of the largest element of row `i`. What is not a number is never the largest; a row
/// without numbers gives 0.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Argmax};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2, 3], &[1.0f32, 5.0, 5.0, f32::NAN, -2.0, -1.0])?;
/// let out = Tensor::of(DType::U32, &[2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("argmax");
/// ops.record(&mut stage, &Argmax { x: &x, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<u32>()?, [1, 2]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Argmax<'a> {
    /// f32, `[rows, width]`, at least one column.
    pub x: &'a Tensor,
    /// u32, `[rows]`.
    pub out: &'a Tensor,
}

impl Op for Argmax<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "argmax";

    fn load(device: &Device) -> Result<Kernel> {
        Ok(device.load(&cpu::kernel())?)
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).of(DType::F32)?.axes()?;
        if width == 0 {
            let fault = ArgumentFault::Shape { shape: vec![rows, 0], wanted: vec![rows, 1] };
            return Err(Error::Argument { op: Self::NAME, argument: "x", fault });
        }
        size(Self::NAME, "width", width)?;
        argument(Self::NAME, "out", self.out).of(DType::U32)?.shaped(&[rows])
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let grid = Grid::linear(groups(Self::NAME, self.x.shape()[0])?, 1);
        Ok(stage.launch(kernel, grid, &[self.x.buffer().arg(), self.out.buffer().arg()])?)
    }
}
