//! Puts the keys or values of new positions into a cache.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `attention` for who reads the cache.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    DType, Extent, Op, Result, Served, Tensor,
    op::{THREADS, argument, contract, grid_by_device, optional, size},
    tiles::{
        PerType,
        cpu::cache::{CACHE_NAMES, CACHE_TYPES},
    },
};

/// Positions of a block on a card.
const POSITIONS: usize = 8;

/// `cache[head, slot] = x[i, head]`, rounded to the type of the cache, where `slot` is `positions[i]`. Of equal slots the
/// last counts; a position that the cache does not have fails the stage. Where rows have places, each is put into the cache of its own.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::Append};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let cache = Tensor::from_slice(&device, &[2, 3, 1], &[0.0f32; 6])?;
/// let x = Tensor::from_slice(&device, &[1, 2, 1], &[7.0f32, 8.0])?;
/// let positions = Tensor::from_slice(&device, &[1], &[1u32])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("append");
/// let op = Append { x: &x, positions: &positions, places: None, cache: &cache, ring: false };
/// ops.record(&mut stage, &op)?;
/// stage.submit()?;
/// assert_eq!(cache.to_vec::<f32>()?, [0.0, 7.0, 0.0, 0.0, 8.0, 0.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// f32, `[count, heads, width]`.
    pub x: &'a Tensor,
    /// u32, `[count]`.
    pub positions: &'a Tensor,
    /// u32, `[count]`: which of several caches a row belongs to.
    pub places: Option<&'a Tensor>,
    /// f32, f16, bf16, q8_0 or q4_0, `[heads, capacity, width]`, or with places `[caches, heads, capacity, width]`.
    pub cache: &'a Tensor,
    /// The cache holds the latest positions only: `slot` is `positions[i] % capacity`.
    pub ring: bool,
}

impl Op for Append<'_> {
    type Kernels = PerType;
    const NAME: &'static str = "append";

    fn served() -> Vec<Served> {
        let entries = ["append_f32", "append_f16", "append_bf16", "append_q8_0", "append_q4_0"];
        let on_card = |(dtype, entry): (DType, _)| {
            Served::new(dtype.name(), cpu::kernel(dtype).bundle(include_bytes!("cuda.bundle"), entry))
        };
        CACHE_TYPES.into_iter().zip(entries).map(on_card).collect()
    }

    fn check(&self) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        argument(Self::NAME, "positions", self.positions).u32()?.shaped(&[count])?;
        contract::places(Self::NAME, self.places, count)?;
        let cache = argument(Self::NAME, "cache", self.cache).one_of(&CACHE_TYPES, CACHE_NAMES)?;
        let [caches, _, capacity, _] = cache.caches(self.places)?;
        cache.caches_shaped(self.places, [caches, heads, capacity, width])
    }

    fn kernel<'k>(&self, kernels: &'k PerType) -> Result<&'k Kernel> {
        kernels.of(self.cache.dtype())
    }

    fn launch(&self, kernels: &PerType, stage: &mut Stage<'_>) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "x", self.x).axes()?;
        if self.x.elements() == 0 {
            return Ok(());
        }
        let [caches, _, capacity, _] = argument(Self::NAME, "cache", self.cache).caches(self.places)?;
        let own = capacity * width / self.cache.dtype().block_elements();
        let kernel = self.kernel(kernels)?;
        let blocks = [count.div_ceil(POSITIONS) * heads, THREADS as usize];
        let grid = grid_by_device(Self::NAME, kernel, caches * heads, blocks)?;
        let sizes = [
            ("a head of cache", own),
            ("capacity", capacity),
            ("positions", count),
            ("heads", heads),
            ("width", width),
            ("caches", caches),
        ];
        let places = optional(self.places, self.positions)?;
        // A card numbers the slots of all caches.
        size(Self::NAME, "slots", caches * capacity)?;
        let [own, capacity, count, heads, width, caches] =
            sizes.map(|(name, value)| size(Self::NAME, name, value));
        let [x, positions, cache] = [self.x, self.positions, self.cache].map(Tensor::arg);
        let (own, capacity, ring) = (own?.into(), capacity?.into(), u32::from(self.ring).into());
        let (count, heads, width, caches) = (count?.into(), heads?.into(), width?.into(), caches?.into());
        let arguments = [x, positions, cache, own, capacity, ring, count, heads, width, places.arg(), caches];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        vec![Extent::slots(self.cache, self.x.shape()[..2].iter().product())]
    }
}
