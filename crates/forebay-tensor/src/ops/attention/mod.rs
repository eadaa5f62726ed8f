//! Attention of new positions over a cache of keys and values, with grouped heads.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `append` for who fills the cache.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Grid, Kernel, Stage};

use super::append::{CACHE_NAMES, CACHE_TYPES};
use crate::{
    DType, Op, Result, Served, Tensor,
    op::{argument, bad_value, groups, size},
    tiles::{PerType, per_type},
};

/// The widest head.
const MOST_WIDTH: usize = 576;

/// `out[i, h] = softmax(scale * q[i, h] * keys[g]) * values[g]`, over the positions up to `positions[i]`; `g` is the
/// key-value head that query head `h` belongs to. A position that the cache does not have fails the stage.
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
/// let op = Attention { q: &q, keys: &keys, values: &values, positions: &positions, scale: 1.0, out: &out };
/// ops.record(&mut stage, &op)?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [3.0], "equal weights for positions 0 and 1, none for 2");
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// f32, `[count, heads, width]`.
    pub q: &'a Tensor,
    /// f32 or f16, `[groups, capacity, width]`; heads are a multiple of groups.
    pub keys: &'a Tensor,
    /// Of the type of `keys`, `[groups, capacity, value width]`.
    pub values: &'a Tensor,
    /// u32, `[count]`.
    pub positions: &'a Tensor,
    /// What scores are multiplied by.
    pub scale: f32,
    /// f32, `[count, heads, value width]`.
    pub out: &'a Tensor,
}

impl Op for Attention<'_> {
    type Kernels = PerType;
    const NAME: &'static str = "attention";

    fn served() -> Vec<Served> {
        per_type(CACHE_TYPES, cpu::kernel)
    }

    fn check(&self) -> Result<()> {
        let [count, heads, width] = argument(Self::NAME, "q", self.q).of(DType::F32)?.axes()?;
        let keys = argument(Self::NAME, "keys", self.keys).one_of(&CACHE_TYPES, CACHE_NAMES)?;
        let [kv_heads, capacity, _] = keys.axes()?;
        keys.shaped(&[kv_heads, capacity, width])?;
        let values = argument(Self::NAME, "values", self.values).of(self.keys.dtype())?;
        let [_, _, value_width] = values.axes()?;
        values.shaped(&[kv_heads, capacity, value_width])?;
        argument(Self::NAME, "positions", self.positions).of(DType::U32)?.shaped(&[count])?;
        argument(Self::NAME, "out", self.out).of(DType::F32)?.shaped(&[count, heads, value_width])?;
        size(Self::NAME, "heads", heads)?;
        let value = |name, given: usize, wanted| Err(bad_value(Self::NAME, name, given as f64, wanted));
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return value("heads of q", heads, "a multiple of the heads of keys");
        }
        for (name, width) in [("width of q", width), ("width of values", value_width)] {
            if width == 0 || width > MOST_WIDTH {
                return value(name, width, "from 1 to 576");
            }
        }
        Ok(())
    }

    fn kernel<'k>(&self, kernels: &'k PerType) -> Result<&'k Kernel> {
        kernels.of(self.keys.dtype())
    }

    fn launch(&self, kernels: &PerType, stage: &mut Stage<'_>) -> Result<()> {
        if self.q.elements() == 0 {
            return Ok(());
        }
        let [count, heads] = [self.q.shape()[0], self.q.shape()[1]];
        let grid = Grid::linear(groups(Self::NAME, count * heads)?, 1);
        let [q, keys, values, positions, out] =
            [self.q, self.keys, self.values, self.positions, self.out].map(|tensor| tensor.buffer().arg());
        let kv_heads = size(Self::NAME, "heads of keys", self.keys.shape()[0])?;
        let heads = size(Self::NAME, "heads", heads)?;
        let scalars = [heads.into(), kv_heads.into(), self.scale.into()];
        let [heads, kv_heads, scale] = scalars;
        let arguments = [q, keys, values, positions, out, heads, kv_heads, scale];
        Ok(stage.launch(self.kernel(kernels)?, grid, &arguments)?)
    }
}
