//! Puts the keys or values of new positions into a cache.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `attention` for who reads the cache.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Grid, Kernel, Stage};

use crate::{
    DType, Op, Result, Served, Tensor,
    op::{argument, groups, size},
    tiles::{PerType, per_type},
};

/// Types that a cache can have.
pub(crate) const CACHE_TYPES: [DType; 2] = [DType::F32, DType::F16];
/// The same, as messages say it.
pub(crate) const CACHE_NAMES: &str = "f32 or f16";

/// `cache[head, positions[i]] = x[i, head]`, rounded to the type of the cache. Of equal positions the last
/// counts; a position that the cache does not have fails the stage.
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
/// ops.record(&mut stage, &Append { x: &x, positions: &positions, cache: &cache })?;
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
    /// f32 or f16, `[heads, capacity, width]`.
    pub cache: &'a Tensor,
}

impl Op for Append<'_> {
    type Kernels = PerType;
    const NAME: &'static str = "append";

    fn served() -> Vec<Served> {
        per_type(CACHE_TYPES, cpu::kernel)
    }

    fn check(&self) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "x", self.x).of(DType::F32)?.axes()?;
        argument(Self::NAME, "positions", self.positions).of(DType::U32)?.shaped(&[count])?;
        let cache = argument(Self::NAME, "cache", self.cache).one_of(&CACHE_TYPES, CACHE_NAMES)?;
        let [_, capacity, _] = cache.axes()?;
        size(Self::NAME, "heads", heads)?;
        cache.shaped(&[heads, capacity, width])
    }

    fn kernel<'k>(&self, kernels: &'k PerType) -> Result<&'k Kernel> {
        kernels.of(self.cache.dtype())
    }

    fn launch(&self, kernels: &PerType, stage: &mut Stage<'_>) -> Result<()> {
        if self.x.elements() == 0 {
            return Ok(());
        }
        let grid = Grid::linear(groups(Self::NAME, self.x.shape()[1])?, 1);
        let heads = size(Self::NAME, "heads", self.x.shape()[1])?;
        let [x, positions, cache] = [self.x, self.positions, self.cache].map(|tensor| tensor.buffer().arg());
        Ok(stage.launch(self.kernel(kernels)?, grid, &[x, positions, cache, heads.into()])?)
    }
}
