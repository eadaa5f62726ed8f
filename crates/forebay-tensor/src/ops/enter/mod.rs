//! Brings the heads of positions where attention wants them, in one launch on a card: queries and keys are normed and turned, keys
//! and values go into their cache, or each into that of its place.
//!
//! On the CPU, where launches cost next to nothing, [`RmsNorm`](super::RmsNorm), [`Rope`](super::Rope) and
//! [`Append`](super::Append) do the same. Next rooms: those, for what it means, and `cuda.cu`.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;

use forebay_device::{Grid, Kernel, KernelDef, Param, Signature, Stage};

use super::{project::Scaling, rope::Pairs};
use crate::{
    Extent, Op, Result, Served, Tensor,
    op::{
        argument,
        contract::{self, ensure, epsilon},
        groups, optional, size,
    },
    tiles::{
        PerType,
        cpu::cache::{CACHE_NAMES, CACHE_TYPES},
    },
};

/// Threads of a block that owns a head; of a warp, and warps of a block that each own one.
const THREADS: u32 = 128;
const WARP: u32 = 32;
const WARPS: u32 = 8;
/// The fewest positions whose heads have a warp each, and the widest such head.
const MANY: usize = 9;
const WIDEST_OF_WARP: usize = 512;
/// The widest head.
const WIDEST: usize = 4096;

/// `q` and `k` are normed, if there are norms, and turned; `k` and `v` are appended. No two rows go to the same slot of a cache.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::{Enter, rope::Pairs}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let head = || Tensor::from_slice(&device, &[1, 1, 2], &[1.0f32, 0.0]);
/// let (q, k, v, keys, values) = (head()?, head()?, head()?, head()?, head()?);
/// let angles = Tensor::from_slice(&device, &[1, 2, 1], &[0.0f32, 1.0])?;
/// let positions = Tensor::from_slice(&device, &[1], &[0u32])?;
/// let (norms, pairs) = (None, Pairs::HalfSplit);
/// let (keys, values, positions) = (&keys, &values, &positions);
/// let (angles, places, ring) = (&angles, None, false);
/// let op = Enter { q: &q, k: &k, v: &v, norms, angles, pairs, positions, places, keys, values, ring };
/// // Only cards have it.
/// assert!(!ops.serve(&op));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Enter<'a> {
    /// f32, `[rows, heads, width]`; changed in place.
    pub q: &'a Tensor,
    /// f32, `[rows, groups, width]`.
    pub k: &'a Tensor,
    /// f32, `[rows, groups, value width]`.
    pub v: &'a Tensor,
    /// Norms of each head of queries and of keys.
    pub norms: Option<[Scaling<'a>; 2]>,
    /// f32, `[rows, 2, pairs]`: cosines and sines.
    pub angles: &'a Tensor,
    /// Which columns make a pair.
    pub pairs: Pairs,
    /// u32, `[rows]`.
    pub positions: &'a Tensor,
    /// u32, `[rows]`: which of several caches a row belongs to.
    pub places: Option<&'a Tensor>,
    /// f32, f16, bf16, q8_0 or q4_0, `[groups, capacity, width]`, or with places `[caches, groups, capacity, width]`.
    pub keys: &'a Tensor,
    /// Of the same type, and of the same shape but for the value width.
    pub values: &'a Tensor,
    /// The caches hold the latest positions only: the place of a position is what is left of it by `capacity`.
    pub ring: bool,
}

