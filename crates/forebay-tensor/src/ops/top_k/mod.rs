//! The largest elements of every row, and their places.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `sample` for a draw from what is left, `sort` for
//! whole rows.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::ensure, size},
    tiles::cuda::order::{self, Step, TILE},
};

/// `values[i]` are the `k` largest elements of row `i`, the largest first, and `ids[i]` their columns. Of equal elements
/// the one of the lower column comes first; what is not a number comes last.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::TopK};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 4], &[1.0f32, 5.0, f32::NAN, 5.0])?;
/// let values = Tensor::of(DType::F32, &[1, 3], device.alloc(12)?)?;
/// let ids = Tensor::of(DType::U32, &[1, 3], device.alloc(12)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("top");
/// ops.record(&mut stage, &TopK { x: &x, values: &values, ids: &ids })?;
/// stage.submit()?;
/// assert_eq!((values.to_vec::<f32>()?, ids.to_vec::<u32>()?), (vec![5.0, 5.0, 1.0], vec![1, 3, 0]));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TopK<'a> {
    /// f32, `[rows, width]`.
    pub x: &'a Tensor,
    /// f32, `[rows, k]`, where `k` is at most `width`.
    pub values: &'a Tensor,
    /// u32, `[rows, k]`.
    pub ids: &'a Tensor,
}

impl Op for TopK<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "top_k";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "top_k"))]
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        let values = argument(Self::NAME, "values", self.values).f32()?;
        let [_, k] = values.axes()?;
        values.shaped(&[rows, k])?;
        argument(Self::NAME, "ids", self.ids).u32()?.shaped(&[rows, k])?;
        ensure(k <= width, Self::NAME, "width of values", k as f64, "at most the width of x")
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = argument(Self::NAME, "x", self.x).rows()?;
        let k = self.values.layout().shape().last();
        let words = [size(Self::NAME, "width of x", width)?, size(Self::NAME, "width of values", k)?];
        let [x, values, ids] = [self.x, self.values, self.ids].map(Tensor::arg);
        // A block sorts what it chose, unless that is more than it can hold.
        let (chosen, sorted) = match (k <= TILE, k == width) {
            (true, _) => (Step::Choose, 0),
            (false, true) => (Step::Columns, k),
            (false, false) => (Step::Choose, k),
        };
        for pass in order::passes(kernel, chosen, sorted) {
            let [width, k] = words.map(Into::into);
            let [step, distance, blocks] = pass.words(Self::NAME)?.map(Into::into);
            let grid = pass.grid(Self::NAME, kernel, rows)?;
            stage.launch(kernel, grid, &[x, values, ids, width, k, step, distance, blocks])?;
        }
        Ok(())
    }
}
