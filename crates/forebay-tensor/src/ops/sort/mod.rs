//! The order of every row, from the largest element down.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `top_k` for the first few only.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, size},
    tiles::cuda::order::{self, Step},
};

/// `ids[i]` are the columns of row `i` in the order of their elements, the largest first. Of equal elements the one of the
/// lower column comes first; what is not a number comes last.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Sort};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 4], &[1.0f32, 5.0, f32::NAN, 5.0])?;
/// let ids = Tensor::of(DType::U32, &[1, 4], device.alloc(16)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("sort");
/// ops.record(&mut stage, &Sort { x: &x, ids: &ids })?;
/// stage.submit()?;
/// assert_eq!(ids.to_vec::<u32>()?, [1, 3, 0, 2]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sort<'a> {
    /// f32, `[rows, width]`.
    pub x: &'a Tensor,
    /// u32, `[rows, width]`.
    pub ids: &'a Tensor,
}

impl Op for Sort<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "sort";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "sort"))]
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        argument(Self::NAME, "ids", self.ids).u32()?.shaped(&[rows, width])
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        for pass in order::passes(kernel, Step::Columns, width) {
            let grid = pass.grid(Self::NAME, kernel, rows)?;
            let (width, [step, distance, blocks]) =
                (size(Self::NAME, "width", width)?, pass.words(Self::NAME)?);
            let words = [width, step, distance, blocks].map(Into::into);
            let [width, step, distance, blocks] = words;
            stage.launch(kernel, grid, &[self.x.arg(), self.ids.arg(), width, step, distance, blocks])?;
        }
        Ok(())
    }
}
