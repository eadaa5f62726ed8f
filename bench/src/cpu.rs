//! Products with packed weights, as shares of what the machine can do, measured in the same run.
//!
//! Groups: bytes read and products a second by the machine; packing against copying; one row of activations, by the share
//! of the bytes read; 512 rows, by the share of the products. Peers that are here are measured beside each case.
//! Next rooms: `peak` for what the machine can do, `peer` for other people's kernels.

use std::{
    io::{self, Error},
    thread,
    time::Instant,
};

use bench::record::Record;
use forebay_device::{Buffer, Device, DeviceOptions, Request};
use forebay_tensor::{
    DType, Level, Ops, Tensor, Weight, WeightBytes,
    ops::{Matmul, Round},
    quant::{self, mlx},
};

use crate::{
    peak::{self, Memory},
    peer::{self, Peer},
};

/// Rounds, in each of which everything is measured once.
const ROUNDS: usize = 9;
/// Weights that take turns, so that none is in cache when its turn comes.
const COPIES: usize = 3;
/// Rows and columns of a product with one row of activations: a gate of Qwen3-8B, twice.
const ALONE: [usize; 2] = [24_576, 4096];
/// Rows and columns of a product with many: the output of attention in Qwen3-8B.
const MANY: [usize; 2] = [4096, 4096];
/// Rows of activations of the latter.
const COUNT: usize = 512;

/// The formats, the type of their scales where they have planes, and their name in llama.cpp.
const FORMATS: &[(&str, Option<DType>, &str)] = &[
    ("q4_0", None, "q4_0"),
    ("q4_k", None, "q4_K"),
    ("q8_0", None, "q8_0"),
    ("mlx_4g64", Some(DType::BF16), ""),
    ("q5_k", None, "q5_K"),
    ("q6_k", None, "q6_K"),
    ("q3_k", None, "q3_K"),
    ("iq4_xs", None, "iq4_xs"),
    ("iq4_nl", None, "iq4_nl"),
    ("q2_k", None, "q2_K"),
    ("mxfp4", None, "mxfp4"),
];

/// Measures everything.
///
/// # Errors
/// What the device or writing fails with.
pub(crate) fn run(record: &mut Record) -> io::Result<()> {
    let most = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let memory = Memory::new(most);
    let peers = peer::here()?;
    let mut threads: Vec<usize> = vec![most, 1];
    threads.dedup();
    for threads in threads {
        let bench = Bench { memory: &memory, peers: &peers, threads };
        for format in FORMATS {
            bench.format(record, format)?;
        }
    }
    Ok(())
}

fn told<T, E: std::error::Error + Send + Sync + 'static>(result: Result<T, E>) -> io::Result<T> {
    result.map_err(Error::other)
}

struct Bench<'a> {
    memory: &'a Memory,
    peers: &'a [Peer],
    threads: usize,
}

impl Bench<'_> {
    fn format(&self, record: &mut Record, (name, scale_type, theirs): &Format) -> io::Result<()> {
        let dtype: DType = told(name.parse())?;
        let device = told(Device::open(&DeviceOptions::cpu().threads(self.threads)))?;
        let ops = told(Ops::open(&device))?;
        let source = Source::new(dtype, *scale_type, ALONE)?;
        let packed = || told(Weight::pack(&device, &source.bytes()?, Level::best(), *name, |_| ()));
        let (mut packs, mut copies) = (Vec::new(), Vec::new());
        // Both take the memory that the turn before gave back, so that no page has to be found for them.
        drop(packed()?);
        for _ in 0..ROUNDS {
            copies.push(source.len() as f64 / source.copied(&device, self.threads)? / 1e9);
            let begun = Instant::now();
            drop(packed()?);
            packs.push(source.len() as f64 / begun.elapsed().as_secs_f64() / 1e9);
        }
        let weights = (0..COPIES).map(|_| packed()).collect::<io::Result<Vec<_>>>()?;
        let alone = Product::new(&device, weights, 1)?;
        let few = Source::new(dtype, *scale_type, MANY)?;
        let weight = told(Weight::pack(&device, &few.bytes()?, Level::best(), *name, |_| ()))?;
        let many = Product::new(&device, vec![weight], COUNT)?;

        let (mut reads, mut alones, mut alone_shares) = (vec![], vec![], vec![]);
        let (mut peaks, mut manys, mut many_shares) = (vec![], vec![], vec![]);
        let peers: &[Peer] = if theirs.is_empty() { &[] } else { self.peers };
        let mut others = vec![(vec![], vec![]); peers.len()];
        for _ in 0..ROUNDS {
            let read = self.memory.bandwidth(self.threads);
            let rate = source.len() as f64 / alone.seconds(&device, &ops)? / 1e9;
            reads.push(read);
            alones.push(rate);
            alone_shares.push(100.0 * rate / read);
            let operations = 2.0 * (COUNT * MANY[0] * MANY[1]) as f64;
            let rate = operations / many.seconds(&device, &ops)? / 1e9;
            manys.push(rate);
            if let Some(peak) = peak::products(self.threads) {
                peaks.push(peak);
                many_shares.push(100.0 * rate / peak);
            }
            for (peer, (alone, many)) in peers.iter().zip(&mut others) {
                let seconds = |shape, count| peer.seconds(theirs, shape, count, self.threads);
                alone.extend(seconds(ALONE, 1)?.map(|seconds| source.len() as f64 / seconds / 1e9));
                many.extend(seconds(MANY, COUNT)?.map(|seconds| operations / seconds / 1e9));
            }
        }
        let case = format!("{} threads", self.threads);
        let level = ops.level();
        let mut write = |group: &str, who: &str, unit: &str, samples: &[f64]| match samples {
            [] => Ok(()),
            samples => record.samples(&format!("{group} {name}"), &case, who, unit, samples),
        };
        write("pack", "forebay", "GB/s read", &packs)?;
        write("pack", "a copy", "GB/s read", &copies)?;
        write("1 row", "the machine", "GB/s read", &reads)?;
        write("1 row", &format!("forebay {level}"), "GB/s", &alones)?;
        write("1 row", &format!("forebay {level}"), "% of the bus", &alone_shares)?;
        write("512 rows", "the machine", "Gop/s", &peaks)?;
        write("512 rows", &format!("forebay {level}"), "Gop/s", &manys)?;
        write("512 rows", &format!("forebay {level}"), "% of VNNI", &many_shares)?;
        for (peer, (alone, many)) in peers.iter().zip(&others) {
            write("1 row", peer.name, "GB/s", alone)?;
            write("512 rows", peer.name, "Gop/s", many)?;
        }
        Ok(())
    }
}

