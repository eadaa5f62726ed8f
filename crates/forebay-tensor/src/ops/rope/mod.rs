//! Rotates pairs of columns by the angles of their position.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `angles` for where cosines and sines come from.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::ensure, grid_by_thread, size},
};

/// Which columns make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairs {
    /// Columns `2 i` and `2 i + 1`.
    Interleaved,
    /// Columns `i` and `i + pairs`.
    HalfSplit,
}

/// Rotates the first `2 * pairs` columns of every head in place; the others stay.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::{Rope, rope::Pairs}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 1, 3], &[1.0f32, 0.0, 9.0])?;
/// let angles = Tensor::from_slice(&device, &[1, 2, 1], &[0.0f32, 1.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("rotate");
/// ops.record(&mut stage, &Rope { x: &x, angles: &angles, pairs: Pairs::Interleaved })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [0.0, 1.0, 9.0], "a quarter turn");
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// f32, `[count, heads, width]`; changed in place.
    pub x: &'a Tensor,
    /// f32, `[count, 2, pairs]`: cosines and sines.
    pub angles: &'a Tensor,
    /// Which columns make a pair.
    pub pairs: Pairs,
}

impl Op for Rope<'_> {
    type Kernels = [Kernel; 2];
    const NAME: &'static str = "rope";

    fn served() -> Vec<Served> {
        let serve = |(pairs, name)| {
            let kernel =
                move |level| cpu::kernel(pairs, name, level).bundle(include_bytes!("cuda.bundle"), name);
            Served::per_level(format!("f32, {pairs:?}"), kernel)
        };
        [(Pairs::Interleaved, "rope_interleaved"), (Pairs::HalfSplit, "rope_half_split")].map(serve).into()
    }

    fn check(&self) -> Result<()> {
        let [count, _, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        let angles = argument(Self::NAME, "angles", self.angles).f32()?;
        let [_, _, pairs] = angles.axes()?;
        angles.shaped(&[count, 2, pairs])?;
        ensure(2 * pairs <= width, Self::NAME, "pairs of angles", pairs as f64, "at most half the width of x")
    }

    fn kernel<'k>(&self, kernels: &'k [Kernel; 2]) -> Result<&'k Kernel> {
        Ok(&kernels[self.pairs as usize])
    }

    fn launch(&self, kernels: &[Kernel; 2], stage: &mut Stage<'_>) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "x", self.x).axes()?;
        if self.x.elements() == 0 || self.angles.elements() == 0 {
            return Ok(());
        }
        let (kernel, pairs) = (self.kernel(kernels)?, self.angles.shape()[2]);
        let all = count * heads * pairs;
        let sizes = [("heads of x", heads * width), ("pairs", 2 * pairs), ("width", width), ("turns", all)];
        let [own, turns, width, elements] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let grid = grid_by_thread(Self::NAME, kernel, count, all)?;
        let (x, angles) = (self.x.arg(), self.angles.arg());
        let arguments = [x, angles, own?.into(), turns?.into(), width?.into(), elements?.into()];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
