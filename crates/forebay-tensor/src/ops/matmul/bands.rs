//! How products of images are shared out: which rows of weights become an image at a time, and which blocks multiply them.
//!
//! It knows sizes and how long kernels take, and records nothing. Next rooms: `images`, which records, and `flight`, for weights
//! that are multiplied as they are.

use crate::{
    Result, Weight,
    op::{Op, size},
    ops::{activate::Curve, gate::Gating, matmul::Matmul, project::Finish},
    tiles::cuda::panels::MOST_FEW,
};

/// The fewest rows of activations that it is worth to make images for.
pub(super) const LEAST: usize = MOST_FEW + 1;
/// Rows and columns of a brick of an image, and its elements.
pub(super) const BRICK: [usize; 2] = [128, 64];
pub(super) const ELEMENTS: usize = BRICK[0] * BRICK[1];
/// Rows of an image of weights that a room always has place for, and what bands are multiples of where there are several.
const BAND: usize = 256;
/// Elements of the largest band, of which a good part stays at hand until it is multiplied; and those for each row of activations,
/// since fewer of them multiply weights as they are.
const MOST: usize = 32 << 20;
const MOST_OF_ROW: usize = 64 << 10;
/// How many more bands than the fewest are thought of.
const MORE_BANDS: usize = 3;

/// Elements of a weight that become an image in a nanosecond, and how many nanoseconds it takes to begin.
const ELEMENTS_OF_IMAGE: usize = 1300;
const IMAGE_AT_LEAST: usize = 2500;

/// What becomes of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Ending {
    /// They are written.
    Store = 0,
    /// They are added to what is there.
    Add = 1,
    /// Those of one weight are gates for those of another.
    GateSilu = 2,
    /// The same with another curve.
    GateGeluTanh = 3,
}

impl Ending {
    /// The ending that an op wants, if kernels have it.
    pub(in crate::ops) fn of(finish: Finish) -> Option<Self> {
        match finish {
            Finish::Store => Some(Self::Store),
            Finish::Add => Some(Self::Add),
            Finish::Gate(Gating::Curve(Curve::Silu)) => Some(Self::GateSilu),
            Finish::Gate(Gating::Curve(Curve::GeluTanh)) => Some(Self::GateGeluTanh),
            Finish::Gate(_) => None,
        }
    }
}

/// How blocks multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) entry: &'static str,
    /// Rows of the image of weights of a tile.
    pub(super) wide: usize,
    /// Blocks that share them.
    pub(super) pair: usize,
    /// Tens of nanoseconds for 64 columns of a tile. Narrow tiles bring more bytes for each product, and so do blocks alone.
    cost: usize,
}

pub(super) const SHAPES: [Shape; 3] = [
    Shape { entry: "matmul_images_256", wide: 256, pair: 2, cost: 78 },
    Shape { entry: "matmul_images_256_alone", wide: 256, pair: 1, cost: 81 },
    Shape { entry: "matmul_images_128_alone", wide: 128, pair: 1, cost: 45 },
];

/// The sizes of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Rows of activations.
    pub(super) count: usize,
    /// Weights whose bricks take turns in an image, and rows of each.
    pub(super) weights: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Sizes {
    /// Of rows of activations with these weights, which are of one shape.
    pub(super) fn of(count: usize, weights: &[&Weight]) -> Self {
        let [rows, width] = weights.first().map_or([0; 2], |weight| weight.shape());
        Self { count, weights: weights.len(), rows, width }
    }

    /// Elements of the image of the rows of activations.
    pub(super) fn of_x(&self) -> usize {
        elements(self.count, self.width)
    }

    /// Elements of the image of a band of so many rows of each weight.
    pub(super) fn of_band(&self, band: usize) -> usize {
        elements(band, self.width).saturating_mul(self.weights)
    }

    /// Rows of each weight of a band, for which so large a room has place, and the nanoseconds that all bands take.
    pub(super) fn cut(&self, room: usize, workers: usize) -> Option<(usize, usize)> {
        let Self { count, weights, rows, width } = *self;
        if count < LEAST || rows == 0 || width == 0 {
            return None;
        }
        let step = BAND / weights;
        let fit = room.checked_sub(self.of_x())? / self.of_band(1) * BRICK[0];
        let fit = if fit >= rows { rows } else { fit / step * step };
        let fewest = if fit > 0 { rows.div_ceil(fit) } else { return None };
        let bands = (fewest..=fewest + MORE_BANDS).map(|bands| match bands {
            1 => rows,
            _ => rows.div_ceil(bands).next_multiple_of(step).min(fit),
        });
        bands.map(|band| (self.time(band, workers), band)).min().map(|(time, band)| (band, time))
    }

    /// Nanoseconds that images take, of the weights and for their products, in bands of so many rows.
    fn time(&self, band: usize, workers: usize) -> usize {
        let (full, rest) = (self.rows / band, self.rows % band);
        let products = full.saturating_mul(self.time_of(band, workers)) + self.time_of(rest, workers);
        let images = self.weights * self.rows.saturating_mul(self.width) / ELEMENTS_OF_IMAGE;
        images + self.rows.div_ceil(band) * (self.weights + 1) * IMAGE_AT_LEAST + products
    }

    fn time_of(&self, part: usize, workers: usize) -> usize {
        let (number, blocks) = self.shape(part, workers);
        let Shape { wide, pair, cost, .. } = SHAPES[number];
        let tiles = self.count.div_ceil(BRICK[0]).next_multiple_of(pair)
            * self.bricks_of(part).div_ceil(wide / BRICK[0]);
        tiles.div_ceil(blocks).saturating_mul(bricks(self.width) * cost * 10)
    }

    /// Which of the shapes takes the least time for a band on so many multiprocessors, and its blocks.
    pub(super) fn shape(&self, part: usize, workers: usize) -> (usize, usize) {
        // What is a gate and what it is for are in one tile.
        let fits = |shape: &Shape| shape.pair <= workers && shape.wide >= self.weights * BRICK[0];
        let costs = SHAPES.iter().enumerate().filter(|(_, shape)| fits(shape)).map(|(number, shape)| {
            let along_x = self.count.div_ceil(BRICK[0]).div_ceil(shape.pair);
            let tiles = along_x * self.bricks_of(part).div_ceil(shape.wide / BRICK[0]);
            let at_once = workers / shape.pair;
            (tiles.div_ceil(at_once) * shape.cost, number, tiles.min(at_once).max(1) * shape.pair)
        });
        costs.min().map_or((1, 1), |(_, number, blocks)| (number, blocks))
    }

    /// Bricks of the image of a band, along its rows.
    fn bricks_of(&self, part: usize) -> usize {
        part.div_ceil(BRICK[0]) * self.weights
    }
}

