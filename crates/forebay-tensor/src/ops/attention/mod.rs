//! Attention of new positions over a cache of keys and values, with grouped heads.
//!
//! Three kernels serve it: one that goes through all that a block of positions sees, and for few positions one
//! that takes what they see in parts, with one that joins the parts. Next rooms: `reference` for what it means, `cpu` for
//! how it runs, `append` for who fills the cache.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{
        argument,
        contract::{ensure, finite, positive},
        grid, optional, size,
    },
    tiles::{
        PerType,
        cpu::cache::{CACHE_NAMES, CACHE_TYPES},
        per_type,
    },
};

/// The widest head.
const MOST_WIDTH: usize = 576;
/// Positions of a part. Parts are summed alone and then joined, by every kernel, so that all give the same bits.
const PART: usize = 512;
/// The most positions whose parts are spread over groups.
const MOST_SPLIT: usize = 4;

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
    /// How kernels are told: whether a position sees what comes after it, and how far it sees; 0 is without end.
    fn code(self) -> (u32, usize) {
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
    /// f32, f16, bf16, q8_0 or q4_0, `[groups, capacity, width]`; heads are a multiple of groups.
    pub keys: &'a Tensor,
    /// Of the type of `keys`, `[groups, capacity, value width]`.
    pub values: &'a Tensor,
    /// u32, `[count]`.
    pub positions: &'a Tensor,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Which positions are seen.
    pub sight: Sight,
    /// What scores are bent to stay below, as in `softcap`.
    pub softcap: Option<f32>,
    /// f32, `[heads]`: a score for each head that weighs in but brings no value.
    pub sinks: Option<&'a Tensor>,
    /// f32, at least as many elements as [`Attention::parts`] says: room to work in parts, which makes use of all
    /// workers where positions are few. Without it, or for many positions, nothing is split.
    pub parts: Option<&'a Tensor>,
    /// f32, `[count, heads, value width]`.
    pub out: &'a Tensor,
}

/// The kernels of attention.
#[derive(Debug)]
pub struct Kernels {
    whole: PerType,
    split: PerType,
    join: Kernel,
}

impl crate::op::Loaded for Kernels {
    fn load(device: &forebay_device::Device, served: &[Served]) -> Result<Self> {
        let (whole, rest) = served.split_at(CACHE_TYPES.len());
        let (split, join) = rest.split_at(CACHE_TYPES.len());
        Ok(Self {
            whole: PerType::load(device, whole)?,
            split: PerType::load(device, split)?,
            join: Kernel::load(device, join)?,
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
        let (sight, softcap, sinks, parts) = (Sight::Before, None, None, None);
        Self { q, keys, values, positions, scale, sight, softcap, sinks, parts, out }
    }

    /// Elements of the room that is enough for up to so many positions over a cache of this capacity.
    pub fn parts(count: usize, heads: usize, value_width: usize, capacity: usize) -> usize {
        if capacity <= PART {
            return 0;
        }
        count.min(MOST_SPLIT) * heads * parts_in(capacity) * (value_width + 2)
    }

    /// The room to work in parts, where the launch does.
    fn room(&self) -> Option<&'a Tensor> {
        self.parts.filter(|_| self.q.shape()[0] <= MOST_SPLIT && self.keys.shape()[1] > PART)
    }

    fn check_parts(&self, wanted: usize) -> Result<()> {
        let Some(parts) = self.room() else { return Ok(()) };
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
        let mut served = per_type(CACHE_TYPES, cpu::whole);
        served.extend(per_type(CACHE_TYPES, cpu::split));
        served.push(Served::new("parts", cpu::join()));
        served
    }

    fn check(&self) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "q", self.q).f32()?.axes()?;
        let keys = argument(Self::NAME, "keys", self.keys).one_of(&CACHE_TYPES, CACHE_NAMES)?;
        let [groups, capacity, _] = keys.axes()?;
        keys.shaped(&[groups, capacity, width])?;
        let values = argument(Self::NAME, "values", self.values).of(self.keys.dtype())?;
        let [_, _, value_width] = values.axes()?;
        values.shaped(&[groups, capacity, value_width])?;
        argument(Self::NAME, "positions", self.positions).u32()?.shaped(&[count])?;
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, heads, value_width])?;
        if let Some(sinks) = self.sinks {
            argument(Self::NAME, "sinks", sinks).f32()?.shaped(&[heads])?;
        }
        self.check_parts(Self::parts(count, heads, value_width, capacity))?;
        self.check_numbers(heads, groups, [("width of q", width), ("width of values", value_width)])
    }

    fn kernel<'k>(&self, kernels: &'k Kernels) -> Result<&'k Kernel> {
        let kernels = if self.room().is_some() { &kernels.split } else { &kernels.whole };
        kernels.of(self.keys.dtype())
    }

    fn launch(&self, kernels: &Kernels, stage: &mut Stage<'_>) -> Result<()> {
        if self.q.elements() == 0 {
            return Ok(());
        }
        let ([count, heads, _], [groups, capacity, value_width]) = (axes(self.q)?, axes(self.values)?);
        let kernel = self.kernel(kernels)?;
        let (after, length) = self.sight.code();
        let sizes = [("heads", heads), ("heads of keys", groups), ("window", length.min(u32::MAX as usize))];
        let [heads_word, groups_word, length] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let (heads_word, groups_word, length) = (heads_word?, groups_word?, length?);
        let [q, keys, values, positions] = [self.q, self.keys, self.values, self.positions].map(Tensor::arg);
        let sinks = optional(self.sinks, self.q)?;
        let numbers = [self.scale, self.softcap.unwrap_or(0.0)];
        let arguments = |out| {
            let [scale, softcap] = numbers.map(Into::into);
            let words = [heads_word, groups_word, after, length];
            let [heads, groups, after, length] = words.map(Into::into);
            [q, keys, values, positions, sinks.arg(), out, heads, groups, scale, softcap, after, length]
        };
        let Some(room) = self.room() else {
            let blocks = cpu::blocks(count, heads / groups);
            stage.launch(kernel, grid(Self::NAME, groups * blocks)?, &arguments(self.out.arg()))?;
            return Ok(());
        };
        let elements = Self::parts(count, heads, value_width, capacity);
        let room = room.buffer().slice(0..elements as u64 * 4)?;
        stage.launch(
            kernel,
            grid(Self::NAME, count * groups * parts_in(capacity))?,
            &arguments(room.arg()),
        )?;
        let own = heads / groups * value_width;
        let sizes = [("heads of a group", own), ("width", value_width), ("capacity", capacity)];
        let [own, width, capacity] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let words = [own?, groups_word, width?, capacity?, after, length].map(Into::into);
        let [own, groups_word, width, capacity, after, length] = words;
        let buffers = [room.arg(), positions, sinks.arg(), self.out.arg()];
        let [room, positions, sinks, out] = buffers;
        let join = [room, positions, sinks, out, own, groups_word, width, capacity, after, length];
        Ok(stage.launch(&kernels.join, grid(Self::NAME, count * groups)?, &join)?)
    }
}

/// Parts that the positions of a cache of this capacity can lie in; one more than it has, since a ring can begin anywhere.
fn parts_in(capacity: usize) -> usize {
    capacity.div_ceil(PART) + 1
}

/// The axes of a tensor that was checked.
fn axes(tensor: &Tensor) -> Result<[usize; 3]> {
    argument(Attention::NAME, "tensor", tensor).axes()
}
