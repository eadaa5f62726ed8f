//! `matmul` on cards of 9.0, of weights in panels by many rows: both sides become images in a room, which warpgroups multiply.
//!
//! A weight is taken in bands of rows, as many as the room has place for, so that a room serves weights of any size; of fewer rows
//! of activations only these become an image. Other cards have no such instructions and load nothing of this. Next rooms:
//! `images.cu` makes images, `warpgroups.cu` multiplies them; `flight` multiplies by weights as they are.

use forebay_device::{BackendKind, Device, Grid, Kernel, KernelDef, Param, Signature, Stage};
use half::f16;

use super::{
    Matmul,
    flight::{self, Flight},
};
use crate::{
    DType, Op, Result, Served, Tensor,
    op::{Loaded, THREADS, groups, size},
    quant::rounded::Rounded,
    tiles::{
        cuda::panels::{MOST_FEW, for_format},
        in_panels,
    },
};

/// What ends the types of kernels that make images of panels.
const IN_IMAGES: &str = " in images";
/// The cards whose warpgroups multiply.
const CARDS: u32 = 90;
/// The kernel that is served first, and only by this.
const OF_X: &str = "matmul_image_of_x";
/// The fewest rows of activations that it is worth to make images for.
const LEAST: usize = MOST_FEW + 1;
/// Rows and columns of a brick of an image, and its elements.
const BRICK: [usize; 2] = [128, 64];
const ELEMENTS: usize = BRICK[0] * BRICK[1];
/// Rows of the weight that a room always has place for, and what bands are multiples of where there are several.
const BAND: usize = 256;
/// Elements of the largest band, of which a good part stays at hand until it is multiplied.
const MOST: usize = 32 << 20;
/// Rows of a panel; warps of a block that makes an image of panels, and columns of each of them.
const PANEL: usize = 16;
const WARPS: usize = 8;
const SPAN: usize = 256;
/// Threads of a block that multiplies, and what it shares: stages, up to what they are aligned to, and barriers.
const PRODUCT_THREADS: u32 = 384;
const SHARED: usize = 4 * 3 * ELEMENTS * 2 + 1024 + 128;

/// Elements of a weight that become an image in a nanosecond, and how many nanoseconds it takes to begin.
const ELEMENTS_OF_IMAGE: usize = 1300;
const IMAGE_AT_LEAST: usize = 2500;

/// How blocks multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    entry: &'static str,
    /// Rows of the weight of a tile.
    wide: usize,
    /// Blocks that share them.
    pair: usize,
    /// Tens of nanoseconds for 64 columns of a tile. Narrow tiles bring more bytes for each product, and so do blocks alone.
    cost: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { entry: "matmul_images_256", wide: 256, pair: 2, cost: 78 },
    Shape { entry: "matmul_images_256_alone", wide: 256, pair: 1, cost: 81 },
    Shape { entry: "matmul_images_128_alone", wide: 128, pair: 1, cost: 45 },
];

