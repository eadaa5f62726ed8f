//! Multiplies rows by up to three weights at once, with a norm before and with what follows behind, on a card.
//!
//! It is what lies between two places where all of a row has to be known: the norm of a layer and its products, or a
//! product and the sum with the hidden state. Every launch costs time in which no weight is read: one row is one launch, and a few rows
//! are one that rounds them into a room and one for each format. Many rows
//! cost time to move: in a room they are written once, as what is multiplied. On the CPU, where both cost next to nothing,
//! [`RmsNorm`](super::RmsNorm), [`Round`](super::Round) and [`Matmul`](super::Matmul), which has biases, sums and gates itself, do
//! the same for any rows.
//! Next rooms: `reference` for what it means, `plan` for how blocks are shared out, `few` for a few rows, `cuda.cu` for how it runs;
//! `matmul::images` for many rows.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
pub(in crate::ops) mod few;
mod plan;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Arg, BackendKind, Device, Kernel, KernelDef, Param, Signature, Stage};

use self::{
    few::Few,
    plan::{Card, Shares},
};
use super::{
    gate::Gating,
    matmul::{
        Ending,
        images::{self, Images, Product, Rows, Work},
    },
};
use crate::{
    ArgumentFault, DType, Error, Extent, Level, Op, Result, Served, Tensor, Weight,
    op::{
        Loaded, argument,
        contract::{ensure, epsilon, positive},
        optional, size,
    },
    quant::panel::PanelLayout,
    tiles::{self, PerType, cuda::panels::for_format},
};

/// The most maps of an op.
pub const MOST: usize = 3;

/// A weight, and what is added to its product.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// `[rows, width]`, packed.
    pub weight: &'a Weight,
    /// f32, `[rows]`.
    pub bias: Option<&'a Tensor>,
}

/// Scales the row to a root mean square of one before it is multiplied.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<'a> {
    /// f32, `[width]`.
    pub weight: &'a Tensor,
    /// Keeps a row of zeros from a division by zero.
    pub epsilon: f32,
}

/// What becomes of the products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// They are written.
    Store,
    /// They are added to what is there.
    Add,
    /// The first of two is the gate of the second.
    Gate(Gating),
}

/// `out = finish(weight * round(norm(x)) + bias)`, for each map; in a room more than eight rows are rounded to halves.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Level, Ops, Tensor, Weight, WeightBytes, ops::Project, ops::project::{Finish, Map}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let bytes = vec![0; 3 * 34];
/// let weight = Weight::pack(&device, &WeightBytes::of(DType::Q8_0, [3, 32], &bytes)?, Level::best(), "up", |_| ())?;
/// let x = Tensor::from_slice(&device, &[1, 32], &[2.0f32; 32])?;
/// let out = Tensor::of(DType::F32, &[1, 3], device.alloc(12)?)?;
/// let maps = [Map { weight: &weight, bias: None }];
/// let op = Project { x: &x, norm: None, maps: &maps, finish: Finish::Store, out: &[&out], room: None };
/// // Only cards have it.
/// assert!(!Project::serves(&x, None, [&weight]) && ops.explain(&op).is_err());
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Project<'a> {
    /// f32, `[count, width]`.
    pub x: &'a Tensor,
    /// The norm before the products.
    pub norm: Option<Scaling<'a>>,
    /// One to [`MOST`] maps, of one format unless there is a room; two of as many rows where one is a gate.
    pub maps: &'a [Map<'a>],
    /// What becomes of the products.
    pub finish: Finish,
    /// f32, `[count, rows]`, one for each map, or one where a gate makes one of two.
    pub out: &'a [&'a Tensor],
    /// f16: room for several rows, as large as [`Matmul::room`](super::Matmul::room) says, or larger.
    pub room: Option<&'a Tensor>,
}

impl<'a> Project<'a> {
    /// Whether it is worth it, where there is a kernel: `x` is one row or has a room, and such weights are packed on a card.
    pub fn serves<'w>(
        x: &Tensor,
        room: Option<&Tensor>,
        weights: impl IntoIterator<Item = &'w Weight>,
    ) -> bool {
        let fits = |weight: &Weight| weight.is_packed() && weight.buffer().backend() == BackendKind::Cuda;
        (x.shape()[0] == 1 || room.is_some()) && weights.into_iter().all(fits)
    }

    /// What is done in a room, if it can be.
    fn in_room<'k>(&self, kernels: &'k ProjectKernels) -> Option<(&'k Images, Work<'a>)> {
        let (images, room, ending) = (kernels.images.as_ref()?, self.room?, Ending::of(self.finish)?);
        if self.maps.iter().any(|map| map.bias.is_some()) {
            return None;
        }
        // A gate and what it is for are one product.
        let maps = self.maps.chunks(self.maps.len() / self.out.len());
        let product = |(maps, out): (&[Map<'a>], &&'a Tensor)| {
            let weights = maps.iter().map(|map| map.weight).collect();
            Product { weights, out, ending }
        };
        let products = maps.zip(self.out).map(product).collect();
        Some((images, Work { x: Rows::Floats(self.x, self.norm), room, products }))
    }
}