type Format = (&'static str, Option<DType>, &'static str);

/// The bytes of a weight.
struct Source {
    dtype: DType,
    shape: [usize; 2],
    scale_type: Option<DType>,
    planes: [Vec<u8>; 3],
}

impl Source {
    /// Some rows of random numbers, encoded, and the same again and again.
    fn new(dtype: DType, scale_type: Option<DType>, shape: [usize; 2]) -> io::Result<Self> {
        const ROWS: usize = 16;
        let mut state = 1u32;
        let mut number = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let numbers: Vec<f32> = (0..ROWS * shape[1]).map(|_| number() * number() * 0.1).collect();
        let mut planes = [vec![], vec![], vec![]];
        match scale_type {
            None => {
                planes[0].resize(told(dtype.row_bytes(numbers.len()))?, 0);
                told(quant::encode(dtype, &numbers, None, &mut planes[0]))?;
            }
            Some(scale_type) => {
                let sizes = told(mlx::plane_bytes(dtype, scale_type, numbers.len()))?;
                let [codes, scales, biases] = &mut planes;
                codes.resize(sizes.codes, 0);
                scales.resize(sizes.scales, 0);
                biases.resize(sizes.biases, 0);
                told(mlx::encode(dtype, &numbers, mlx::PlanesMut { codes, scales, biases, scale_type }))?;
            }
        }
        let planes = planes.map(|plane| plane.repeat(shape[0] / ROWS));
        Ok(Self { dtype, shape, scale_type, planes })
    }

    fn bytes(&self) -> io::Result<WeightBytes<'_>> {
        let [codes, scales, biases] = &self.planes;
        told(match self.scale_type {
            None => WeightBytes::of(self.dtype, self.shape, codes),
            Some(scale_type) => {
                let planes = mlx::Planes { codes, scales, biases, scale_type };
                WeightBytes::of_planes(self.dtype, self.shape, &planes)
            }
        })
    }

    fn len(&self) -> usize {
        self.planes.iter().map(Vec::len).sum()
    }

    /// Seconds that it takes so many threads to copy the bytes to memory that is given back.
    fn copied(&self, device: &Device, threads: usize) -> io::Result<f64> {
        let begun = Instant::now();
        let buffer = told(device.alloc(Request::new(self.len() as u64).exact()))?;
        let mut to = told(buffer.write::<u8>())?;
        let mut room = &mut to[..];
        for plane in self.planes.iter().filter(|plane| !plane.is_empty()) {
            let (to, rest) = room.split_at_mut(plane.len());
            room = rest;
            let part = plane.len().div_ceil(threads);
            thread::scope(|scope| {
                for (to, from) in to.chunks_mut(part).zip(plane.chunks(part)) {
                    scope.spawn(|| to.copy_from_slice(from));
                }
            });
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// A product with some weights in turn.
struct Product {
    weights: Vec<Weight>,
    x: Tensor,
    rounded: Tensor,
    out: Tensor,
}

impl Product {
    fn new(device: &Device, weights: Vec<Weight>, count: usize) -> io::Result<Self> {
        let [rows, width] = weights[0].shape();
        let x: Vec<f32> = (0..count * width).map(|i| ((i * 7 + i / 5) % 31) as f32 - 15.0).collect();
        let buffer = |dtype: DType, elements: usize| -> io::Result<Buffer> {
            told(device.alloc(told(dtype.row_bytes(elements))? as u64))
        };
        let rounded = buffer(DType::Rounded, count * width)?;
        let out = buffer(DType::F32, count * rows)?;
        Ok(Self {
            weights,
            x: told(Tensor::from_slice(device, &[count, width], &x))?,
            rounded: told(Tensor::of(DType::Rounded, &[count, width], rounded))?,
            out: told(Tensor::of(DType::F32, &[count, rows], out))?,
        })
    }

    /// Seconds that one product takes, among several in a row.
    fn seconds(&self, device: &Device, ops: &Ops) -> io::Result<f64> {
        let mut session = told(device.session())?;
        let mut stage = session.stage("rounding");
        told(ops.record(&mut stage, &Round { x: &self.x, out: &self.rounded }))?;
        told(told(stage.fence())?.wait())?;
        let turns = if self.weights.len() > 1 { 4 } else { 1 };
        let mut stage = session.stage("products");
        for _ in 0..turns {
            for weight in &self.weights {
                told(ops.record(&mut stage, &Matmul::new(weight, &self.rounded, &self.out)))?;
            }
        }
        let begun = Instant::now();
        told(told(stage.fence())?.wait())?;
        Ok(begun.elapsed().as_secs_f64() / (turns * self.weights.len()) as f64)
    }
}
