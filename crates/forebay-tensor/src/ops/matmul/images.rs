//! Products of many rows on cards of 9.0, with weights in panels: both sides become images in a room, which warpgroups multiply.
//!
//! `matmul` and `project` are both recorded here. A weight is taken in bands of rows, as many as the room has place for, so that a
//! room serves weights of any size; of fewer rows of activations only these become an image. Other cards have no such
//! instructions and load nothing of this. Next rooms: `bands` decides how much is taken at a time; `images.cu` makes images,
//! `warpgroups.cu` multiplies them; `flight` multiplies by weights as they are.

use forebay_device::{Arg, BackendKind, Buffer, Device, Grid, Kernel, KernelDef, Param, Signature, Stage};
use half::f16;

use super::{
    Matmul,
    bands::{BRICK, ELEMENTS, Ending, LEAST, SHAPES, Shape, Sizes, bricks, word},
    flight::{self, Flight},
};
use crate::{
    DType, Level, Op, Result, Served, Tensor, Weight,
    op::{Loaded, THREADS, groups, optional},
    ops::project::Scaling,
    quant::rounded::Rounded,
    tiles::{self, cuda::panels::for_format, in_panels},
};

/// What ends the types of kernels that make images of panels.
const IN_IMAGES: &str = " in images";
/// The cards whose warpgroups multiply.
const CARDS: u32 = 90;
/// The kernel that is served first, and only by this, and the one behind it.
const OF_X: &str = "matmul_image_of_x";
const OF_FLOATS: &str = "matmul_image_of_floats";
/// Rows of a panel; warps of a block that makes an image of panels, and columns of each of them.
const PANEL: usize = 16;
const WARPS: usize = 8;
const SPAN: usize = 256;
/// The most threads of a block that makes an image of floats, each of eight columns at a time.
const MOST_THREADS: usize = 512;
/// Nanoseconds that an op takes to make one of two products, of a thousand elements.
const GATE_OF_THOUSAND: usize = 3;
/// Threads of a block that multiplies, and what it shares: stages, up to what they are aligned to, and barriers.
const PRODUCT_THREADS: u32 = 384;
const SHARED: usize = 4 * 3 * ELEMENTS * 2 + 1024 + 128;

/// Rows of activations as an op has them.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum Rows<'a> {
    /// Rounded.
    Rounded(&'a Tensor),
    /// Floats, which are scaled by a norm if there is one.
    Floats(&'a Tensor, Option<Scaling<'a>>),
}

/// What becomes of rows with one weight, or with two of one shape where the first is the gate of the second.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Product<'a> {
    pub(in crate::ops) weights: Vec<&'a Weight>,
    pub(in crate::ops) out: &'a Tensor,
    pub(in crate::ops) ending: Ending,
}

/// All that an op wants: products of the same rows, in a room.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Work<'a> {
    pub(in crate::ops) x: Rows<'a>,
    pub(in crate::ops) room: &'a Tensor,
    pub(in crate::ops) products: Vec<Product<'a>>,
}

/// How products are made, and how many nanoseconds that takes.
#[derive(Clone, Debug)]
struct Plan<'k, 'p, 'a> {
    way: Way<'k>,
    time: usize,
    /// One, or several that are made together.
    products: Vec<&'p Product<'a>>,
}