/// The kernels, and the card they are for; none where they cannot run.
#[derive(Debug)]
pub struct ProjectKernels {
    loaded: Option<(PerType, Card)>,
    /// Those that work in a room, of a few rows and of many.
    few: Option<Few>,
    images: Option<Images>,
}

impl Loaded for ProjectKernels {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let caps = device.caps();
        let card = Card::of(caps).filter(|_| caps.backend == BackendKind::Cuda);
        let (served, of_images) = images::split(served);
        let (of_one, of_few) = served.split_at(served.len().saturating_sub(few::kernels()));
        let load = |card| Ok::<_, Error>((PerType::load(device, of_one)?, card));
        Ok(Self {
            loaded: card.map(load).transpose()?,
            few: card.map(|card| Few::load(device, of_few, card)).transpose()?,
            images: Images::load(device, of_images)?,
        })
    }
}

#[cfg(any(test, feature = "conformance"))]
impl ProjectKernels {
    /// Makes images of all weights where there is room, or only where that takes less time.
    fn set_flies(&mut self, flies: bool) {
        if let Some(images) = &mut self.images {
            images.set_flies(flies);
        }
    }
}

impl Op for Project<'_> {
    type Kernels = ProjectKernels;
    const NAME: &'static str = "project";

    fn served() -> Vec<Served> {
        let of_panels = |dtype: DType| {
            let entry = for_format!(dtype, "project_");
            kernel(&format!("project_{dtype}"), entry, signature(Param::read::<f32>()))
        };
        let one_row = tiles::in_panels().map(|(dtype, ..)| Served::new(dtype.name(), of_panels(dtype)));
        one_row.chain(few::served()).chain(images::served()).collect()
    }

    fn check(&self) -> Result<()> {
        let [count, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        ensure(width > 0, Self::NAME, "width", width as f64, "above 0")?;
        if let Some(norm) = self.norm {
            argument(Self::NAME, "norm", norm.weight).f32()?.shaped(&[width])?;
            epsilon(Self::NAME, norm.epsilon)?;
        }
        let maps = self.maps.len();
        let (wanted, outs) = match self.finish {
            Finish::Gate(_) => (2..=2, 1),
            _ => (1..=MOST, maps),
        };
        ensure(wanted.contains(&maps), Self::NAME, "maps", maps as f64, "one to three, and two with a gate")?;
        ensure(self.out.len() == outs, Self::NAME, "out", self.out.len() as f64, "one for each product")?;
        for map in self.maps {
            let [rows, columns] = map.weight.shape();
            if columns != width || !map.weight.is_packed() {
                let fault =
                    ArgumentFault::Value { given: columns as f64, wanted: "packed, and as wide as x" };
                return Err(Error::Argument { op: Self::NAME, argument: "width of weight", fault });
            }
            let form = |weight: &Weight| (weight.dtype(), weight.scale_type());
            if self.room.is_none() && form(map.weight) != form(self.maps[0].weight) {
                let fault = ArgumentFault::Type {
                    dtype: map.weight.dtype().name(),
                    wanted: self.maps[0].weight.dtype().name(),
                };
                return Err(Error::Argument { op: Self::NAME, argument: "weight", fault });
            }
            if let Some(bias) = map.bias {
                argument(Self::NAME, "bias", bias).f32()?.shaped(&[rows])?;
            }
        }
        if let Some(room) = self.room {
            argument(Self::NAME, "room", room).of(DType::F16)?;
        }
        let rows = self.maps.iter().map(|map| map.weight.shape()[0]);
        for (out, rows) in self.out.iter().zip(rows.clone()) {
            argument(Self::NAME, "out", out).f32()?.shaped(&[count, rows])?;
        }
        if let Finish::Gate(gating) = self.finish {
            let given = rows.clone().nth(1).unwrap_or(0);
            ensure(
                rows.clone().next() == Some(given),
                Self::NAME,
                "rows of the second map",
                given as f64,
                "those of the first",
            )?;
            if let Gating::Clamped { alpha, limit } = gating {
                positive(Self::NAME, "alpha", alpha)?;
                positive(Self::NAME, "limit", limit)?;
            }
        }
        Ok(())
    }

    fn kernel<'k>(&self, kernels: &'k ProjectKernels) -> Result<&'k Kernel> {
        let dtype = self.maps[0].weight.dtype();
        if self.room.is_none() {
            return self.place(kernels)?.0.of(dtype);
        }
        let of_images = self.in_room(kernels).and_then(|(images, work)| images.kernel(&work));
        let of_few = || kernels.few.as_ref().and_then(|few| few.kernel(self));
        of_images.or_else(of_few).ok_or(Error::NoFormat { dtype: dtype.name() })
    }

    fn launch(&self, kernels: &ProjectKernels, stage: &mut Stage<'_>) -> Result<()> {
        let kernel = self.kernel(kernels)?;
        if self.out.iter().all(|out| out.elements() == 0) {
            return Ok(());
        }
        if let (Some(_), Some(few)) =
            (self.room, kernels.few.as_ref().filter(|few| few.kernel(self).is_some()))
        {
            return few.launch(self, stage);
        }
        if let Some((images, work)) = self.in_room(kernels) {
            return images.launch(&work, stage);
        }
        let (_, card, layout) = self.place(kernels)?;
        self.multiply(
            kernel,
            self.x,
            Part { maps: self.maps, out: self.out },
            card.one(self, &layout)?,
            stage,
        )
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        self.maps.iter().map(|map| Extent::weight(map.weight.buffer(), map.weight.name())).collect()
    }
}

