//! Convolves every channel with its own few taps along time, and keeps the last inputs for what comes next.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `gated_delta` for who takes the result.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::ensure, grid_by_device, optional, size},
};

/// The most taps.
const MOST_TAPS: usize = 8;
/// Channels of a group, and threads of a block on a card.
const CHANNELS: usize = 128;
/// Times of a block on a card.
const TIMES: usize = 64;

/// `out[t, c] = sum(weight[c, j] * input[t + j, c]) + bias[c]`, where `input` is `state` with `x` behind it; then `state` holds the
/// last inputs. Where `silu` is set, the result goes through that curve.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::CausalConv};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2, 1], &[5.0f32, 7.0])?;
/// let weight = Tensor::from_slice(&device, &[1, 2], &[10.0f32, 1.0])?;
/// let state = Tensor::from_slice(&device, &[1, 1], &[3.0f32])?;
/// let out = Tensor::of(DType::F32, &[2, 1], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("conv");
/// let op = CausalConv { x: &x, weight: &weight, bias: None, state: &state, silu: false, out: &out };
/// ops.record(&mut stage, &op)?;
/// stage.submit()?;
/// assert_eq!((out.to_vec::<f32>()?, state.to_vec::<f32>()?), (vec![35.0, 57.0], vec![7.0]));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CausalConv<'a> {
    /// f32, `[count, channels]`.
    pub x: &'a Tensor,
    /// f32, `[channels, taps]`, the oldest input first.
    pub weight: &'a Tensor,
    /// f32, `[channels]`.
    pub bias: Option<&'a Tensor>,
    /// f32, `[taps - 1, channels]`, the oldest input first; changed in place.
    pub state: &'a Tensor,
    /// Whether the result goes through `x / (1 + e^-x)`.
    pub silu: bool,
    /// f32, `[count, channels]`.
    pub out: &'a Tensor,
}

impl Op for CausalConv<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "causal_conv";

    fn served() -> Vec<Served> {
        vec![Served::new("f32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "causal_conv"))]
    }

    fn check(&self) -> Result<()> {
        let [count, channels] = argument(Self::NAME, "x", self.x).f32()?.axes()?;
        let weight = argument(Self::NAME, "weight", self.weight).f32()?;
        let [_, taps] = weight.axes()?;
        weight.shaped(&[channels, taps])?;
        ensure((1..=MOST_TAPS).contains(&taps), Self::NAME, "taps of weight", taps as f64, "from 1 to 8")?;
        if let Some(bias) = self.bias {
            argument(Self::NAME, "bias", bias).f32()?.shaped(&[channels])?;
        }
        argument(Self::NAME, "state", self.state).f32()?.shaped(&[taps - 1, channels])?;
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, channels])
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let [count, channels] = argument(Self::NAME, "x", self.x).rows()?;
        if count == 0 {
            return Ok(());
        }
        let bias = optional(self.bias, self.x)?;
        let groups = channels.div_ceil(CHANNELS);
        let grid = grid_by_device(Self::NAME, kernel, groups, [groups * count.div_ceil(TIMES), CHANNELS])?;
        let sizes = [("channels", channels), ("taps", self.weight.shape()[1]), ("count", count)];
        let [channels, taps, count] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let (channels, taps, count) = (channels?.into(), taps?.into(), count?.into());
        let [x, weight, state, out] = [self.x, self.weight, self.state, self.out].map(Tensor::arg);
        let silu = u32::from(self.silu).into();
        let arguments = [x, weight, bias.arg(), state, out, channels, silu, taps, count];
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