/// How products are made.
#[derive(Clone, Copy, Debug)]
enum Way<'k> {
    /// By weights as they are.
    Flight(Flight, &'k Kernel),
    /// By images of so many rows of each weight at a time.
    Bands(usize, [&'k Kernel; 2]),
}

/// The kernels, where a card has what they need.
#[derive(Debug)]
pub(in crate::ops) struct Images {
    x: Kernel,
    floats: Kernel,
    products: [Kernel; SHAPES.len()],
    panels: Vec<(DType, Kernel)>,
    flights: flight::Kernels,
    /// Whether weights may be taken as they are.
    flies: bool,
    workers: usize,
}

/// The kernels that make images of rows and of panels, and that multiply them.
pub(in crate::ops) fn served() -> Vec<Served> {
    let (sizes, eight) = ([Param::u32(); 6], Param::write::<[f16; 8]>());
    let of_panels = |dtype: DType| {
        let signature = Signature::new([&[Param::read::<u8>(), eight], &sizes[..5]].concat());
        let entry = for_format!(dtype, "matmul_image_");
        let def = KernelDef::new(format!("matmul_image_{dtype}"), signature);
        Served::new(format!("{dtype}{IN_IMAGES}"), def.bundle(include_bytes!("images.bundle"), entry))
    };
    let of_x = Signature::new([&[Param::read::<Rounded>(), eight], &sizes[..3]].concat());
    let of_x = KernelDef::new(OF_X, of_x).bundle(include_bytes!("images.bundle"), OF_X);
    let floats = Param::read::<f32>();
    let of_floats = Signature::new([floats, floats, eight, Param::u32(), Param::f32(), Param::u32()]);
    let of_floats = KernelDef::new(OF_FLOATS, of_floats).bundle(include_bytes!("images.bundle"), OF_FLOATS);
    let product = |Shape { entry, wide, pair, .. }| {
        let image = Param::read::<[f16; 8]>();
        let signature = Signature::new([&[image, image, Param::read_write::<f32>()], &sizes[..]].concat());
        let types = format!("images, {wide} rows for {pair}");
        Served::new(
            types,
            KernelDef::new(entry, signature).bundle(include_bytes!("warpgroups.bundle"), entry),
        )
    };
    let panels = in_panels().map(|(dtype, ..)| of_panels(dtype));
    let rows = [Served::new("rows in images", of_x), Served::new("floats in images", of_floats)].into_iter();
    rows.chain(SHAPES.map(product)).chain(panels).chain(flight::served()).collect()
}

/// Whether rooms are of use to a device; one that only knows sizes stands for any.
pub(in crate::ops) fn is_for(device: &Device) -> bool {
    match device.kind() {
        BackendKind::Cuda => device.caps().architecture == CARDS,
        kind => kind == BackendKind::Null,
    }
}

/// What this serves of all that an op does, and before it the rest.
pub(in crate::ops) fn split(served: &[Served]) -> (&[Served], &[Served]) {
    let first = served.iter().position(|one| one.kernel() == OF_X);
    served.split_at(first.unwrap_or(served.len()))
}

impl Images {
    /// Loads what [`served`] gave, on cards that have what it needs.
    pub(in crate::ops) fn load(device: &Device, served: &[Served]) -> Result<Option<Self>> {
        if device.kind() == BackendKind::Null || !is_for(device) {
            return Ok(None);
        }
        let (rows, rest) = served.split_at(2);
        let (products, rest) = rest.split_at(SHAPES.len());
        let (panels, flights) = rest.split_at(in_panels().count());
        let of_type = |one: &Served| {
            let dtype = one.types().strip_suffix(IN_IMAGES).unwrap_or_default().parse()?;
            Ok((dtype, one.load(device)?))
        };
        let [x, floats] = Loaded::load(device, rows)?;
        Ok(Some(Self {
            x,
            floats,
            products: Loaded::load(device, products)?,
            panels: panels.iter().map(of_type).collect::<Result<_>>()?,
            flights: flight::Kernels::load(device, flights)?,
            flies: true,
            workers: device.caps().workers,
        }))
    }

    /// Makes images of all weights, or only where that takes less time.
    #[cfg(any(test, feature = "conformance"))]
    pub(in crate::ops) fn set_flies(&mut self, flies: bool) {
        self.flies = flies;
    }

    /// The kernel that reads the first weight, where all of the work is done here.
    pub(in crate::ops) fn kernel(&self, work: &Work<'_>) -> Option<&Kernel> {
        let plans = self.plans(work)?;
        plans.first().map(|plan| match plan.way {
            Way::Flight(_, kernel) | Way::Bands(_, [kernel, _]) => kernel,
        })
    }

    /// Records all launches of work that is done here.
    pub(in crate::ops) fn launch(&self, work: &Work<'_>, stage: &mut Stage<'_>) -> Result<()> {
        let Some(plans) = self.plans(work) else { return Ok(()) };
        let room = work.room.reshape(&[work.room.elements()])?;
        let of_x = work.sizes(&work.products[0]).of_x();
        let (x, rest) = (room.narrow(0, 0..of_x)?, room.narrow(0, of_x..room.elements())?);
        // Weights as they are want another order of columns: all of them meet one image, and then others the other.
        for flies in [true, false] {
            let plans = || plans.iter().filter(|plan| plan.way.flies() == flies);
            if plans().next().is_some() {
                self.launch_x(work, &x, flies, stage)?;
            }
            for Plan { way, products, .. } in plans() {
                let sizes = work.sizes(products[0]);
                match way {
                    Way::Flight(flight, kernel) => self.fly(*flight, kernel, products, &x, sizes, stage)?,
                    Way::Bands(band, kernels) => {
                        self.launch_bands(*band, kernels, products[0], [&x, &rest], sizes, stage)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// How all products are made, if they can be: each in the way that takes the least time, or those of a format together if they
    /// then take less.
    fn plans<'p, 'a>(&self, work: &'p Work<'a>) -> Option<Vec<Plan<'_, 'p, 'a>>> {
        let alone = work.products.iter().map(|product| self.plan(product, work.sizes(product), work.room));
        let mut alone: Vec<_> = alone.collect::<Option<_>>()?;
        let mut plans = Vec::new();
        while let Some(first) = alone.first().map(|plan| plan.products[0]) {
            let like = |plan: &Plan<'_, '_, 'a>| plan.products[0].flies_with(first);
            let (several, others): (Vec<_>, Vec<_>) = alone.into_iter().partition(like);
            let apart: usize = several.iter().map(|plan| plan.time).sum();
            let products: Vec<_> = several.iter().map(|plan| plan.products[0]).collect();
            match self.flight(&products, work.sizes(first)).filter(|plan| plan.time < apart) {
                Some(together) => plans.push(together),
                None => plans.extend(several),
            }
            alone = others;
        }
        Some(plans)
    }

    /// How a product is made, if it can be.
    fn plan<'p, 'a>(
        &self,
        product: &'p Product<'a>,
        sizes: Sizes,
        room: &Tensor,
    ) -> Option<Plan<'_, 'p, 'a>> {
        let Sizes { count, rows, width, weights } = sizes;
        if count < LEAST || rows == 0 || width == 0 || room.elements() < sizes.of_x() {
            return None;
        }
        let products = vec![product];
        let of_images = || {
            let (band, time) = sizes.cut(room.elements(), self.workers)?;
            let kernel = |weight: Option<&&Weight>| {
                let dtype = weight?.dtype();
                self.panels.iter().find(|(known, _)| *known == dtype).map(|(_, kernel)| kernel)
            };
            let kernels = [kernel(product.weights.first())?, kernel(product.weights.last())?];
            Some(Plan { way: Way::Bands(band, kernels), time, products: products.clone() })
        };
        if weights > 1 {
            // What is a gate and what it is for are images, or an op behind them makes one of two products.
            let apart = Flight::of(count, &vec![rows; weights], width, self.workers).filter(|_| self.flies);
            let behind = count.saturating_mul(rows).saturating_mul(GATE_OF_THOUSAND) / 1000;
            return of_images().filter(|plan| apart.is_none_or(|flight| plan.time < flight.time + behind));
        }
        match (self.flight(&products, sizes), of_images()) {
            (Some(flight), Some(images)) if images.time < flight.time => Some(images),
            (flight, images) => flight.or(images),
        }
    }

    /// How products are made by weights of one format as they are, if that may be.
    fn flight<'p, 'a>(&self, products: &[&'p Product<'a>], sizes: Sizes) -> Option<Plan<'_, 'p, 'a>> {
        if !self.flies || products.len() > flight::MOST || sizes.weights > 1 {
            return None;
        }
        let rows: Vec<_> = products.iter().map(|product| product.weights[0].shape()[0]).collect();
        let flight = Flight::of(sizes.count, &rows, sizes.width, self.workers)?;
        let kernel = self.flights.of(products[0].weights[0].dtype(), flight)?;
        Some(Plan { way: Way::Flight(flight, kernel), time: flight.time, products: products.to_vec() })
    }

    /// Makes the image of the rows.
    fn launch_x(&self, work: &Work<'_>, image: &Tensor, in_turns: bool, stage: &mut Stage<'_>) -> Result<()> {
        let [count, columns] = [work.x.shape()[0], work.x.shape()[1]];
        let (width, parts) = (word("width", columns)?, bricks(columns) * BRICK[1] / 8);
        match work.x {
            Rows::Rounded(x) => {
                let blocks = count.saturating_mul(parts.div_ceil(THREADS as usize));
                let grid = Grid::linear(groups(Matmul::NAME, blocks)?, THREADS);
                let words = [width, word("rows of x", count)?, u32::from(in_turns)];
                let [width, count, in_turns] = words.map(Into::into);
                Ok(stage.launch(&self.x, grid, &[x.arg(), image.arg(), width, count, in_turns])?)
            }
            Rows::Floats(x, norm) => {
                let threads = parts.next_multiple_of(32).min(MOST_THREADS);
                let grid = Grid::linear(groups(Matmul::NAME, count)?, word("threads", threads)?);
                let weight = optional(norm.map(|norm| norm.weight), x)?;
                let epsilon = norm.map_or(0.0, |norm| norm.epsilon);
                let words = [width.into(), epsilon.into(), u32::from(in_turns).into()];
                let arguments = [&[x.arg(), weight.arg(), image.arg()], &words[..]].concat();
                Ok(stage.launch(&self.floats, grid, &arguments)?)
            }
        }
    }

    /// Multiplies by weights as they are.
    fn fly(
        &self,
        flight: Flight,
        kernel: &Kernel,
        products: &[&Product<'_>],
        x: &Tensor,
        sizes: Sizes,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let weights: Vec<_> = products.iter().map(|product| product.weights[0]).collect();
        let rows: Vec<_> = weights.iter().map(|weight| weight.shape()[0]).collect();
        let nothing = optional(None, x)?;
        let given = weights.iter().map(|weight| weight.buffer()).chain(std::iter::repeat(&nothing));
        let outs = products.iter().map(|product| product.out.buffer()).chain(std::iter::repeat(&nothing));
        let mut arguments: Vec<_> = given.take(flight::MOST).map(Buffer::arg).collect();
        arguments.push(x.arg());
        arguments.extend(outs.take(flight::MOST).map(Buffer::arg));
        for place in 0..flight::MOST {
            arguments.push(word("rows", rows.get(place).copied().unwrap_or(0))?.into());
        }
        let add = u32::from(products[0].ending == Ending::Add);
        let [width, count] = [word("width", sizes.width)?, word("rows of x", sizes.count)?];
        arguments.extend([how_of(weights[0]), width, count, add].map(Arg::from));
        Ok(stage.launch(kernel, flight.grid(sizes.count, &rows, self.workers)?, &arguments)?)
    }

    /// Multiplies by images of weights, band after band.
    fn launch_bands(
        &self,
        band: usize,
        kernels: &[&Kernel; 2],
        product: &Product<'_>,
        [x, rest]: [&Tensor; 2],
        sizes: Sizes,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let image = rest.narrow(0, 0..sizes.of_band(band))?;
        // The first brick of each weight, from which the others lie as far apart as there are weights.
        let turn = bricks(sizes.width) * ELEMENTS;
        for first in (0..sizes.rows).step_by(band) {
            let part = band.min(sizes.rows - first);
            for (number, (weight, kernel)) in product.weights.iter().zip(kernels).enumerate() {
                let own = image.narrow(0, number * turn..image.elements())?;
                launch_panels(kernel, weight, &own, [first, part, sizes.weights], stage)?;
            }
            let (number, blocks) = sizes.shape(part, self.workers);
            let blocks = groups(Matmul::NAME, blocks)?;
            let grid = Grid { shared_bytes: SHARED as u32, ..Grid::linear(blocks, PRODUCT_THREADS) };
            let words = [first, part, sizes.rows, bricks(sizes.width), sizes.count, product.ending as usize];
            let mut arguments = vec![image.arg(), x.arg(), product.out.arg()];
            for value in words {
                arguments.push(word("rows", value)?.into());
            }
            stage.launch(&self.products[number], grid, &arguments)?;
        }
        Ok(())
    }
}

impl Product<'_> {
    /// Whether both are made of one weight, of the same format, and end alike.
    fn flies_with(&self, other: &Self) -> bool {
        let form = |product: &Self| match product.weights[..] {
            [weight] => Some((weight.dtype(), weight.scale_type(), product.ending)),
            _ => None,
        };
        std::ptr::eq(self, other) || form(self).is_some() && form(self) == form(other)
    }
}

impl Way<'_> {
    fn flies(&self) -> bool {
        matches!(self, Self::Flight(..))
    }
}

impl Rows<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Rounded(x) | Self::Floats(x, _) => x.shape(),
        }
    }
}

impl Work<'_> {
    fn sizes(&self, product: &Product<'_>) -> Sizes {
        Sizes::of(self.x.shape()[0], &product.weights)
    }
}

/// Makes the image of some rows of a weight, whose bricks lie so far apart.
fn launch_panels(
    kernel: &Kernel,
    weight: &Weight,
    image: &Tensor,
    [first, part, apart]: [usize; 3],
    stage: &mut Stage<'_>,
) -> Result<()> {
    let (width, panels) = (weight.shape()[1], part.div_ceil(PANEL));
    let warps = panels.saturating_mul((bricks(width) * BRICK[1]).div_ceil(SPAN));
    let grid = Grid::linear(groups(Matmul::NAME, warps.div_ceil(WARPS))?, 32 * WARPS as u32);
    let mut arguments = vec![weight.buffer().arg(), image.arg(), how_of(weight).into()];
    for value in [width, first / PANEL, panels, apart] {
        arguments.push(word("panels", value)?.into());
    }
    Ok(stage.launch(kernel, grid, &arguments)?)
}

/// The word that tells kernels of a weight.
fn how_of(weight: &Weight) -> u32 {
    tiles::how(Level::best(), weight.scale_type(), weight.dtype())
}
