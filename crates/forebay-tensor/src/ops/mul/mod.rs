//! Multiplies one tensor by another in place: gates of elements, weights of columns, gates of whole rows.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, KernelDef, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, size},
    tiles::{each_grid, each_grid_of},
};

/// `x = x * y`. A shorter `y` multiplies every row; one whose last axis is 1 multiplies each row by one number.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Mul};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0])?;
/// let y = Tensor::from_slice(&device, &[2, 1], &[10.0f32, -1.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("product");
/// ops.record(&mut stage, &Mul { x: &x, y: &y })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [10.0, 20.0, -3.0, -4.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mul<'a> {
    /// f32 of any shape; changed in place.
    pub x: &'a Tensor,
    /// f32 of the shape of `x`, or of its last axes, or of all its axes with 1 for the last.
    pub y: &'a Tensor,
}

impl Mul<'_> {
    /// Whether each row has a number of its own.
    fn by_rows(&self) -> bool {
        let (x, y) = (self.x.shape(), self.y.shape());
        x.len() == y.len() && y.last() == Some(&1) && x[..x.len() - 1] == y[..y.len() - 1]
    }
}

impl Op for Mul<'_> {
    type Kernels = [Kernel; 2];
    const NAME: &'static str = "mul";

    fn served() -> Vec<Served> {
        let on_card = |kernel: KernelDef, entry| kernel.bundle(include_bytes!("cuda.bundle"), entry);
        vec![
            Served::new("f32", on_card(cpu::elements(), "mul")),
            Served::new("f32, one number for each row", on_card(cpu::rows(), "mul_rows")),
        ]
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32()?;
        let y = argument(Self::NAME, "y", self.y).f32()?;
        if self.by_rows() { Ok(()) } else { y.repeats_over(self.x.shape()) }
    }

    fn kernel<'k>(&self, [elements, rows]: &'k [Kernel; 2]) -> Result<&'k Kernel> {
        Ok(if self.by_rows() { rows } else { elements })
    }

    fn launch(&self, kernels: &[Kernel; 2], stage: &mut Stage<'_>) -> Result<()> {
        let kernel = self.kernel(kernels)?;
        let (x, y) = (self.x.arg(), self.y.arg());
        if self.by_rows() {
            let width = size(Self::NAME, "width", self.x.layout().shape().last())?;
            let (grid, elements) = each_grid_of(Self::NAME, kernel, self.x, self.y.elements())?;
            return Ok(stage.launch(kernel, grid, &[x, y, width.into(), elements.into()])?);
        }
        let period = size(Self::NAME, "elements of y", self.y.elements())?;
        let (grid, elements) = each_grid(Self::NAME, kernel, self.x)?;
        Ok(stage.launch(kernel, grid, &[x, y, elements.into(), period.into()])?)
    }
}
