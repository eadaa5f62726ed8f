//! The gated delta rule: a matrix for each head that forgets, is corrected towards new values, and answers queries.
//!
//! Two kernels serve it: `step` goes position by position, `chunk` takes sixteen at a time and touches the matrix once for
//! all of them. On a card one kernel does for both and keeps the matrix in registers. Next rooms: `reference` for what it
//! means, `cpu` for how it runs, `causal_conv` and `gated_norm` for what stands around it.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, KernelDef, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{
        argument,
        contract::{ensure, finite},
        grid_by_device, size,
    },
};

/// The widest value.
const MOST_WIDTH: usize = 256;
/// Positions of a chunk.
const CHUNK: usize = 16;
/// Columns of a head's matrix that a block of a card has, and its threads.
const COLUMNS: usize = 32;
const THREADS: usize = 256;

/// Which head of queries and keys a head of values uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heads {
    /// Heads of values that share one stand side by side: head `h` uses `h / (value heads / key heads)`.
    Grouped,
    /// Heads of values take them by turns: head `h` uses `h % key heads`.
    Interleaved,
}

/// For each position, in order: `state = e^decay * state`, then `state += key * (beta * (value - state(key)))`, then `out =
/// scale * state(query)`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::{GatedDelta, gated_delta::Heads}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let one = |x: f32, shape: &[usize]| Tensor::from_slice(&device, shape, &[x]);
/// let (q, k, v) = (one(2.0, &[1, 1, 1])?, one(1.0, &[1, 1, 1])?, one(6.0, &[1, 1, 1])?);
/// let (decay, beta, state) = (one(0.0, &[1, 1])?, one(0.5, &[1, 1])?, one(4.0, &[1, 1, 1])?);
/// let out = Tensor::of(DType::F32, &[1, 1, 1], device.alloc(4)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("delta");
/// let op = GatedDelta {
///     q: &q, k: &k, v: &v, decay: &decay, beta: &beta, heads: Heads::Grouped, scale: 1.0, state: &state, out: &out,
/// };
/// ops.record(&mut stage, &op)?;
/// stage.submit()?;
/// assert_eq!((state.to_vec::<f32>()?, out.to_vec::<f32>()?), (vec![5.0], vec![10.0]));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GatedDelta<'a> {
    /// f32, `[count, key heads, key width]`.
    pub q: &'a Tensor,
    /// f32, `[count, key heads, key width]`.
    pub k: &'a Tensor,
    /// f32, `[count, value heads, value width]`.
    pub v: &'a Tensor,
    /// f32, `[count, value heads]`: logarithms of what is kept, zero or below.
    pub decay: &'a Tensor,
    /// f32, `[count, value heads]`: how far a value is corrected.
    pub beta: &'a Tensor,
    /// Which keys belong to which values.
    pub heads: Heads,
    /// What answers are multiplied by.
    pub scale: f32,
    /// f32, `[value heads, key width, value width]`; changed in place.
    pub state: &'a Tensor,
    /// f32, `[count, value heads, value width]`.
    pub out: &'a Tensor,
}

impl Op for GatedDelta<'_> {
    type Kernels = [Kernel; 2];
    const NAME: &'static str = "gated_delta";

    fn served() -> Vec<Served> {
        let on_card = |kernel: KernelDef| kernel.bundle(include_bytes!("cuda.bundle"), "gated_delta");
        vec![
            Served::per_level("f32, few positions", move |level| on_card(cpu::step(level))),
            Served::per_level("f32", move |level| on_card(cpu::chunk(level))),
        ]
    }

    fn check(&self) -> Result<()> {
        let [count, key_heads, key_width] = argument(Self::NAME, "q", self.q).f32()?.axes()?;
        argument(Self::NAME, "k", self.k).f32()?.like(self.q)?;
        let v = argument(Self::NAME, "v", self.v).f32()?;
        let [_, heads, width] = v.axes()?;
        v.shaped(&[count, heads, width])?;
        argument(Self::NAME, "decay", self.decay).f32()?.shaped(&[count, heads])?;
        argument(Self::NAME, "beta", self.beta).f32()?.shaped(&[count, heads])?;
        argument(Self::NAME, "state", self.state).f32()?.shaped(&[heads, key_width, width])?;
        argument(Self::NAME, "out", self.out).f32()?.like(self.v)?;
        let fits = key_heads > 0 && heads.is_multiple_of(key_heads);
        ensure(fits, Self::NAME, "heads of v", heads as f64, "a multiple of the heads of k")?;
        ensure(width <= MOST_WIDTH, Self::NAME, "width of v", width as f64, "at most 256")?;
        finite(Self::NAME, "scale", self.scale)
    }

    fn kernel<'k>(&self, [step, chunk]: &'k [Kernel; 2]) -> Result<&'k Kernel> {
        Ok(if self.q.shape()[0] < CHUNK { step } else { chunk })
    }

    fn launch(&self, kernels: &[Kernel; 2], stage: &mut Stage<'_>) -> Result<()> {
        let [_, heads, width] = argument(Self::NAME, "v", self.v).axes()?;
        if self.out.elements() == 0 {
            return Ok(());
        }
        let [count, key_heads, key_width] = argument(Self::NAME, "q", self.q).axes()?;
        let kernel = self.kernel(kernels)?;
        let blocks = heads * width.div_ceil(COLUMNS);
        let grid = grid_by_device(Self::NAME, kernel, heads, [blocks, THREADS])?;
        let sizes = [("count", count), ("key heads", key_heads), ("value heads", heads)];
        let [count, key_heads, heads] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let widths = [("width of k", key_width), ("width of v", width)];
        let [key_width, width] = widths.map(|(name, value)| size(Self::NAME, name, value));
        let tensors = [self.q, self.k, self.v, self.decay, self.beta, self.state, self.out].map(Tensor::arg);
        let [q, k, v, decay, beta, state, out] = tensors;
        let interleaved = u32::from(self.heads == Heads::Interleaved);
        let words = [count?, key_heads?, heads?, interleaved, key_width?, width?].map(Into::into);
        let ([count, key_heads, heads, interleaved, key_width, width], scale) = (words, self.scale.into());
        let arguments =
            [q, k, v, decay, beta, state, out, count, key_heads, heads, interleaved, scale, key_width, width];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
