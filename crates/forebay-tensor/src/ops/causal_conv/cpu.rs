#![allow(unsafe_code, reason = "a group owns some channels of every row")]
//! `causal_conv` on the CPU: a group owns some channels, at all times, of the output and of the state.

use forebay_device::{KernelDef, Param, Share, Signature};

use super::{CHANNELS, MOST_TAPS};
use crate::tiles::cpu::{arguments, curves::silu};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>(),
        Param::read::<f32>(),
        Param::read::<f32>(),
        Param::read_write::<f32>(),
        Param::write::<f32>(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("causal_conv", signature).cpu_shares(|share| {
        share.groups().for_each(|group| convolve(share, group));
    })
}

/// One group.
fn convolve(share: &Share<'_>, group: usize) {
    // SAFETY: A2: the signature declares all of them as read.
    let (x, weight, bias): (&[f32], &[f32], &[f32]) =
        unsafe { (arguments::read(share, 0), arguments::read(share, 1), arguments::read(share, 2)) };
    let (channels, is_silu) = (arguments::count(share, 5), share.word(6) == 1);
    let (taps, count) = (weight.len() / channels, x.len() / channels);
    let own = group * CHANNELS..((group + 1) * CHANNELS).min(channels);
    let at = |row: usize| row * channels + own.start..row * channels + own.end;

    let mut columns = [[0.0; CHANNELS]; MOST_TAPS];
    let mut inputs = [[0.0; CHANNELS]; MOST_TAPS];
    for (channel, weight) in weight.chunks_exact(taps).skip(own.start).take(own.len()).enumerate() {
        weight.iter().zip(&mut columns).for_each(|(weight, column)| column[channel] = *weight);
    }
    for (row, input) in inputs[..taps - 1].iter_mut().enumerate() {
        // SAFETY: A3: a group owns its channels of the state, and takes one row at a time.
        let state: &mut [f32] = unsafe { arguments::write(share, 3, at(row)) };
        input[..own.len()].copy_from_slice(state);
    }
    for time in 0..count {
        // The last input is always at the end; older ones move up.
        inputs[taps - 1][..own.len()].copy_from_slice(&x[at(time)]);
        // SAFETY: A3: a group owns its channels of the output.
        let out: &mut [f32] = unsafe { arguments::write(share, 4, at(time)) };
        match bias.get(own.clone()) {
            Some(bias) => out.copy_from_slice(bias),
            None => out.fill(0.0),
        }
        for (column, input) in columns[..taps].iter().zip(&inputs) {
            out.iter_mut().zip(column.iter().zip(input)).for_each(|(out, (weight, x))| *out += weight * x);
        }
        if is_silu {
            out.iter_mut().for_each(|x| *x = silu(*x));
        }
        inputs[..taps].rotate_left(1);
    }
    for (row, input) in inputs[..taps - 1].iter().enumerate() {
        // SAFETY: A3: as above.
        let state: &mut [f32] = unsafe { arguments::write(share, 3, at(row)) };
        state.copy_from_slice(&input[..own.len()]);
    }
}
