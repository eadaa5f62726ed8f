//! Rotates pairs of columns by angles that grow with the position.
//!
//! Every scheme of scaling is folded into the table of frequencies, made once by [`frequencies`] or by the model.
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Grid, Kernel, Stage};

use crate::{
    ArgumentFault, DType, Error, Op, Result, Served, Tensor,
    op::{argument, groups, size},
};

/// Which columns make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairs {
    /// Columns `2 i` and `2 i + 1`.
    Interleaved,
    /// Columns `i` and `i + rotated / 2`.
    HalfSplit,
}

/// Rotates the first `2 * frequencies` columns of every head in place; the others stay.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::{Rope, rope}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[1, 1, 3], &[1.0f32, 0.0, 9.0])?;
/// let positions = Tensor::from_slice(&device, &[1], &[1u32])?;
/// let frequencies = Tensor::from_slice(&device, &[1], &rope::frequencies(10_000.0, 2, 1.0, None))?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("rotate");
/// let pairs = rope::Pairs::Interleaved;
/// ops.record(&mut stage, &Rope { x: &x, positions: &positions, frequencies: &frequencies, pairs })?;
/// stage.submit()?;
/// let x = x.to_vec::<f32>()?;
/// assert!((x[0] - 1f32.cos()).abs() < 1e-6 && (x[1] - 1f32.sin()).abs() < 1e-6 && x[2] == 9.0);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// f32, `[count, heads, width]`; changed in place.
    pub x: &'a Tensor,
    /// u32, `[count]`.
    pub positions: &'a Tensor,
    /// f32, one for each pair: radians a position.
    pub frequencies: &'a Tensor,
    /// Which columns make a pair.
    pub pairs: Pairs,
}

/// Frequencies of the pairs of `rotated` columns: `scale * base^(-2 i / rotated)`, each divided by its factor.
pub fn frequencies(base: f32, rotated: usize, scale: f32, factors: Option<&[f32]>) -> Vec<f32> {
    let frequency = |i: usize| {
        let factor = factors.and_then(|factors| factors.get(i)).copied().unwrap_or(1.0);
        let exponent = -2.0 * i as f64 / rotated as f64;
        (f64::from(base).powf(exponent) * f64::from(scale) / f64::from(factor)) as f32
    };
    (0..rotated / 2).map(frequency).collect()
}

impl Op for Rope<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "rope";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel())]
    }

    fn check(&self) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "x", self.x).of(DType::F32)?.axes()?;
        argument(Self::NAME, "positions", self.positions).of(DType::U32)?.shaped(&[count])?;
        let [pairs] = argument(Self::NAME, "frequencies", self.frequencies).of(DType::F32)?.axes()?;
        size(Self::NAME, "heads", heads)?;
        if 2 * pairs > width {
            let fault = ArgumentFault::Shape { shape: vec![pairs], wanted: vec![width / 2] };
            return Err(Error::Argument { op: Self::NAME, argument: "frequencies", fault });
        }
        Ok(())
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        if self.x.elements() == 0 {
            return Ok(());
        }
        let grid = Grid::linear(groups(Self::NAME, self.x.shape()[0])?, 1);
        let heads = size(Self::NAME, "heads", self.x.shape()[1])?;
        let half_split = u32::from(self.pairs == Pairs::HalfSplit);
        let [x, positions, frequencies] =
            [self.x, self.positions, self.frequencies].map(|tensor| tensor.buffer().arg());
        Ok(stage.launch(kernel, grid, &[x, positions, frequencies, heads.into(), half_split.into()])?)
    }
}
