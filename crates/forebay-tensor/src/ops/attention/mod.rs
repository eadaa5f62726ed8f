//! Attention of new positions over a cache of keys and values, with grouped heads.
//!
//! Three kernels serve it: one that goes through all that a block of positions sees, and for few positions one
//! that takes what they see in parts, with one that joins the parts. Next rooms: `reference` for what it means, `cpu` for
//! how it runs, `append` for who fills the cache.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
mod cuda;
#[cfg(any(test, feature = "conformance"))]
pub(super) mod reference;

use forebay_device::{BackendKind, Grid, Kernel, KernelDef, Stage};

use crate::{
    DType, Extent, Level, Op, Result, Served, Tensor,
    op::{
        Loaded, argument,
        contract::{self, ensure, finite, positive},
        grid, optional, size,
    },
    tiles::{
        PerType,
        cpu::cache::{CACHE_NAMES, CACHE_TYPES},
    },
};

/// The widest head.
const MOST_WIDTH: usize = 576;
/// Positions of a part on the CPU. Parts are summed alone and then joined, by every kernel, so that all give the same bits.
const PART: usize = 512;
/// The most positions whose parts are spread over groups.
const MOST_SPLIT: usize = 4;

/// The functions for the types of caches on a card.
const ENTRIES: [&str; 5] =
    ["attention_f32", "attention_f16", "attention_bf16", "attention_q8_0", "attention_q4_0"];

/// Which positions a position sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// Itself and all before it.
    Before,
    /// So many positions up to itself. The cache may be a ring that holds no others.
    Window(usize),
    /// All up to the largest position of the launch.
    All,
    /// Those nearer than so many on both sides, up to the largest position of the launch. The cache may be a ring.
    Around(usize),
}

impl Sight {
    /// How many positions so many rows of a text look at, the last of which is its last.
    pub(in crate::ops) fn seen(self, rows: usize, reach: usize) -> usize {
        let behind = rows.saturating_sub(1);
        match self {
            Self::Before | Self::All => reach,
            Self::Window(length) => (length + behind).min(reach),
            Self::Around(length) => (2 * length + behind).min(reach),
        }
    }

    /// How kernels are told: whether a position sees what comes after it, and how far it sees; 0 is without end.
    pub(super) fn code(self) -> (u32, usize) {
        match self {
            Self::Before => (0, 0),
            Self::Window(length) => (0, length),
            Self::All => (1, 0),
            Self::Around(length) => (1, length),
        }
    }
}

/// `out[i, h] = softmax(scale * q[i, h] * keys[g]) * values[g]`, over the positions that `positions[i]` sees; `g` is the
/// key-value head that query head `h` belongs to, heads of a group standing side by side. Queries that meet keys of q8_0
/// are rounded to 8 bits in groups of 32. A position that the cache does not hold fails the stage.
///
/// Where rows have places, each sees the cache of its own, as if it were alone in the launch: nothing after it.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Attention};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let q = Tensor::from_slice(&device, &[1, 1, 1], &[0.0f32])?;
/// let keys = Tensor::from_slice(&device, &[1, 3, 1], &[1.0f32, -1.0, 5.0])?;
/// let values = Tensor::from_slice(&device, &[1, 3, 1], &[2.0f32, 4.0, 100.0])?;
/// let positions = Tensor::from_slice(&device, &[1], &[1u32])?;
/// let out = Tensor::of(DType::F32, &[1, 1, 1], device.alloc(4)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("attention");
/// ops.record(&mut stage, &Attention::new(&q, &keys, &values, &positions, 1.0, &out))?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [3.0], "equal weights for positions 0 and 1, none for 2");
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// f32, `[count, heads, width]`.
    pub q: &'a Tensor,
    /// f32, f16, bf16, q8_0 or q4_0, `[groups, capacity, width]`, or with places `[caches, groups, capacity, width]`; heads are a
    /// multiple of groups.
    pub keys: &'a Tensor,
    /// Of the type of `keys`, and of the same shape but for the value width.
    pub values: &'a Tensor,
    /// u32, `[count]`.
    pub positions: &'a Tensor,
    /// u32, `[count]`: which of several caches a row belongs to.
    pub places: Option<&'a Tensor>,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Which positions are seen.
    pub sight: Sight,
    /// What scores are bent to stay below, as in `softcap`.
    pub softcap: Option<f32>,
    /// f32, `[heads]`: a score for each head that weighs in but brings no value.
    pub sinks: Option<&'a Tensor>,
    /// f32, at least as many elements as [`Attention::parts`] says, or [`Attention::parts_of_places`] where there are some: room
    /// to work in parts, which makes use of all workers where positions of a cache are few. Without it, or for many positions,
    /// nothing is split.
    pub parts: Option<&'a Tensor>,
    /// f32, `[count, heads, value width]`.
    pub out: &'a Tensor,
}

