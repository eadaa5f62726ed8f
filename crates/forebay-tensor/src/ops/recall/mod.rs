//! A position enters its cache and attends to what is there, in one launch on a card.
//!
//! It is what lies between the maps of one position: on its own each part of it would be too short to be worth a launch. Elsewhere
//! [`Enter`] and [`Attention`](super::Attention), or what stands for them, do the same. Next rooms: those, for what it means, and
//! `cuda.cu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;

use forebay_device::{Arg, Device, Grid, Kernel, KernelDef, Param, Signature, Stage};

use super::{Enter, attention::Sight, rope::Pairs};
use crate::{
    DType, Error, Extent, Op, Result, Served, Tensor,
    op::{
        Loaded, argument,
        contract::{bad_value, ensure, finite, positive},
        groups, optional, size,
    },
};

/// Heads that it is made for, by their width, and blocks of a cluster.
const WIDTHS: [usize; 3] = [64, 128, 256];
const BLOCKS: [usize; 2] = [2, 8];
/// Functions by width and blocks.
const ENTRIES: [[&str; BLOCKS.len()]; WIDTHS.len()] =
    [["recall_64_2", "recall_64_8"], ["recall_128_2", "recall_128_8"], ["recall_256_2", "recall_256_8"]];
/// The most heads of a cluster, and warps of a block.
const HEADS: usize = 8;
const WARPS: usize = 8;
/// The most clusters that share a past, and positions of it that are worth one more.
const MOST_SPLITS: usize = 16;
const LONG: usize = 512;
/// Blocks of clusters that share a past: so few that all multiprocessors have one, however those are grouped.
const SHARING: usize = 2;
/// Cards from here on have clusters.
const CARDS: u32 = 90;
/// What addresses of caches, results and records are multiples of.
const PIECE: u64 = 16;

/// [`Enter`], and what its queries then make of the cache, into `out`; `enter.q` keeps what it had.
///
/// It serves one position, or with places one for each, over f16, where keys and values are 64, 128 or 256 wide. Scores are of queries
/// rounded to halves. A position that the cache does not hold becomes not-a-number.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::{Enter, Recall, attention::Sight, rope::Pairs}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let head = || Tensor::from_slice(&device, &[1, 1, 64], &[1.0f32; 64]);
/// let (q, k, v, out) = (head()?, head()?, head()?, head()?);
/// let cache = || Tensor::of(DType::F16, &[1, 4, 64], device.alloc(512)?);
/// let (keys, values) = (cache()?, cache()?);
/// let angles = Tensor::from_slice(&device, &[1, 2, 1], &[0.0f32, 1.0])?;
/// let positions = Tensor::from_slice(&device, &[1], &[0u32])?;
/// let (norms, pairs, places, ring) = (None, Pairs::HalfSplit, None, false);
/// let (keys, values, positions, angles) = (&keys, &values, &positions, &angles);
/// let enter = Enter { q: &q, k: &k, v: &v, norms, angles, pairs, positions, places, keys, values, ring };
/// let op = Recall::new(enter, 0.125, &out);
/// // Only cards have it.
/// assert!(!ops.serve(&op) && op.sight == Sight::Before);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Recall<'a> {
    /// What enters, and where.
    pub enter: Enter<'a>,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Which positions are seen; nothing lies behind the latest.
    pub sight: Sight,
    /// What scores are bent to stay below, as in `softcap`.
    pub softcap: Option<f32>,
    /// f32, `[heads]`: a score for each head that weighs in but brings no value.
    pub sinks: Option<&'a Tensor>,
    /// f32, `[rows, heads, value width]`.
    pub out: &'a Tensor,
    /// Room to share a long past among more multiprocessors; the more, the more of them.
    pub room: Option<Room<'a>>,
    /// Whether what follows spreads its blocks evenly also while some multiprocessors still have work, as a [`Project`](super::Project)
    /// of one map does; then it may start before this ends.
    pub early: bool,
}

/// What clusters that share a past leave for each other.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// f32: their records.
    pub records: &'a Tensor,
    /// u32, at least [`Room::ARRIVALS`]: counts that are zero before a launch, and after it.
    pub arrivals: &'a Tensor,
}

impl Room<'_> {
    /// Counts of arrivals.
    pub const ARRIVALS: usize = 256;
}

impl<'a> Recall<'a> {
    /// Attention of every position to itself and all before it.
    pub fn new(enter: Enter<'a>, scale: f32, out: &'a Tensor) -> Self {
        Self { enter, scale, sight: Sight::Before, softcap: None, sinks: None, out, room: None, early: false }
    }

    fn heads(&self) -> [usize; 2] {
        [self.enter.q, self.enter.k].map(|x| x.shape()[1])
    }

    /// Clusters of a row.
    fn clusters(&self) -> usize {
        let [heads, groups] = self.heads();
        groups * (heads / groups).div_ceil(HEADS)
    }
}