impl Op for Enter<'_> {
    type Kernels = PerType;
    const NAME: &'static str = "enter";

    fn served() -> Vec<Served> {
        let (floats, list, bytes) = (Param::read::<f32>(), Param::read::<u32>(), Param::read_write::<u8>());
        let buffers =
            [Param::read_write::<f32>(), floats, floats, floats, floats, floats, list, bytes, bytes];
        let words =
            [[Param::u32(); 8].as_slice(), &[Param::f32(); 2], &[list, Param::u32(), Param::u32()]].concat();
        let signature = Signature::new(buffers.into_iter().chain(words).collect::<Vec<_>>());
        let entries = ["enter_f32", "enter_f16", "enter_bf16", "enter_q8_0", "enter_q4_0"];
        let kernel = |(dtype, entry): (crate::DType, _)| {
            let kernel =
                KernelDef::new(entry, signature.clone()).bundle(include_bytes!("cuda.bundle"), entry);
            Served::new(dtype.name(), kernel)
        };
        CACHE_TYPES.into_iter().zip(entries).map(kernel).collect()
    }

    fn check(&self) -> Result<()> {
        let [rows, _, width] = argument(Self::NAME, "q", self.q).f32()?.axes()?;
        ensure(width <= WIDEST, Self::NAME, "width", width as f64, "at most 4096")?;
        let [_, groups, value_width] = argument(Self::NAME, "v", self.v).f32()?.axes()?;
        argument(Self::NAME, "v", self.v).shaped(&[rows, groups, value_width])?;
        ensure(value_width <= WIDEST, Self::NAME, "value width", value_width as f64, "at most 4096")?;
        argument(Self::NAME, "k", self.k).f32()?.shaped(&[rows, groups, width])?;
        for norm in self.norms.iter().flatten() {
            argument(Self::NAME, "norm", norm.weight).f32()?.shaped(&[width])?;
            epsilon(Self::NAME, norm.epsilon)?;
        }
        let angles = argument(Self::NAME, "angles", self.angles).f32()?;
        let [_, _, pairs] = angles.axes()?;
        angles.shaped(&[rows, 2, pairs])?;
        ensure(
            2 * pairs <= width,
            Self::NAME,
            "pairs of angles",
            pairs as f64,
            "at most half the width of q",
        )?;
        argument(Self::NAME, "positions", self.positions).u32()?.shaped(&[rows])?;
        contract::places(Self::NAME, self.places, rows)?;
        let keys = argument(Self::NAME, "keys", self.keys).one_of(&CACHE_TYPES, CACHE_NAMES)?;
        let [caches, _, capacity, _] = keys.caches(self.places)?;
        keys.caches_shaped(self.places, [caches, groups, capacity, width])?;
        let values = argument(Self::NAME, "values", self.values).of(self.keys.dtype())?;
        values.caches_shaped(self.places, [caches, groups, capacity, value_width])
    }

    fn kernel<'k>(&self, kernels: &'k PerType) -> Result<&'k Kernel> {
        kernels.of(self.keys.dtype())
    }

    fn launch(&self, kernels: &PerType, stage: &mut Stage<'_>) -> Result<()> {
        let kernel = self.kernel(kernels)?;
        let [[heads, width], [own, value_width]] = [self.q, self.v].map(|x| [x.shape()[1], x.shape()[2]]);
        let [caches, _, capacity, _] = argument(Self::NAME, "keys", self.keys).caches(self.places)?;
        let rows = self.q.shape()[0];
        if rows == 0 || heads + own == 0 {
            return Ok(());
        }
        let [q_norm, k_norm] = [0, 1].map(|i| self.norms.map(|norms| norms[i]));
        let weight = |norm: Option<Scaling<'_>>| optional(norm.map(|norm| norm.weight), self.angles);
        let (q_weight, k_weight) = (weight(q_norm)?, weight(k_norm)?);
        let sizes = [
            ("heads", heads),
            ("groups", own),
            ("width", width),
            ("value width", value_width),
            ("pairs", self.angles.shape()[2]),
            ("half split", usize::from(self.pairs == Pairs::HalfSplit)),
            ("capacity", capacity),
            ("ring", usize::from(self.ring)),
        ];
        let mut arguments = vec![self.q.arg(), self.k.arg(), self.v.arg(), q_weight.arg(), k_weight.arg()];
        arguments.extend([self.angles, self.positions, self.keys, self.values].map(Tensor::arg));
        for (name, value) in sizes {
            arguments.push(size(Self::NAME, name, value)?.into());
        }
        for norm in [q_norm, k_norm] {
            arguments.push(norm.map_or(0.0, |norm| norm.epsilon).into());
        }
        let places = optional(self.places, self.positions)?;
        let all = (heads + 2 * own).saturating_mul(rows);
        arguments.extend([places.arg(), size(Self::NAME, "caches", caches)?.into()]);
        arguments.push(size(Self::NAME, "heads of all positions", all)?.into());
        // Many heads have a warp each, so that more of them are under way at once; a few have what is quickest.
        let widest = width.max(value_width);
        let [threads, together] =
            if rows >= MANY && widest <= WIDEST_OF_WARP { [WARP, WARPS] } else { [THREADS, 1] };
        let grid = Grid {
            groups: [groups(Self::NAME, all.div_ceil(together as usize))?, 1, 1],
            threads: [threads, together, 1],
            shared_bytes: (together as usize * widest * 4) as u32,
        };
        Ok(stage.launch(kernel, grid, &arguments)?)
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        let (rows, groups) = (self.q.shape()[0], self.v.shape()[1]);
        [self.keys, self.values].map(|cache| Extent::slots(cache, rows * groups)).into()
    }
}