/// How an op is served.
enum Way<'k> {
    /// By its weight as it is.
    Flight(Flight, &'k Kernel),
    /// By images of so many rows of its weight at a time.
    Bands(usize, &'k Kernel),
}

/// The kernels, where a card has what they need.
#[derive(Debug)]
pub(super) struct Images {
    x: Kernel,
    products: [Kernel; SHAPES.len()],
    panels: Vec<(DType, Kernel)>,
    flights: flight::Kernels,
    /// Whether weights may be taken as they are.
    flies: bool,
    workers: usize,
}

/// The kernels that make images of panels, of rows, and that multiply them.
pub(super) fn served() -> Vec<Served> {
    let (sizes, eight) = ([Param::u32(); 5], Param::write::<[f16; 8]>());
    let of_panels = |dtype: DType| {
        let signature = Signature::new([&[Param::read::<u8>(), eight], &sizes[..4]].concat());
        let entry = for_format!(dtype, "matmul_image_");
        let def = KernelDef::new(format!("matmul_image_{dtype}"), signature);
        Served::new(format!("{dtype}{IN_IMAGES}"), def.bundle(include_bytes!("images.bundle"), entry))
    };
    let of_x = Signature::new([&[Param::read::<Rounded>(), eight], &sizes[..3]].concat());
    let of_x = KernelDef::new(OF_X, of_x).bundle(include_bytes!("images.bundle"), OF_X);
    let product = |Shape { entry, wide, pair, .. }| {
        let image = Param::read::<[f16; 8]>();
        let signature = Signature::new([&[image, image, Param::write::<f32>()], &sizes[..]].concat());
        let types = format!("images, {wide} rows for {pair}");
        Served::new(
            types,
            KernelDef::new(entry, signature).bundle(include_bytes!("warpgroups.bundle"), entry),
        )
    };
    let panels = in_panels().map(|(dtype, ..)| of_panels(dtype));
    let x = [Served::new("rows in images", of_x)].into_iter();
    x.chain(SHAPES.map(product)).chain(panels).chain(flight::served()).collect()
}

/// Whether rooms are of use to a device; one that only knows sizes stands for any.
pub(super) fn is_for(device: &Device) -> bool {
    match device.kind() {
        BackendKind::Cuda => device.caps().architecture == CARDS,
        kind => kind == BackendKind::Null,
    }
}

/// What this serves of all that the op does, and before it the rest.
pub(super) fn split(served: &[Served]) -> (&[Served], &[Served]) {
    let first = served.iter().position(|one| one.kernel() == OF_X);
    served.split_at(first.unwrap_or(served.len()))
}

impl Images {
    /// Loads what [`served`] gave, on cards that have what it needs.
    pub(super) fn load(device: &Device, served: &[Served]) -> Result<Option<Self>> {
        if device.kind() == BackendKind::Null || !is_for(device) {
            return Ok(None);
        }
        let (x, rest) = served.split_at(1);
        let (products, rest) = rest.split_at(SHAPES.len());
        let (panels, flights) = rest.split_at(in_panels().count());
        let of_type = |one: &Served| {
            let dtype = one.types().strip_suffix(IN_IMAGES).unwrap_or_default().parse()?;
            Ok((dtype, one.load(device)?))
        };
        Ok(Some(Self {
            x: Kernel::load(device, x)?,
            products: Loaded::load(device, products)?,
            panels: panels.iter().map(of_type).collect::<Result<_>>()?,
            flights: flight::Kernels::load(device, flights)?,
            flies: true,
            workers: device.caps().workers,
        }))
    }

    /// Makes images of all weights, or only where that takes less time.
    #[cfg(any(test, feature = "conformance"))]
    pub(super) fn set_flies(&mut self, flies: bool) {
        self.flies = flies;
    }

    /// How an op is served that has room.
    fn way(&self, op: &Matmul<'_>) -> Option<Way<'_>> {
        let (count, [rows, width], dtype) = (op.x.shape()[0], op.weight.shape(), op.weight.dtype());
        let room = op.room?.elements();
        if count < LEAST || rows == 0 || room < elements(count, width) {
            return None;
        }
        let flight = Flight::of(count, [rows, width], self.workers).filter(|_| self.flies);
        let of_image = || {
            let band = cut(room, count, [rows, width])?;
            let (_, kernel) = self.panels.iter().find(|(known, _)| *known == dtype)?;
            Some((band, kernel))
        };
        match (flight, of_image()) {
            (Some(flight), image)
                if image.is_none() || flight.time <= time(count, [rows, width], self.workers) =>
            {
                Some(Way::Flight(flight, self.flights.of(dtype, flight)?))
            }
            (_, image) => image.map(|(band, kernel)| Way::Bands(band, kernel)),
        }
    }

    /// The kernel that reads the weight, where an op has room.
    pub(super) fn kernel(&self, op: &Matmul<'_>) -> Option<&Kernel> {
        self.way(op).map(|(Way::Flight(_, kernel) | Way::Bands(_, kernel))| kernel)
    }

    /// Records all launches of an op that has room; `how` is the word that tells kernels of the weight.
    pub(super) fn launch(&self, op: &Matmul<'_>, how: u32, stage: &mut Stage<'_>) -> Result<()> {
        let ([rows, width], count) = (op.weight.shape(), op.x.shape()[0]);
        let (Some(room), Some(way)) = (op.room, self.way(op)) else { return Ok(()) };
        let (room, of_x) = (room.reshape(&[room.elements()])?, elements(count, width));
        let x = room.narrow(0, 0..of_x)?;
        self.launch_x(op, &x, matches!(way, Way::Flight(..)), stage)?;
        match way {
            Way::Flight(flight, kernel) => {
                let sizes = [word("rows", rows)?, how, word("width", width)?, word("rows of x", count)?];
                let [rows, how, width, count] = sizes.map(Into::into);
                let [weight, out] = [op.weight.buffer().arg(), op.out.arg()];
                let arguments = [weight, x.arg(), out, rows, how, width, count];
                Ok(stage.launch(kernel, flight.grid(op, self.workers)?, &arguments)?)
            }
            Way::Bands(band, kernel) => {
                let weight = room.narrow(0, of_x..of_x + elements(band, width))?;
                for first in (0..rows).step_by(band) {
                    let part = band.min(rows - first);
                    launch_panels(kernel, op, &weight, [first, part], how, stage)?;
                    self.launch_product(op, [&weight, &x], [first, part], stage)?;
                }
                Ok(())
            }
        }
    }

    fn launch_x(&self, op: &Matmul<'_>, image: &Tensor, in_turns: bool, stage: &mut Stage<'_>) -> Result<()> {
        let (count, width) = (op.x.shape()[0], op.weight.shape()[1]);
        let threads = (bricks(width) * BRICK[1] / 8).div_ceil(THREADS as usize);
        let grid = Grid::linear(groups(Matmul::NAME, count.saturating_mul(threads))?, THREADS);
        let sizes = [word("width", width)?, word("rows of x", count)?, u32::from(in_turns)];
        let [width, count, in_turns] = sizes.map(Into::into);
        Ok(stage.launch(&self.x, grid, &[op.x.arg(), image.arg(), width, count, in_turns])?)
    }

    fn launch_product(
        &self,
        op: &Matmul<'_>,
        [weight, x]: [&Tensor; 2],
        [first, part]: [usize; 2],
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let ([rows, width], count) = (op.weight.shape(), op.x.shape()[0]);
        let (number, blocks) = shape(count, part, self.workers);
        let blocks = groups(Matmul::NAME, blocks)?;
        let grid = Grid { shared_bytes: SHARED as u32, ..Grid::linear(blocks, PRODUCT_THREADS) };
        let [first, part, rows] = [word("rows", first)?, word("rows", part)?, word("rows", rows)?];
        let [bricks, count] = [word("columns", bricks(width))?, word("rows of x", count)?];
        let [first, part, rows, bricks, count] = [first, part, rows, bricks, count].map(Into::into);
        let arguments = [weight.arg(), x.arg(), op.out.arg(), first, part, rows, bricks, count];
        Ok(stage.launch(&self.products[number], grid, &arguments)?)
    }
}

/// Makes the image of some rows of the weight.
fn launch_panels(
    kernel: &Kernel,
    op: &Matmul<'_>,
    image: &Tensor,
    [first, part]: [usize; 2],
    how: u32,
    stage: &mut Stage<'_>,
) -> Result<()> {
    let (width, panels) = (op.weight.shape()[1], part.div_ceil(PANEL));
    let warps = panels.saturating_mul((bricks(width) * BRICK[1]).div_ceil(SPAN));
    let grid = Grid::linear(groups(Matmul::NAME, warps.div_ceil(WARPS))?, 32 * WARPS as u32);
    let [width, first] = [word("width", width)?, word("panels", first / PANEL)?];
    let [how, width, first, panels] = [how, width, first, word("panels", panels)?].map(Into::into);
    Ok(stage.launch(kernel, grid, &[op.weight.buffer().arg(), image.arg(), how, width, first, panels])?)
}

fn word(name: &'static str, value: usize) -> Result<u32> {
    size(Matmul::NAME, name, value)
}

/// Bricks along a row.
pub(super) fn bricks(width: usize) -> usize {
    width.div_ceil(BRICK[1])
}

/// Elements of an image of so many rows.
fn elements(rows: usize, width: usize) -> usize {
    rows.div_ceil(BRICK[0]).saturating_mul(bricks(width)).saturating_mul(ELEMENTS)
}

/// Elements of a room for so many rows of activations and a weight; none where images are not made.
pub(super) fn room(count: usize, [rows, width]: [usize; 2]) -> usize {
    if count < LEAST || rows == 0 || width == 0 {
        return 0;
    }
    let band = (MOST / (bricks(width) * BRICK[1]) / BAND * BAND).max(BAND);
    elements(count, width).saturating_add(elements(rows.min(band), width))
}

/// Rows of the weight of a band, where so large a room has place for the rows of activations and for a band.
fn cut(room: usize, count: usize, [rows, width]: [usize; 2]) -> Option<usize> {
    if count < LEAST || rows == 0 || width == 0 {
        return None;
    }
    let fit = room.checked_sub(elements(count, width))? / elements(1, width) * BRICK[0];
    let band = if fit >= rows { rows } else { fit / BAND * BAND };
    (band > 0).then_some(band)
}

/// Nanoseconds that images take, of the weight and for the product.
fn time(count: usize, [rows, width]: [usize; 2], workers: usize) -> usize {
    let (number, blocks) = shape(count, rows, workers);
    let Shape { wide, pair, cost, .. } = SHAPES[number];
    let tiles = count.div_ceil(BRICK[0]).next_multiple_of(pair) * rows.div_ceil(wide);
    let product = tiles.div_ceil(blocks).saturating_mul(bricks(width) * cost * 10);
    rows.saturating_mul(width) / ELEMENTS_OF_IMAGE + IMAGE_AT_LEAST + product
}

/// Which of the shapes takes the least time on so many multiprocessors, and its blocks.
fn shape(count: usize, part: usize, workers: usize) -> (usize, usize) {
    let each = SHAPES.iter().enumerate().filter(|(_, shape)| shape.pair <= workers);
    let costs = each.map(|(number, shape)| {
        let tiles = count.div_ceil(BRICK[0]).div_ceil(shape.pair) * part.div_ceil(shape.wide);
        let at_once = workers / shape.pair;
        (tiles.div_ceil(at_once) * shape.cost, number, tiles.min(at_once) * shape.pair)
    });
    costs.min().map_or((SHAPES.len() - 1, 1), |(_, number, blocks)| (number, blocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_place_for_what_it_was_made_for() {
        for count in [LEAST, 200, 2048] {
            for (rows, width) in
                [(1, 32), (300, 96), (4096, 4096), (24_576, 4096), (4096, 12_288), (70, 1 << 22)]
            {
                let room = room(count, [rows, width]);
                let band = cut(room, count, [rows, width]).unwrap();
                assert!(elements(count, width) + elements(band, width) <= room, "{count} x {rows} x {width}");
                assert!(band == rows || band.is_multiple_of(BAND), "{band}");
                assert_eq!(cut(elements(count, width), count, [rows, width]), None);
            }
        }
        assert_eq!((room(LEAST - 1, [64, 64]), room(LEAST, [0, 64]), room(LEAST, [64, 0])), (0, 0, 0));
        assert_eq!(cut(usize::MAX, LEAST - 1, [64, 64]), None);
    }

    #[test]
    fn what_a_smaller_room_has_place_for_is_taken_in_bands() {
        let left = elements(1000, 64);
        assert_eq!(cut(elements(500, 64) + left, 500, [4000, 64]), Some(1024));
        assert_eq!(cut(elements(500, 64) + left, 500, [1000, 64]), Some(1000));
        assert_eq!(cut(elements(500, 64) + elements(255, 64), 500, [4000, 64]), Some(256));
        assert_eq!(cut(elements(500, 64) + elements(128, 64), 500, [4000, 64]), None);
    }

    #[test]
    fn tiles_are_wide_where_they_keep_a_card_busy() {
        let entry = |count, part| SHAPES[shape(count, part, 132).0].entry;
        assert_eq!(entry(2048, 4096), "matmul_images_256");
        assert_eq!(entry(512, 4096), "matmul_images_128_alone");
        assert_eq!(entry(128, 24_576), "matmul_images_256_alone");
        for workers in [1, 2, 131, 132] {
            for (count, part) in [(1, 1), (200, 70), (2048, 24_576)] {
                let (number, blocks) = shape(count, part, workers);
                assert!((1..=workers).contains(&blocks) && blocks.is_multiple_of(SHAPES[number].pair));
            }
        }
    }
}