/// The numbers of a launch, as kernels take them.
struct Words {
    heads: u32,
    groups: u32,
    after: u32,
    length: u32,
    count: u32,
    width: u32,
    value_width: u32,
    capacity: u32,
    parts: u32,
    tile: u32,
    rows: u32,
    caches: u32,
}

/// The kernels of attention.
#[derive(Debug)]
pub struct Kernels {
    whole: PerType,
    split: PerType,
    join: Kernel,
    /// Those that multiply matrices, on a card.
    matrices: Option<cuda::Matrices>,
}

impl Loaded for Kernels {
    fn load(device: &forebay_device::Device, served: &[Served]) -> Result<Self> {
        let (whole, rest) = served.split_at(CACHE_TYPES.len());
        let (split, rest) = rest.split_at(CACHE_TYPES.len());
        let (join, matrices) = rest.split_at(1);
        let on_card = device.kind() == BackendKind::Cuda;
        Ok(Self {
            whole: PerType::load(device, whole)?,
            split: PerType::load(device, split)?,
            join: Kernel::load(device, join)?,
            matrices: on_card.then(|| cuda::Matrices::load(device, matrices)).transpose()?,
        })
    }
}

impl<'a> Attention<'a> {
    /// Attention of every position to itself and all before it.
    pub fn new(
        q: &'a Tensor,
        keys: &'a Tensor,
        values: &'a Tensor,
        positions: &'a Tensor,
        scale: f32,
        out: &'a Tensor,
    ) -> Self {
        let (places, sight, softcap, sinks, parts) = (None, Sight::Before, None, None, None);
        Self { q, keys, values, positions, places, scale, sight, softcap, sinks, parts, out }
    }

    /// Elements of the room that is enough for up to so many positions over a cache of this capacity.
    pub fn parts(count: usize, heads: usize, value_width: usize, capacity: usize) -> usize {
        count.min(MOST_SPLIT) * heads * most_parts(capacity, cuda::parts_in(capacity)) * (value_width + 2)
    }

    /// Elements of the room that is enough for up to so many rows that have places, each in a cache of this capacity.
    pub fn parts_of_places(count: usize, heads: usize, value_width: usize, capacity: usize) -> usize {
        // Fewer rows have more parts each.
        let parts = |count| count * most_parts(capacity, cuda::parts_of_each(count, capacity));
        heads * (1..=count).map(parts).max().unwrap_or(0) * (value_width + 2)
    }

