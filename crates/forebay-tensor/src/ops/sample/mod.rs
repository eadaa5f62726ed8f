//! Draws one of the largest values of every row.
//!
//! Next rooms: `draw` for what it means and how it is reckoned everywhere, `random` for what is drawn with, `cpu` and `cuda.cu` for
//! how it runs, `top_k` for where the largest come from, `follow` for where the one that was drawn goes.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
mod draw;
mod random;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

pub use self::{draw::Draw, random::Random};
use crate::{
    DType, Op, Result, Served, Tensor,
    op::{
        argument,
        contract::{self, ensure},
        grid_by_device, optional, size,
    },
};

/// Threads of a block.
const THREADS: usize = 256;

/// `out[i]` is the one of `ids[i]` that is [drawn](Draw::choose) behind position `positions[i]`, which is that of the last token of a
/// text, so that the text is one longer; [`Draw::NONE`] where nothing can be drawn. The numbers are the same wherever they are
/// reckoned, and so is what is drawn.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::{Draw, Sample}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let values = Tensor::from_slice(&device, &[1, 2], &[1.0f32, 1.0])?;
/// let ids = Tensor::from_slice(&device, &[1, 2], &[7u32, 3])?;
/// let positions = Tensor::from_slice(&device, &[1], &[11u32])?;
/// let draw = Draw { seed: 5, keep: 0, temperature: 1.0, top_p: 1.0, min_p: 0.0 };
/// let rules = Tensor::from_slice(&device, &[1, Draw::WORDS], &draw.words())?;
/// let out = Tensor::of(DType::U32, &[1], device.alloc(4)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("draw");
/// let (values, ids, positions, rules) = (&values, &ids, &positions, &rules);
/// ops.record(&mut stage, &Sample { values, ids, positions, rules, places: None, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<u32>()?[0], [7, 3][draw.choose(&[1.0, 1.0], 12).unwrap()]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// f32, `[rows, k]`, the largest first; at least one.
    pub values: &'a Tensor,
    /// u32, `[rows, k]`.
    pub ids: &'a Tensor,
    /// u32, `[rows]`.
    pub positions: &'a Tensor,
    /// u32, `[rules, 6]`: the [words](Draw::words) of how to draw.
    pub rules: &'a Tensor,
    /// u32, `[rows]`: which of the rules is that of a row; if not given, there is one for each.
    pub places: Option<&'a Tensor>,
    /// u32, `[rows]`.
    pub out: &'a Tensor,
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
        argument(Self::NAME, "positions", self.positions).u32()?.shaped(&[rows])?;
        contract::places(Self::NAME, self.places, rows)?;
        let rules = argument(Self::NAME, "rules", self.rules).of(DType::U32)?;
        let [count, _] = rules.axes()?;
        rules.shaped(&[if self.places.is_some() { count } else { rows }, Draw::WORDS])?;
        argument(Self::NAME, "out", self.out).u32()?.shaped(&[rows])
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, k] = argument(Self::NAME, "values", self.values).rows()?;
        let threads = k.next_multiple_of(32).min(THREADS);
        let grid = grid_by_device(Self::NAME, kernel, rows, [rows, threads])?;
        let (k, rules) = (size(Self::NAME, "width of values", k)?, self.rules.shape()[0]);
        let (rules, by_place) = (size(Self::NAME, "rules", rules)?, u32::from(self.places.is_some()));
        let places = optional(self.places, self.positions)?;
        let [values, ids, positions, out] =
            [self.values, self.ids, self.positions, self.out].map(Tensor::arg);
        let (words, places) = (self.rules.arg(), places.arg());
        let sizes = [k.into(), rules.into(), by_place.into()];
        let arguments = [&[values, ids, positions, words, places, out][..], &sizes].concat();
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