pub(super) fn word(name: &'static str, value: usize) -> Result<u32> {
    size(Matmul::NAME, name, value)
}

/// Bricks along a row.
pub(super) fn bricks(width: usize) -> usize {
    width.div_ceil(BRICK[1])
}

/// Elements of an image of so many rows.
pub(super) fn elements(rows: usize, width: usize) -> usize {
    rows.div_ceil(BRICK[0]).saturating_mul(bricks(width)).saturating_mul(ELEMENTS)
}

/// Elements of a room for so many rows of activations and a weight; none where images are not made.
pub(in crate::ops) fn room(count: usize, [rows, width]: [usize; 2]) -> usize {
    if count < LEAST || rows == 0 || width == 0 {
        return 0;
    }
    let most = MOST.min(count.saturating_mul(MOST_OF_ROW));
    let band = (most / (bricks(width) * BRICK[1]) / BAND * BAND).max(BAND);
    elements(count, width).saturating_add(elements(rows.min(band), width))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: usize = 132;

    fn one(count: usize, [rows, width]: [usize; 2]) -> Sizes {
        Sizes { count, weights: 1, rows, width }
    }

    #[test]
    fn a_room_has_place_for_what_it_was_made_for() {
        for count in [LEAST, 200, 2048] {
            for (rows, width) in
                [(1, 32), (300, 96), (4096, 4096), (24_576, 4096), (4096, 12_288), (70, 1 << 22)]
            {
                let room = room(count, [rows, width]);
                for weights in [1, 2] {
                    let sizes = Sizes { count, weights, rows, width };
                    // Two weights are wanted to have place where one has more than it needs.
                    let room = if weights == 2 { room + elements(BAND, width) } else { room };
                    let (band, _) = sizes.cut(room, WORKERS).unwrap();
                    assert!(sizes.of_x() + sizes.of_band(band) <= room, "{count} x {rows} x {width}");
                    assert!(band == rows || (band * weights).is_multiple_of(BAND), "{band}");
                    assert_eq!(sizes.cut(sizes.of_x(), WORKERS), None);
                }
            }
        }
        assert_eq!((room(LEAST - 1, [64, 64]), room(LEAST, [0, 64]), room(LEAST, [64, 0])), (0, 0, 0));
        assert_eq!(one(LEAST - 1, [64, 64]).cut(usize::MAX, WORKERS), None);
    }

    #[test]
    fn what_a_smaller_room_has_place_for_is_taken_in_bands() {
        let left = elements(1000, 64);
        let cut =
            |room, rows| one(500, [rows, 64]).cut(elements(500, 64) + room, WORKERS).map(|(band, _)| band);
        assert!(cut(left, 4000).is_some_and(|band| band <= 1024 && band.is_multiple_of(BAND)));
        assert_eq!(cut(left, 1000), Some(1000));
        assert_eq!(cut(elements(255, 64), 4000), Some(256));
        assert_eq!(cut(elements(128, 64), 4000), None);
    }

    #[test]
    fn bands_leave_no_multiprocessor_without_a_tile() {
        let room = elements(2048, 12_288) + elements(2560, 12_288);
        assert_eq!(one(2048, [4096, 12_288]).cut(room, WORKERS).unwrap().0, 2048);
    }

    #[test]
    fn tiles_are_wide_where_they_keep_a_card_busy() {
        let entry = |count, part| SHAPES[one(count, [part, 4096]).shape(part, WORKERS).0].entry;
        assert_eq!(entry(2048, 4096), "matmul_images_256");
        assert_eq!(entry(512, 4096), "matmul_images_128_alone");
        assert_eq!(entry(128, 24_576), "matmul_images_256_alone");
        for workers in [1, 2, 131, 132] {
            for (count, part) in [(9, 1), (200, 70), (2048, 24_576)] {
                for weights in [1, 2] {
                    let sizes = Sizes { count, weights, rows: part, width: 64 };
                    let (number, blocks) = sizes.shape(part, workers);
                    assert!((1..=workers).contains(&blocks) && blocks.is_multiple_of(SHAPES[number].pair));
                    assert!(SHAPES[number].wide >= weights * BRICK[0], "a gate and what it is for");
                }
            }
        }
    }

    #[test]
    fn device_code_knows_endings_by_the_same_numbers() {
        let source = include_str!("warpgroups.cu");
        assert!(source.contains("enum Ending { STORE, ADD, GATE_SILU, GATE_GELU_TANH };"));
        let endings = [Ending::Store, Ending::Add, Ending::GateSilu, Ending::GateGeluTanh];
        assert!(endings.iter().enumerate().all(|(number, ending)| *ending as usize == number));
    }
}