    /// The room to work in parts, where the launch does, over a cache that is longer than this.
    fn room(&self, least: usize) -> Option<&'a Tensor> {
        let few = self.places.is_some() || self.q.shape()[0] <= MOST_SPLIT;
        self.parts.filter(|_| few && self.capacity() > least)
    }

    /// Positions of a cache that was checked.
    fn capacity(&self) -> usize {
        self.keys.shape()[self.keys.shape().len() - 2]
    }

    /// The same, and how many parts there are, where these kernels work.
    fn room_of(&self, kernels: &Kernels) -> Option<(&'a Tensor, usize)> {
        let capacity = self.capacity();
        let (least, parts) = match kernels.join.backend() {
            BackendKind::Cuda if self.places.is_some() => {
                (cuda::LEAST_PART, cuda::parts_of_each(self.q.shape()[0], capacity))
            }
            BackendKind::Cuda => (cuda::LEAST_PART, cuda::parts_in(capacity)),
            _ => (PART, parts_in(capacity)),
        };
        self.room(least).map(|room| (room, parts))
    }

    fn cut(&self) -> Result<cuda::Sizes> {
        let [count, heads, width] = argument(Self::NAME, "q", self.q).axes()?;
        let [_, groups, _, value_width] = argument(Self::NAME, "values", self.values).caches(self.places)?;
        let (dtype, apart) = (self.keys.dtype(), self.places.is_some());
        Ok(cuda::Sizes { dtype, apart, count, heads, groups, width, value_width })
    }

    /// The kernel that multiplies matrices, and its grid, where one does all of it.
    fn of_matrices<'k>(&self, kernels: &'k Kernels) -> Result<Option<(&'k Kernel, Grid)>> {
        match &kernels.matrices {
            Some(matrices) => matrices.of(Self::NAME, &self.cut()?),
            None => Ok(None),
        }
    }

    fn words(&self, cut: &cuda::Sizes, capacity: usize, parts: usize) -> Result<Words> {
        let word = |name, value| size(Self::NAME, name, value);
        let (after, length) = self.sight.code();
        Ok(Words {
            heads: word("heads", cut.heads)?,
            groups: word("heads of keys", cut.groups)?,
            after,
            length: word("window", length.min(u32::MAX as usize))?,
            count: word("positions", cut.count)?,
            width: word("width", cut.width)?,
            value_width: word("width of values", cut.value_width)?,
            capacity: word("capacity", capacity)?,
            parts: word("parts", parts)?,
            tile: word("positions of a tile", cut.tile())?,
            rows: word("rows", cut.rows())?,
            caches: word("caches", self.places.map_or(1, |_| self.keys.shape()[0]))?,
        })
    }

    fn check_parts(&self, wanted: usize) -> Result<()> {
        let Some(parts) = self.room(cuda::LEAST_PART) else { return Ok(()) };
        argument(Self::NAME, "parts", parts).f32()?;
        let given = parts.elements() as f64;
        ensure(
            parts.elements() >= wanted,
            Self::NAME,
            "elements of parts",
            given,
            "at least what `parts` says",
        )
    }

    fn check_numbers(&self, heads: usize, groups: usize, widths: [(&'static str, usize); 2]) -> Result<()> {
        let fits = groups > 0 && heads.is_multiple_of(groups);
        ensure(fits, Self::NAME, "heads of q", heads as f64, "a multiple of the heads of keys")?;
        for (name, width) in widths {
            ensure((1..=MOST_WIDTH).contains(&width), Self::NAME, name, width as f64, "from 1 to 576")?;
        }
        finite(Self::NAME, "scale", self.scale)?;
        if let Some(cap) = self.softcap {
            positive(Self::NAME, "softcap", cap)?;
        }
        let ends = !matches!(self.sight, Sight::Window(0) | Sight::Around(0));
        ensure(ends, Self::NAME, "window", 0.0, "at least 1")
    }
}

impl Op for Attention<'_> {
    type Kernels = Kernels;
    const NAME: &'static str = "attention";

    fn served() -> Vec<Served> {
        // On a card one function does both, by the number of parts.
        let per_type = |kernel: fn(DType, Level) -> KernelDef| {
            let on_card = |(dtype, entry): (DType, _)| {
                let of = move |level| kernel(dtype, level).bundle(include_bytes!("cuda.bundle"), entry);
                Served::per_level(dtype.name(), of)
            };
            CACHE_TYPES.into_iter().zip(ENTRIES).map(on_card).collect::<Vec<_>>()
        };
        let join = cpu::join().bundle(include_bytes!("cuda.bundle"), "attention_join");
        let mut served = per_type(cpu::whole);
        served.extend(per_type(cpu::split));
        served.push(Served::new("parts", join));
        served.extend(cuda::served());
        served
    }

    fn check(&self) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "q", self.q).f32()?.axes()?;
        let keys = argument(Self::NAME, "keys", self.keys).one_of(&CACHE_TYPES, CACHE_NAMES)?;
        let [caches, groups, capacity, _] = keys.caches(self.places)?;
        keys.caches_shaped(self.places, [caches, groups, capacity, width])?;
        let values = argument(Self::NAME, "values", self.values).of(self.keys.dtype())?;
        let [_, _, _, value_width] = values.caches(self.places)?;
        values.caches_shaped(self.places, [caches, groups, capacity, value_width])?;
        contract::places(Self::NAME, self.places, count)?;
        argument(Self::NAME, "positions", self.positions).u32()?.shaped(&[count])?;
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, heads, value_width])?;
        if let Some(sinks) = self.sinks {
            argument(Self::NAME, "sinks", sinks).f32()?.shaped(&[heads])?;
        }
        let parts = match self.places {
            Some(_) => count * most_parts(capacity, cuda::parts_of_each(count, capacity)),
            None => count.min(MOST_SPLIT) * most_parts(capacity, cuda::parts_in(capacity)),
        };
        self.check_parts(parts * heads * (value_width + 2))?;
        self.check_numbers(heads, groups, [("width of q", width), ("width of values", value_width)])
    }

    fn kernel<'k>(&self, kernels: &'k Kernels) -> Result<&'k Kernel> {
        let dtype = self.keys.dtype();
        if self.room_of(kernels).is_some() {
            return kernels.split.of(dtype);
        }
        match self.of_matrices(kernels)? {
            Some((kernel, _)) => Ok(kernel),
            None => kernels.whole.of(dtype),
        }
    }

    fn launch(&self, kernels: &Kernels, stage: &mut Stage<'_>) -> Result<()> {
        if self.q.elements() == 0 {
            return Ok(());
        }
        let (cut, capacity) = (self.cut()?, self.capacity());
        let cuda::Sizes { count, heads, groups, value_width, .. } = cut;
        let kernel = self.kernel(kernels)?;
        let on_card = kernel.backend() == BackendKind::Cuda;
        let (room, parts) = self.room_of(kernels).unzip();
        let parts: usize = parts.unwrap_or(0);
        let (sinks, w) = (optional(self.sinks, self.q)?, self.words(&cut, capacity, parts)?);
        let places = optional(self.places, self.positions)?;
        let arguments = |out| {
            let [q, keys, values, positions] =
                [self.q, self.keys, self.values, self.positions].map(Tensor::arg);
            let [scale, softcap] = [self.scale, self.softcap.unwrap_or(0.0)].map(Into::into);
            let [heads, groups, after, length] = [w.heads, w.groups, w.after, w.length].map(Into::into);
            let [count, width, value_width] = [w.count, w.width, w.value_width].map(Into::into);
            let [capacity, parts, tile, rows] = [w.capacity, w.parts, w.tile, w.rows].map(Into::into);
            [
                q,
                keys,
                values,
                positions,
                sinks.arg(),
                out,
                heads,
                groups,
                scale,
                softcap,
                after,
                length,
                count,
                width,
                value_width,
                capacity,
                parts,
                tile,
                rows,
                places.arg(),
                w.caches.into(),
            ]
        };
        let Some(room) = room else {
            if let Some((kernel, grid)) = self.of_matrices(kernels)? {
                // Whoever multiplies matrices knows of no places.
                let arguments = arguments(self.out.arg());
                return Ok(stage.launch(kernel, grid, &arguments[..arguments.len() - 2])?);
            }
            let grid = match on_card {
                true => cut.grid(Self::NAME, 1)?,
                false => {
                    let together = if cut.apart { 1 } else { count };
                    let blocks = cpu::blocks(together, heads / groups) * (count / together);
                    grid(Self::NAME, groups * blocks)?
                }
            };
            return Ok(stage.launch(kernel, grid, &arguments(self.out.arg()))?);
        };
        let elements = count * heads * parts * (value_width + 2);
        let room = room.buffer().slice(0..elements as u64 * 4)?;
        let (split, join) = match on_card {
            true => (cut.grid(Self::NAME, parts)?, cut.join_grid(Self::NAME)?),
            false => (grid(Self::NAME, count * groups * parts)?, grid(Self::NAME, count * groups)?),
        };
        stage.launch(kernel, split, &arguments(room.arg()))?;
        let [room, positions, sinks, out] = [room.arg(), self.positions.arg(), sinks.arg(), self.out.arg()];
        let [own, groups, width] =
            [w.heads / w.groups * w.value_width, w.groups, w.value_width].map(Into::into);
        let [capacity, after, length, count] = [w.capacity, w.after, w.length, w.count].map(Into::into);
        let (parts, places, caches) = (w.parts.into(), places.arg(), w.caches.into());
        let join_arguments = [
            room, positions, sinks, out, own, groups, width, capacity, after, length, count, parts, places,
            caches,
        ];
        Ok(stage.launch(&kernels.join, join, &join_arguments)?)
    }

    fn extents(&self, reach: usize) -> Vec<Extent<'_>> {
        let (count, capacity) = (self.q.shape()[0], self.capacity());
        // Rows of one text see much the same; those of several see a cache each.
        let (seen, all) = match self.places {
            Some(_) => (count * self.sight.seen(1, reach).min(capacity), capacity * self.keys.shape()[0]),
            None => (self.sight.seen(count, reach).min(capacity), capacity),
        };
        [self.keys, self.values].map(|cache| Extent::share(cache.buffer(), seen, all)).into()
    }
}

/// The most parts of a row over a cache of this capacity on any device, as a room is made before it is known who works in it.
fn most_parts(capacity: usize, on_card: usize) -> usize {
    let on_cpu = if capacity > PART { parts_in(capacity) } else { 0 };
    on_cpu.max(if capacity > cuda::LEAST_PART { on_card } else { 0 })
}

/// Parts that the positions of a cache of this capacity can lie in; one more than it has, since a ring can begin anywhere.
fn parts_in(capacity: usize) -> usize {
    capacity.div_ceil(PART) + 1
}
