//! Multiplies rows of activations by a weight of any format, adds a bias, and writes the products, adds them to what is
//! there, or has them gated.
//!
//! Five kernels. Of weights in rows, `floats` serves plain types, several rows at a time, and `decode` all others: it decodes
//! a piece of a row into f32 and takes its product with all rows of activations. Integer products with rounded rows, on
//! the level of the CPU that was chosen, are made by `panels` of weights that were packed, and by `points` of rows whose
//! codes are looked up; `panels_of_floats` decodes pieces of panels for rows that were not rounded. On a card `cuda` serves rows and `panels` what was packed, whose panels are those of the CPU; where
//! there is a room, `images` serves many rows of activations.
//! On cards products are only written; there one row has what is around them in `project`, the next room but these:
//! `reference` for what it means, `cpu`, `cuda`, `panels` and `images` for how it runs.

pub(in crate::ops) mod bands;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
mod cuda;
mod flight;
pub(in crate::ops) mod images;
mod panels;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{BackendKind, Device, Kernel, Stage};

use super::{gate::Gating, project};
use crate::{
    ArgumentFault, DType, Error, Extent, Level, Op, Result, Served, Tensor, Weight,
    op::{Loaded, argument, contract::ensure, grid, optional, size},
    tiles::{
        self, Lie, WeightKernels, cpu::products::PANELS, per_many, per_panels_of_floats, per_points,
        per_rows, per_weight,
    },
};

pub(in crate::ops) use self::bands::Ending;
use self::images::{Images, Product, Rows, Work};

/// Rows of the weight of a group, where the weight lies in rows.
const PART: usize = 16;

/// What becomes of the products, after the bias.
#[derive(Clone, Copy, Debug)]
pub enum Finish<'a> {
    /// They are written.
    Store,
    /// They are added to what is there.
    Add,
    /// What this makes of them is written. The gate has as many elements, f32.
    Gate(&'a Tensor, Gating),
}

/// `out = finish(x * transpose(weight) + bias)`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Level, Ops, Tensor, Weight, WeightBytes, ops::{Matmul, Round}, quant};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let mut bytes = vec![0; 3 * 34];
/// quant::encode(DType::Q8_0, &[[1.0; 32], [0.5; 32], [-1.0; 32]].concat(), None, &mut bytes)?;
/// let bytes = WeightBytes::of(DType::Q8_0, [3, 32], &bytes)?;
/// let weight = Weight::pack(&device, &bytes, Level::best(), "up", |_| ())?;
///
/// let x = Tensor::from_slice(&device, &[1, 32], &[2.0f32; 32])?;
/// let rounded = Tensor::of(DType::Rounded, &[1, 32], device.alloc(64)?)?;
/// let out = Tensor::of(DType::F32, &[1, 3], device.alloc(12)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("product");
/// ops.record(&mut stage, &Round { x: &x, out: &rounded })?;
/// ops.record(&mut stage, &Matmul::new(&weight, &rounded, &out))?;
/// stage.submit()?;
/// let wanted = [64.0, 32.0, -64.0];
/// assert!(out.to_vec::<f32>()?.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 0.05));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Matmul<'a> {
    /// `[rows, width]`.
    pub weight: &'a Weight,
    /// Of the type that [`Weight::input`] says, `[count, width]`.
    pub x: &'a Tensor,
    /// f32, `[rows]`: what is added to every row of products.
    pub bias: Option<&'a Tensor>,
    /// What becomes of them.
    pub finish: Finish<'a>,
    /// f32, `[count, rows]`.
    pub out: &'a Tensor,
    /// f16: room in which some cards prepare both sides where rows are many, as large as [`Matmul::room`] says, or smaller if
    /// time matters less. Without it they are prepared again and again on the way.
    pub room: Option<&'a Tensor>,
}

/// The kernels of products.
#[derive(Debug)]
pub struct Kernels {
    weights: WeightKernels,
    /// Those that work in a room.
    images: Option<Images>,
}

impl Loaded for Kernels {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let (weights, of_images) = images::split(served);
        Ok(Self { weights: Loaded::load(device, weights)?, images: Images::load(device, of_images)? })
    }

    fn set_level(&mut self, level: Level) {
        self.weights.set_level(level);
    }
}

#[cfg(any(test, feature = "conformance"))]
impl Kernels {
    /// Makes images of all weights where there is room, or only where that takes less time.
    fn set_flies(&mut self, flies: bool) {
        if let Some(images) = &mut self.images {
            images.set_flies(flies);
        }
    }
}

impl<'a> Matmul<'a> {
    /// A product without a bias or a room, which is written.
    pub fn new(weight: &'a Weight, x: &'a Tensor, out: &'a Tensor) -> Self {
        Self { weight, x, bias: None, finish: Finish::Store, out, room: None }
    }

    /// Elements of the room for up to so many rows of activations and a weight of this shape; 0 where none is of use to the
    /// device.
    pub fn room(device: &Device, count: usize, shape: [usize; 2]) -> usize {
        let of_images = if images::is_for(device) { bands::room(count, shape) } else { 0 };
        of_images.max(project::few::room(device, count, shape[1]))
    }

    /// Which argument is something around the products, if one is.
    fn around(&self) -> Option<&'static str> {
        match self.finish {
            _ if self.bias.is_some() => Some("bias"),
            Finish::Store => None,
            Finish::Add | Finish::Gate(..) => Some("finish"),
        }
    }

    /// What is done in a room, if it is.
    fn in_room<'k>(&self, kernels: &'k Kernels) -> Option<(&'k Images, Work<'a>)> {
        let images = kernels.images.as_ref().filter(|_| self.weight.lie() == Lie::Panels)?;
        let product = Product { weights: vec![self.weight], out: self.out, ending: Ending::Store };
        Some((images, Work { x: Rows::Rounded(self.x), room: self.room?, products: vec![product] }))
    }
}

