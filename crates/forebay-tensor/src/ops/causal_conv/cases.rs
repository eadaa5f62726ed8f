//! One step and many, fewer inputs than taps, one tap, channels around those of a group, with and without bias and
//! curve; the same in one launch or step by step.

use super::{CHANNELS, CausalConv, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (count, channels, taps) in [
        (1, 1, 1),
        (1, CHANNELS + 1, 4),
        (2, 5, 4),
        (20, 48, 4),
        (9, 3 * CHANNELS, 2),
        (0, 4, 3),
        (3, 0, 3),
        (5, 7, 8),
    ] {
        for (has_bias, silu) in [(false, false), (true, true)] {
            convolve(rig, [count, channels, taps], has_bias, silu)?;
        }
    }
    let (x, weight) = (rig.tensor(&[1, 2], &[0.0f32; 2])?, rig.tensor(&[2, 3], &[0.0f32; 6])?);
    let (state, out) = (rig.tensor(&[3, 2], &[0.0f32; 6])?, rig.output(DType::F32, &[1, 2])?);
    let bad = CausalConv { x: &x, weight: &weight, bias: None, state: &state, silu: false, out: &out };
    rig.refuses(&bad, "causal_conv: state has shape [3, 2], [2, 2] is wanted")?;
    let wide = rig.tensor(&[2, 9], &[0.0f32; 18])?;
    rig.refuses(
        &CausalConv { weight: &wide, ..bad },
        "causal_conv: taps of weight is 9, it has to be from 1 to 8",
    )?;
    let state = state.narrow(0, 0..2)?;
    rig.refuses_overlap(&CausalConv { state: &state, out: &x, ..bad })
}

fn convolve(rig: &mut Rig, [count, channels, taps]: [usize; 3], has_bias: bool, silu: bool) -> Result<()> {
    let (mut x, weight) = (rig.floats(count * channels), rig.floats(channels * taps));
    let (bias, state) = (rig.floats(channels), rig.floats((taps - 1) * channels));
    if x.len() > 3 {
        x[3] = f32::NAN;
    }
    let (a, w) = (rig.tensor(&[count, channels], &x)?, rig.tensor(&[channels, taps], &weight)?);
    let (b, s) = (rig.tensor(&[channels], &bias)?, rig.tensor(&[taps - 1, channels], &state)?);
    let steps = rig.tensor(&[taps - 1, channels], &state)?;
    let out = rig.output(DType::F32, &[count, channels])?;
    let op = CausalConv { x: &a, weight: &w, bias: has_bias.then_some(&b), state: &s, silu, out: &out };
    rig.run(&op)?;
    let what = format!("{count} x {channels}, {taps} taps, {has_bias}, {silu}");
    let bias = has_bias.then_some(&bias[..]);
    let (wanted, left) = reference::convolve(&x, &weight, bias, &state, [channels, taps]);
    let curve = |x: f64| if silu { x / (1.0 + (-x).exp()) } else { x };
    let wanted: Vec<f32> = wanted.into_iter().map(|x| curve(x) as f32).collect();
    rig.near(&what, &out, &wanted, 2e-5)?;
    rig.same(&format!("state of {what}"), &s, &left)?;

    let whole = out.to_f32()?;
    let again = rig.output(DType::F32, &[count, channels])?;
    for time in 0..count {
        let (x, out) = (a.narrow(0, time..time + 1)?, again.narrow(0, time..time + 1)?);
        rig.run(&CausalConv { x: &x, state: &steps, out: &out, ..op })?;
    }
    rig.same(&format!("{what}, step by step"), &again, &whole)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for count in [1, 512] {
        let (x, weight) = (rig.floats(count * 8192), rig.floats(8192 * 4));
        let (a, w) = (rig.tensor(&[count, 8192], &x)?, rig.tensor(&[8192, 4], &weight)?);
        let (s, out) = (rig.output(DType::F32, &[3, 8192])?, rig.output(DType::F32, &[count, 8192])?);
        s.copy_from(&weight[..3 * 8192])?;
        let work = Work { bytes: 8 * x.len() + 40 * 8192, operations: 8 * x.len() };
        let op = CausalConv { x: &a, weight: &w, bias: None, state: &s, silu: true, out: &out };
        rig.time(format!("{count} x 8192, 4 taps"), work, &op)?;
    }
    Ok(())
}
