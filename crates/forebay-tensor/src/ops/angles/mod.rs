//! The cosines and sines by which positions turn pairs of columns: made once a pass, used by every layer.
//!
//! Next rooms: `scaling` for tables of frequencies, `reference` for what the op means, `cpu` for how it runs, `rope` for who
//! uses it.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

mod scaling;

use forebay_device::{Kernel, Stage};

pub use self::scaling::{Frequencies, Scaling};
use crate::{
    ArgumentFault, Error, Op, Result, Served, Tensor,
    op::{
        argument,
        contract::{ensure, finite},
        grid_by_thread, optional, size,
    },
};

/// `out[i, 0, j] = magnitude * cos(angle)` and `out[i, 1, j] = magnitude * sin(angle)`, where `angle` is `positions[i] *
/// frequencies[j]`. Where a position is several numbers, `sections[j]` says which of them counts for pair `j`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Angles};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let positions = Tensor::from_slice(&device, &[2], &[0u32, 2])?;
/// let frequencies = Tensor::from_slice(&device, &[1], &[0.5f32])?;
/// let out = Tensor::of(DType::F32, &[2, 2, 1], device.alloc(16)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("angles");
/// ops.record(&mut stage, &Angles::new(&positions, &frequencies, &out))?;
/// stage.submit()?;
/// let out = out.to_vec::<f32>()?;
/// assert!(out[..2] == [1.0, 0.0] && (out[2] - 1f32.cos()).abs() < 1e-6 && (out[3] - 1f32.sin()).abs() < 1e-6);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Angles<'a> {
    /// u32, `[count]` or `[count, axes]`.
    pub positions: &'a Tensor,
    /// f32, `[pairs]`: radians a position.
    pub frequencies: &'a Tensor,
    /// u32, `[pairs]`: the axis of each pair; without it the first.
    pub sections: Option<&'a Tensor>,
    /// What cosines and sines are multiplied by.
    pub magnitude: f32,
    /// f32, `[count, 2, pairs]`.
    pub out: &'a Tensor,
}

impl<'a> Angles<'a> {
    /// Angles of positions that are one number, for turns that change no length.
    pub fn new(positions: &'a Tensor, frequencies: &'a Tensor, out: &'a Tensor) -> Self {
        Self { positions, frequencies, sections: None, magnitude: 1.0, out }
    }

    /// Positions, and numbers that each of them is.
    fn axes(&self) -> Result<[usize; 2]> {
        match *self.positions.shape() {
            [count] => Ok([count, 1]),
            [count, axes] => Ok([count, axes]),
            ref shape => {
                let fault = ArgumentFault::Rank { shape: shape.to_vec(), wanted: 2 };
                Err(Error::Argument { op: Self::NAME, argument: "positions", fault })
            }
        }
    }
}

impl Op for Angles<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "angles";

    fn served() -> Vec<Served> {
        vec![Served::new("u32 to f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "angles"))]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "positions", self.positions).u32()?;
        let [count, axes] = self.axes()?;
        ensure(axes > 0, Self::NAME, "axes of positions", 0.0, "at least 1")?;
        let [pairs] = argument(Self::NAME, "frequencies", self.frequencies).f32()?.axes()?;
        if let Some(sections) = self.sections {
            argument(Self::NAME, "sections", sections).u32()?.shaped(&[pairs])?;
        }
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, 2, pairs])?;
        finite(Self::NAME, "magnitude", self.magnitude)
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [count, axes] = self.axes()?;
        let pairs = self.frequencies.elements();
        let sizes = [("pairs", 2 * pairs), ("axes", axes), ("angles", count * pairs)];
        let [own, axes, elements] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let sections = optional(self.sections, self.positions)?;
        let [positions, frequencies, out] = [self.positions, self.frequencies, self.out].map(Tensor::arg);
        let [own, axes, magnitude] = [own?.into(), axes?.into(), self.magnitude.into()];
        let arguments = [positions, frequencies, sections.arg(), out, own, axes, magnitude, elements?.into()];
        Ok(stage.launch(kernel, grid_by_thread(Self::NAME, kernel, count, count * pairs)?, &arguments)?)
    }
}
