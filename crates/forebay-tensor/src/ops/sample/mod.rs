//! Draws one of the candidates of every row.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `top_k` for where candidates come from.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{
        argument,
        contract::{ensure, finite},
        grid_by_device, size,
    },
};

/// The most threads of a block.
const MOST_THREADS: usize = 1024;

/// `out[i]` is the one of `ids[i]` that the number `uniform[i]` falls upon. Candidates are the first so many whose softmax
/// reaches `top_p`, and of those the ones that are at least `min_p` times as likely as the likeliest; each has a share of
/// `e^(value / temperature)`. A temperature of 0 takes the first. What is not a number is no candidate, nor what has no
/// share of an f64; if the first is none, it is taken all the same.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Sample};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let values = Tensor::from_slice(&device, &[2, 2], &[1.0f32, 1.0, 1.0, 1.0])?;
/// let ids = Tensor::from_slice(&device, &[2, 2], &[7u32, 3, 7, 3])?;
/// let uniform = Tensor::from_slice(&device, &[2], &[0.25f32, 0.75])?;
/// let out = Tensor::of(DType::U32, &[2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("draw");
/// ops.record(&mut stage, &Sample::new(&values, &ids, &uniform, &out))?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<u32>()?, [7, 3]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// f32, `[rows, k]`, the largest first; at least one.
    pub values: &'a Tensor,
    /// u32, `[rows, k]`.
    pub ids: &'a Tensor,
    /// f32, `[rows]`: random numbers from 0 on and below 1.
    pub uniform: &'a Tensor,
    /// How even the draw is; 0 always takes the first.
    pub temperature: f32,
    /// The probability that candidates have together; 1 takes all.
    pub top_p: f32,
    /// How likely candidates are at least, beside the likeliest; 0 takes all.
    pub min_p: f32,
    /// u32, `[rows]`.
    pub out: &'a Tensor,
}

impl<'a> Sample<'a> {
    /// A draw from all of them, as likely as their softmax says.
    pub fn new(values: &'a Tensor, ids: &'a Tensor, uniform: &'a Tensor, out: &'a Tensor) -> Self {
        Self { values, ids, uniform, temperature: 1.0, top_p: 1.0, min_p: 0.0, out }
    }
}

impl Op for Sample<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "sample";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "sample"))]
    }

    fn check(&self) -> Result<()> {
        let [rows, k] = argument(Self::NAME, "values", self.values).f32()?.axes()?;
        ensure(k > 0, Self::NAME, "width of values", 0.0, "at least 1")?;
        argument(Self::NAME, "ids", self.ids).u32()?.shaped(&[rows, k])?;
        argument(Self::NAME, "uniform", self.uniform).f32()?.shaped(&[rows])?;
        argument(Self::NAME, "out", self.out).u32()?.shaped(&[rows])?;
        finite(Self::NAME, "temperature", self.temperature)?;
        let wanted = "from 0 to 1";
        for (name, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            ensure((0.0..=1.0).contains(&value), Self::NAME, name, value.into(), wanted)?;
        }
        ensure(self.temperature >= 0.0, Self::NAME, "temperature", self.temperature.into(), "not negative")
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, k] = argument(Self::NAME, "values", self.values).rows()?;
        let threads = k.next_multiple_of(32).min(MOST_THREADS);
        let grid = grid_by_device(Self::NAME, kernel, rows, [rows, threads])?;
        let k = size(Self::NAME, "width of values", k)?;
        let [values, ids, uniform, out] = [self.values, self.ids, self.uniform, self.out].map(Tensor::arg);
        let [temperature, top_p, min_p] = [self.temperature, self.top_p, self.min_p].map(Into::into);
        let arguments = [values, ids, uniform, out, k.into(), temperature, top_p, min_p];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