/// A kernel of `cuda.cu`.
fn kernel(name: &str, entry: &'static str, params: Vec<Param>) -> KernelDef {
    KernelDef::new(name, Signature::new(params)).bundle(include_bytes!("cuda.bundle"), entry)
}

/// What kernels that multiply take, whose rows are such.
fn signature(x: Param) -> Vec<Param> {
    let floats = Param::read::<f32>();
    let map = [Param::read::<u8>(), floats, Param::read_write::<f32>()];
    let rest = [Param::f32(), Param::u32(), Param::f32(), Param::f32()];
    let params = [x, floats].into_iter().chain([map; MOST].concat()).chain([Param::u32(); 5]);
    params.chain(rest).chain([Param::u32(); 3]).collect()
}

/// Maps of one format that follow one another, and where their products go.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    maps: &'a [Map<'a>],
    out: &'a [&'a Tensor],
}

impl Project<'_> {
    /// Records products of rows as a kernel wants them.
    fn multiply(
        &self,
        kernel: &Kernel,
        x: &Tensor,
        part: Part<'_>,
        Shares { grid, batch, run }: Shares,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let Part { maps, out } = part;
        let nothing = optional(None, self.x)?;
        let norm = optional(self.norm.map(|norm| norm.weight), self.x)?;
        let mut arguments = vec![x.arg(), norm.arg()];
        let bias = maps.iter().map(|map| optional(map.bias, self.x)).collect::<Result<Vec<_>>>()?;
        for place in 0..MOST {
            let weight = maps.get(place).map_or(&nothing, |map| map.weight.buffer());
            let out = out.get(place).map_or(&nothing, |out| out.buffer());
            arguments.extend([weight.arg(), bias.get(place).unwrap_or(&nothing).arg(), out.arg()]);
        }
        let first = maps[0].weight;
        arguments.push(tiles::how(Level::best(), first.scale_type(), first.dtype()).into());
        for place in 0..MOST {
            let rows = maps.get(place).map_or(0, |map| map.weight.shape()[0]);
            arguments.push(size(Self::NAME, "rows", rows)?.into());
        }
        let [count, width] = [self.x.shape()[0], self.x.shape()[1]];
        let (finish, [alpha, limit]) = self.finish();
        let epsilon = self.norm.map_or(0.0, |norm| norm.epsilon);
        arguments.push(size(Self::NAME, "width", width)?.into());
        arguments.extend([Arg::from(epsilon), finish.into(), alpha.into(), limit.into()]);
        arguments.extend([batch, run, size(Self::NAME, "rows of x", count)?].map(Arg::from));
        Ok(stage.launch(kernel, grid, &arguments)?)
    }

    /// The kernels, their card, and how the weights lie, if there is room for a row.
    fn place<'k>(&self, kernels: &'k ProjectKernels) -> Result<(&'k PerType, &'k Card, PanelLayout)> {
        let weight = self.maps[0].weight;
        let found = kernels.loaded.as_ref().and_then(|(kernels, card)| {
            let layout = PanelLayout::of(weight.dtype(), weight.scale_type())?;
            card.fits(&layout, weight.shape()[1]).then_some((kernels, card, layout))
        });
        found.ok_or(Error::NoFormat { dtype: weight.dtype().name() })
    }

    /// What follows the products, as the kernel numbers it, and its numbers.
    fn finish(&self) -> (u32, [f32; 2]) {
        match self.finish {
            Finish::Store => (0, [0.0; 2]),
            Finish::Add => (1, [0.0; 2]),
            Finish::Gate(Gating::Clamped { alpha, limit }) => (2, [alpha, limit]),
            Finish::Gate(Gating::Curve(curve)) => (3 + curve as u32, [0.0; 2]),
        }
    }
}
