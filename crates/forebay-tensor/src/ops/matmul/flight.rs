//! Products whose weights become halves on their way to warpgroups: how blocks take them, and how long that takes.
//!
//! Where rows of activations are not very many, this is less work than an image of the weight; and several weights of a format are
//! one launch. `images` decides and launches. Next room: `flight.cu`.

use forebay_device::{Device, Grid, Kernel, KernelDef, Param, Signature};
use half::f16;

use super::{Matmul, bands::bricks};
use crate::{
    DType, Op, Result, Served,
    op::{groups, size},
    tiles::{cuda::panels::for_format, in_panels},
};

/// Rows of the weight of a tile.
const TILE: usize = 128;
/// Threads of a block.
const FLIGHT_THREADS: u32 = 384;
/// Bytes of a stage beside rows of activations, those of a row, and what is shared beside stages.
const PANELS: usize = 8 * (1024 + 384);
const ROW: usize = 64 * 2;
const BESIDE: usize = 1024 + 128;
/// Bricks of a row that a block has at least where several share its columns.
const LEAST_BRICKS: usize = 2;

/// The most weights of a launch.
pub(super) const MOST: usize = 3;

/// How blocks take tiles.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    /// Rows of activations of a tile.
    many: usize,
    /// Blocks that share the columns of a tile.
    split: usize,
    stages: usize,
    /// Nanoseconds for 64 columns of a tile, and for its end.
    brick: usize,
    end: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "256_1", many: 256, split: 1, stages: 5, brick: 950, end: 1500 },
    Shape { name: "128_1", many: 128, split: 1, stages: 7, brick: 690, end: 1000 },
    Shape { name: "128_2", many: 128, split: 2, stages: 7, brick: 720, end: 3000 },
];

impl Shape {
    fn tiles(&self, count: usize, rows: &[usize]) -> usize {
        let tiles: usize = rows.iter().map(|rows| rows.div_ceil(TILE)).sum();
        count.div_ceil(self.many).saturating_mul(tiles)
    }

    /// Nanoseconds for products with weights of so many rows on so many multiprocessors, where they can take them so.
    fn time(&self, count: usize, rows: &[usize], width: usize, workers: usize) -> Option<usize> {
        let (own, at_once) = (bricks(width) / self.split, workers / self.split);
        if at_once == 0 || (self.split > 1 && own < LEAST_BRICKS) {
            return None;
        }
        let rounds = self.tiles(count, rows).div_ceil(at_once);
        Some(rounds.saturating_mul(own * self.brick + self.end))
    }

    fn grid(&self, count: usize, rows: &[usize], workers: usize) -> Result<Grid> {
        let tiles = self.tiles(count, rows);
        // Blocks that share columns have one tile only; others take one after another.
        let at_once = if self.split > 1 { tiles } else { tiles.min(workers) };
        let blocks = groups(Matmul::NAME, at_once.saturating_mul(self.split))?;
        let shared = self.stages * (self.many * ROW + PANELS) + BESIDE;
        let shared_bytes = size(Matmul::NAME, "shared bytes", shared)?;
        Ok(Grid { shared_bytes, ..Grid::linear(blocks, FLIGHT_THREADS) })
    }
}

/// The shape that takes the least time, and how many nanoseconds it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    number: usize,
    pub(super) time: usize,
}

impl Flight {
    /// For so many rows of activations and weights of so many rows on so many multiprocessors.
    pub(super) fn of(count: usize, rows: &[usize], width: usize, workers: usize) -> Option<Self> {
        let time =
            |(number, shape): (usize, &Shape)| Some((shape.time(count, rows, width, workers)?, number));
        let (time, number) = SHAPES.iter().enumerate().filter_map(time).min()?;
        Some(Self { number, time })
    }

    /// The blocks for so many rows of activations and of the weights.
    pub(super) fn grid(self, count: usize, rows: &[usize], workers: usize) -> Result<Grid> {
        SHAPES[self.number].grid(count, rows, workers)
    }
}

/// The kernels, of one shape after the other.
#[derive(Debug)]
pub(super) struct Kernels {
    each: Vec<(DType, usize, Kernel)>,
}

impl Kernels {
    pub(super) fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let load = |one: &Served| {
            let (dtype, shape) = one.types().split_once(IN_FLIGHT).unwrap_or_default();
            let number = SHAPES.iter().take_while(|known| known.name != shape).count();
            Ok((dtype.parse()?, number, one.load(device)?))
        };
        Ok(Self { each: served.iter().map(load).collect::<Result<_>>()? })
    }

    pub(super) fn of(&self, dtype: DType, flight: Flight) -> Option<&Kernel> {
        let found = self.each.iter().find(|(known, number, _)| (*known, *number) == (dtype, flight.number));
        found.map(|(_, _, kernel)| kernel)
    }
}

/// What comes between a type and a shape.
const IN_FLIGHT: &str = " in flight, ";

/// What [`Kernels::load`] loads.
pub(super) fn served() -> Vec<Served> {
    let (weights, outs) = ([Param::read::<u8>(); MOST], [Param::read_write::<f32>(); MOST]);
    let image = [Param::read::<[f16; 8]>()];
    let signature = Signature::new([&weights[..], &image, &outs, &[Param::u32(); MOST + 4]].concat());
    let entries = |dtype: DType| {
        [
            for_format!(dtype, "matmul_flight_256_1_"),
            for_format!(dtype, "matmul_flight_128_1_"),
            for_format!(dtype, "matmul_flight_128_2_"),
        ]
    };
    let of_type = |dtype: DType| {
        let of_shape = |(shape, entry): (&Shape, &'static str)| {
            let def = KernelDef::new(format!("matmul_flight_{}_{dtype}", shape.name), signature.clone());
            let types = format!("{dtype}{IN_FLIGHT}{}", shape.name);
            Served::new(types, def.bundle(include_bytes!("flight.bundle"), entry))
        };
        SHAPES.iter().zip(entries(dtype)).map(of_shape).collect::<Vec<_>>()
    };
    in_panels().flat_map(|(dtype, ..)| of_type(dtype)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tiles_are_shared_by_several_blocks() {
        let name = |count, rows, width| SHAPES[Flight::of(count, &[rows], width, 132).unwrap().number].name;
        assert_eq!(name(64, 4096, 4096), "128_2");
        assert_eq!(name(256, 4096, 4096), "128_2");
        assert_eq!(name(512, 4096, 4096), "128_1");
        assert_eq!(name(1024, 24_576, 4096), "256_1");
        assert_eq!(name(64, 4096, 64), "128_1", "one brick is not shared");
        let time = |rows: &[usize]| Flight::of(128, rows, 4096, 132).unwrap().time;
        assert_eq!(time(&[4096, 1024, 1024]), time(&[4096]), "there is room for more");
        assert_eq!(Flight::of(64, &[4096], 4096, 0), None);
    }

    #[test]
    fn shapes_are_what_their_names_and_kernels_say() {
        let source = include_str!("flight.cu");
        for shape in SHAPES {
            assert_eq!(shape.name, format!("{}_{}", shape.many, shape.split));
            let line = format!("PRODUCT({}_##NAME, F, {}, {})", shape.name, shape.many, shape.split);
            assert!(source.contains(&line), "{line}");
            assert!(shape.stages * (shape.many * ROW + PANELS) + BESIDE <= 227 << 10);
        }
        assert!(source.contains("STAGES = N == 256 ? 5 : 7"));
    }
}