impl Recall<'_> {
    /// The most clusters that share a past of such a capacity, where so many clusters have one each: those that there is room for.
    fn shares(&self, clusters: usize, width: usize) -> usize {
        let capacity = self.enter.keys.shape()[self.enter.keys.shape().len() - 2];
        let counted = clusters * BLOCKS[BLOCKS.len() - 1] <= Room::ARRIVALS;
        let Some(room) = self.room.filter(|_| counted && clusters > 0) else { return 1 };
        // A record has six numbers for each four columns.
        let records = room.records.elements() / (clusters * HEADS * width / 4 * 6);
        MOST_SPLITS.min(capacity / LONG).min(records).max(1)
    }
}

/// The kernels, where a card has clusters, and its multiprocessors.
#[derive(Debug)]
pub struct RecallKernels(Option<(Vec<Kernel>, usize)>);

impl Loaded for RecallKernels {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let caps = device.caps();
        if caps.architecture < CARDS || served.iter().any(|one| !one.runs_on(caps.backend)) {
            return Ok(Self(None));
        }
        let kernels = served.iter().map(|one| one.load(device)).collect::<Result<_>>()?;
        Ok(Self(Some((kernels, caps.workers))))
    }
}

impl RecallKernels {
    /// The kernel of a width for so many clusters, and how they are made: as many blocks as there are multiprocessors for, in
    /// clusters of the most blocks, or where a past can be shared in as many small ones.
    fn of(&self, width: usize, clusters: usize, shares: usize) -> Option<Chosen<'_>> {
        let (kernels, multiprocessors) = self.0.as_ref()?;
        let width = WIDTHS.iter().position(|known| *known == width)?;
        let fit = multiprocessors / clusters.max(1);
        let splits = shares.min(fit / SHARING).max(1);
        let most = if splits * SHARING > BLOCKS[BLOCKS.len() - 1] { SHARING } else { fit };
        let blocks = BLOCKS.iter().rposition(|blocks| *blocks <= most).unwrap_or(0);
        let splits = if most == SHARING { splits } else { 1 };
        Some(Chosen { kernel: &kernels[width * BLOCKS.len() + blocks], blocks: BLOCKS[blocks], splits })
    }
}

/// A kernel, the blocks of its clusters, and how many of those share a past.
struct Chosen<'k> {
    kernel: &'k Kernel,
    blocks: usize,
    splits: usize,
}

/// Bytes that a block shares: the rooms of `cuda.cu`.
fn shared_bytes(width: usize) -> u32 {
    let (slots, float) = (WARPS + 1, 4);
    let sums = (slots + 1) * HEADS * (width + 2) * float;
    (sums + (HEADS + 2) * width * float + HEADS * width * 2 + 16) as u32
}