impl Op for Matmul<'_> {
    type Kernels = Kernels;
    const NAME: &'static str = "matmul";

    fn served() -> Vec<Served> {
        let rows = |dtype| {
            let here = cpu::rows(dtype);
            let there = cuda::rows(here.name(), dtype);
            [here, there]
        };
        let panels = |dtype| {
            let here = cpu::panels(dtype);
            let there = panels::one_row(here.name(), dtype);
            [here, there]
        };
        let others =
            per_points(cpu::points).chain(per_many(cuda::tiles)).chain(per_rows(panels::several_rows));
        let others = per_panels_of_floats(cpu::panels_of_floats).chain(others);
        per_weight(rows, panels).into_iter().chain(others).chain(images::served()).collect()
    }

    fn check(&self) -> Result<()> {
        let [rows, width] = self.weight.shape();
        let x = argument(Self::NAME, "x", self.x).of(self.weight.input())?;
        let [count, _] = x.axes()?;
        x.shaped(&[count, width])?;
        if let Some(room) = self.room {
            argument(Self::NAME, "room", room).of(DType::F16)?;
        }
        if let Some(bias) = self.bias {
            argument(Self::NAME, "bias", bias).f32()?.shaped(&[rows])?;
        }
        if let Finish::Gate(gate, gating) = self.finish {
            argument(Self::NAME, "gate", gate).f32()?.shaped(&[count, rows])?;
            gating.check(Self::NAME)?;
        }
        ensure(width > 0 || self.around().is_none(), Self::NAME, "width of weight", 0.0, "at least 1")?;
        argument(Self::NAME, "out", self.out).of(DType::F32)?.shaped(&[count, rows])
    }

    fn kernel<'k>(&self, kernels: &'k Kernels) -> Result<&'k Kernel> {
        let (kernel, around) = (self.of_products(kernels)?, self.around());
        match around.filter(|_| kernel.backend() == BackendKind::Cuda) {
            Some(argument) => Err(Error::Argument { op: Self::NAME, argument, fault: ArgumentFault::Apart }),
            None => Ok(kernel),
        }
    }

    fn launch(&self, kernels: &Kernels, stage: &mut Stage<'_>) -> Result<()> {
        let [rows, width] = self.weight.shape();
        if self.out.elements() == 0 {
            return Ok(());
        }
        if width == 0 {
            return Ok(stage.fill(self.out.buffer(), 0)?);
        }
        let (kernel, lie, dtype) = (self.kernel(kernels)?, self.weight.lie(), self.weight.dtype());
        let how = tiles::how(kernels.weights.level(), self.weight.scale_type(), dtype);
        if let Some((images, work)) = self.in_room(kernels)
            && images.kernel(&work).is_some()
        {
            return images.launch(&work, stage);
        }
        let count = self.x.shape()[0];
        let grid = match (lie, kernel.backend()) {
            (Lie::Rows, BackendKind::Cuda) => cuda::grid(dtype, count, [rows, width])?,
            (_, BackendKind::Cuda) => panels::grid(self)?,
            (Lie::Rows, _) => grid(Self::NAME, rows.div_ceil(PART))?,
            _ => grid(Self::NAME, rows.div_ceil(PANELS * PART))?,
        };
        let [weight, x, out] = [self.weight.buffer().arg(), self.x.arg(), self.out.arg()];
        let sizes = [("rows", rows), ("width", width), ("rows of x", count)];
        let [rows, width, count] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        if kernel.backend() == BackendKind::Cuda {
            let arguments = [weight, x, out, rows?.into(), how.into(), width?.into(), count?.into()];
            return Ok(stage.launch(kernel, grid, &arguments)?);
        }
        let (gate, gating) = match self.finish {
            Finish::Gate(gate, gating) => (Some(gate), gating.words()),
            _ => (None, (0, [0.0; 2])),
        };
        let (bias, gate) = (optional(self.bias, self.x)?, optional(gate, self.x)?);
        let (gating, [alpha, limit]) = gating;
        let adds = u32::from(matches!(self.finish, Finish::Add)).into();
        let around = [adds, gating.into(), alpha.into(), limit.into()];
        let arguments = [weight, x, bias.arg(), gate.arg(), out, rows?.into(), how.into()];
        Ok(stage.launch(kernel, grid, &[&arguments[..], &around].concat())?)
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        vec![Extent::weight(self.weight.buffer(), self.weight.name())]
    }
}

impl Matmul<'_> {
    /// The kernel of the products themselves.
    fn of_products<'k>(&self, kernels: &'k Kernels) -> Result<&'k Kernel> {
        if let Some(kernel) = self.in_room(kernels).and_then(|(images, work)| images.kernel(&work)) {
            return Ok(kernel);
        }
        let kernels = &kernels.weights;
        let (dtype, lie, count) = (self.weight.dtype(), self.weight.lie(), self.x.shape()[0]);
        let several = match lie {
            Lie::Rows => kernels.of_many(dtype, cuda::rows_at_a_time(dtype, count, self.weight.shape()[0])),
            Lie::Panels => kernels.of_rows(dtype, panels::rows_at_a_time(self)),
            Lie::Points | Lie::PanelsOfFloats => None,
        };
        several.map_or_else(|| kernels.of(dtype, lie), Ok)
    }
}
