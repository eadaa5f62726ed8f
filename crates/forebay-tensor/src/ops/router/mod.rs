//! Chooses experts for every row and weighs them.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `routed_matmul` and `mix` for who uses what was chosen.

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
        grid_by_device, optional, size,
    },
};

/// The most experts.
const MOST_EXPERTS: usize = 1024;

/// What the weight of an expert is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Score {
    /// The softmax over all experts.
    Softmax,
    /// `1 / (1 + e^-x)` of each.
    Sigmoid,
    /// The softmax over those that were chosen.
    SoftmaxOfChosen,
}

/// `ids[i]` are the experts of the largest scores of row `i`, the largest first, and `weights[i]` their scores times `scale`.
/// Of equal ones the lower number comes first; what is not a number comes last.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::{Router, router::Score}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let logits = Tensor::from_slice(&device, &[1, 3], &[1.0f32, 5.0, 5.0])?;
/// let ids = Tensor::of(DType::U32, &[1, 2], device.alloc(8)?)?;
/// let weights = Tensor::of(DType::F32, &[1, 2], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("route");
/// ops.record(&mut stage, &Router::new(&logits, Score::SoftmaxOfChosen, &ids, &weights))?;
/// stage.submit()?;
/// assert_eq!((ids.to_vec::<u32>()?, weights.to_vec::<f32>()?), (vec![1, 2], vec![0.5, 0.5]));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Router<'a> {
    /// f32, `[count, experts]`.
    pub logits: &'a Tensor,
    /// f32, `[experts]`: added to scores to choose by, but not to weights.
    pub bias: Option<&'a Tensor>,
    /// What weights are made of.
    pub score: Score,
    /// Weights are divided by their sum.
    pub renormalise: bool,
    /// What weights are multiplied by at last.
    pub scale: f32,
    /// u32, `[count, k]`.
    pub ids: &'a Tensor,
    /// f32, `[count, k]`.
    pub weights: &'a Tensor,
}

impl<'a> Router<'a> {
    /// The largest scores as they are.
    pub fn new(logits: &'a Tensor, score: Score, ids: &'a Tensor, weights: &'a Tensor) -> Self {
        Self { logits, bias: None, score, renormalise: false, scale: 1.0, ids, weights }
    }
}

impl Op for Router<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "router";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "router"))]
    }

    fn check(&self) -> Result<()> {
        let [count, experts] = argument(Self::NAME, "logits", self.logits).f32()?.axes()?;
        if let Some(bias) = self.bias {
            argument(Self::NAME, "bias", bias).f32()?.shaped(&[experts])?;
        }
        let ids = argument(Self::NAME, "ids", self.ids).u32()?;
        let [_, k] = ids.axes()?;
        ids.shaped(&[count, k])?;
        argument(Self::NAME, "weights", self.weights).f32()?.shaped(&[count, k])?;
        ensure(k <= experts, Self::NAME, "width of ids", k as f64, "at most the number of experts")?;
        ensure(experts <= MOST_EXPERTS, Self::NAME, "experts", experts as f64, "at most 1024")?;
        finite(Self::NAME, "scale", self.scale)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [count, experts] = argument(Self::NAME, "logits", self.logits).rows()?;
        // A thread sorts a pair of experts, or several.
        let threads = (experts.next_power_of_two() / 2).clamp(32, 256);
        let grid = grid_by_device(Self::NAME, kernel, count, [count, threads])?;
        let (experts, k) =
            (size(Self::NAME, "experts", experts)?, size(Self::NAME, "k", self.ids.shape()[1])?);
        let bias = optional(self.bias, self.logits)?;
        let [logits, ids, weights] = [self.logits, self.ids, self.weights].map(Tensor::arg);
        let (score, renormalise) = (self.score as u32, u32::from(self.renormalise));
        let words = [experts, k, score, renormalise].map(Into::into);
        let [experts, k, score, renormalise] = words;
        let arguments = [logits, bias.arg(), ids, weights, experts, k, score, renormalise, self.scale.into()];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