impl Op for Recall<'_> {
    type Kernels = RecallKernels;
    const NAME: &'static str = "recall";

    fn served() -> Vec<Served> {
        let (floats, list, half) =
            (Param::read::<f32>(), Param::read::<u32>(), Param::read_write::<half::f16>());
        let buffers = [floats, floats, floats, floats, floats, floats, list, list, floats, half, half];
        let rest = [[Param::u32(); 6].as_slice(), &[Param::f32(); 4]].concat();
        let all = buffers
            .into_iter()
            .chain([Param::read_write::<f32>(), Param::read_write::<f32>(), Param::read_write::<u32>()])
            .chain(rest)
            .collect::<Vec<_>>();
        let signature = Signature::new(all);
        let entries = ENTRIES.into_iter().zip(WIDTHS).flat_map(|(entries, width)| {
            entries.into_iter().zip(BLOCKS).map(move |(entry, blocks)| (entry, width, blocks))
        });
        let kernel = |(entry, width, blocks): (&'static str, usize, usize)| {
            let kernel =
                KernelDef::new(entry, signature.clone()).bundle(include_bytes!("cuda.bundle"), entry);
            Served::new(format!("f16, {width} wide, {blocks} blocks a head"), kernel)
        };
        entries.map(kernel).collect()
    }

    fn check(&self) -> Result<()> {
        self.enter.check()?;
        argument(Self::NAME, "keys", self.enter.keys).of(DType::F16)?;
        let [rows, heads, width] = argument(Self::NAME, "q", self.enter.q).axes()?;
        let [_, groups, value_width] = argument(Self::NAME, "v", self.enter.v).axes()?;
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[rows, heads, value_width])?;
        if let Some(sinks) = self.sinks {
            argument(Self::NAME, "sinks", sinks).f32()?.shaped(&[heads])?;
        }
        let wanted = [
            (rows <= 1 || self.enter.places.is_some(), "rows of q", rows, "one, unless rows have places"),
            (
                groups > 0 && heads.is_multiple_of(groups),
                "heads of q",
                heads,
                "a multiple of the heads of keys",
            ),
            (WIDTHS.contains(&width), "width of q", width, "64, 128 or 256"),
            (value_width == width, "width of values", value_width, "that of q"),
        ];
        for (holds, argument, given, wanted) in wanted {
            ensure(holds, Self::NAME, argument, given as f64, wanted)?;
        }
        let records = self.room.map(|room| ("records", room.records));
        let whole = [("keys", self.enter.keys), ("values", self.enter.values), ("out", self.out)];
        for (name, tensor) in whole.into_iter().chain(records) {
            let past = tensor.buffer().address() % PIECE;
            if past != 0 {
                return Err(bad_value(
                    Self::NAME,
                    name,
                    past as f64,
                    "at a multiple of 16 bytes, not past one",
                ));
            }
        }
        if let Some(Room { records, arrivals }) = self.room {
            argument(Self::NAME, "records", records).f32()?;
            let counts = argument(Self::NAME, "arrivals", arrivals).u32().map(|_| arrivals.elements())?;
            ensure(
                counts >= Room::ARRIVALS,
                Self::NAME,
                "elements of arrivals",
                counts as f64,
                "at least 256",
            )?;
        }
        finite(Self::NAME, "scale", self.scale)?;
        if let Some(cap) = self.softcap {
            positive(Self::NAME, "softcap", cap)?;
        }
        let ends = !matches!(self.sight, Sight::Window(0) | Sight::Around(0));
        ensure(ends, Self::NAME, "window", 0.0, "at least 1")
    }

    fn kernel<'k>(&self, kernels: &'k RecallKernels) -> Result<&'k Kernel> {
        let [rows, _, width] = argument(Self::NAME, "q", self.enter.q).axes()?;
        let clusters = self.clusters() * rows.max(1);
        let found = kernels.of(width, clusters, self.shares(clusters, width));
        found.map(|chosen| chosen.kernel).ok_or(Error::NoFormat { dtype: self.enter.keys.dtype().name() })
    }

    fn launch(&self, kernels: &RecallKernels, stage: &mut Stage<'_>) -> Result<()> {
        let Enter { q, k, v, angles, positions, keys, values, .. } = self.enter;
        let ([heads, own], [rows, _, width]) = (self.heads(), argument(Self::NAME, "q", q).axes()?);
        if rows == 0 || heads == 0 {
            return Ok(());
        }
        let nothing = Error::NoFormat { dtype: keys.dtype().name() };
        let clusters = self.clusters() * rows;
        let chosen = kernels.of(width, clusters, self.shares(clusters, width));
        let Chosen { kernel, blocks, splits } = chosen.ok_or(nothing)?;
        let [caches, _, capacity, _] = argument(Self::NAME, "keys", keys).caches(self.enter.places)?;
        let norms = [0, 1].map(|i| self.enter.norms.map(|norms| norms[i]));
        let [q_weight, k_weight] = norms.map(|norm| optional(norm.map(|norm| norm.weight), angles));
        let (q_weight, k_weight, sinks) = (q_weight?, k_weight?, optional(self.sinks, angles)?);
        let places = optional(self.enter.places, positions)?;
        let (_, length) = self.sight.code();
        let flags = [self.enter.pairs == Pairs::HalfSplit, self.enter.ring, self.early];
        let flags = flags.iter().rev().fold(0, |how, flag| 2 * how + usize::from(*flag));
        let room = self.room.map(|room| [room.records, room.arrivals]);
        let [records, arrivals] = [0, 1].map(|i| optional(room.map(|room| room[i]), angles));
        let (records, arrivals) = (records?, arrivals?);
        let sizes = [
            ("heads", heads),
            ("groups", own),
            ("capacity", capacity),
            ("window", length.min(u32::MAX as usize)),
            ("caches", caches),
            ("how", angles.shape()[2] << 9 | splits << 4 | flags),
        ];
        let mut arguments = vec![q.arg(), k.arg(), v.arg(), q_weight.arg(), k_weight.arg(), angles.arg()];
        arguments.extend([positions.arg(), places.arg(), sinks.arg(), keys.arg(), values.arg()]);
        arguments.extend([self.out.arg(), records.arg(), arrivals.arg()]);
        for (name, value) in sizes {
            arguments.push(size(Self::NAME, name, value)?.into());
        }
        let [q_epsilon, k_epsilon] = norms.map(|norm| norm.map_or(0.0, |norm| norm.epsilon));
        let floats = [q_epsilon, k_epsilon, self.scale, self.softcap.unwrap_or(0.0)];
        arguments.extend(floats.map(Arg::from));
        let mut grid =
            Grid::linear(groups(Self::NAME, self.clusters() * splits * blocks)?, (32 * WARPS) as u32);
        grid.groups[1] = groups(Self::NAME, rows)?;
        grid.shared_bytes = shared_bytes(width);
        Ok(stage.launch(kernel, grid, &arguments)?)
    }

    fn extents(&self, reach: usize) -> Vec<Extent<'_>> {
        let Enter { q, keys, values, places, .. } = self.enter;
        let [.., capacity, _] = *keys.shape() else { return Vec::new() };
        let (texts, caches) = (q.shape()[0], places.map_or(1, |_| keys.shape()[0]));
        // What is seen is read, and the place of the position itself is written.
        let touched = texts * (self.sight.seen(1, reach).min(capacity) + 1);
        [keys, values].map(|cache| Extent::share(cache.buffer(), touched, capacity * caches)).into()
    }
}
