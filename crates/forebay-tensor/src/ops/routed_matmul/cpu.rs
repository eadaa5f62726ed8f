#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "bytes that do not decode, and experts that are not there, fail the stage")]
//! `routed_matmul` on the CPU, for experts in rows and in panels.
//!
//! `floats`, `panels` and `panels_of_floats` go from expert to expert, each of which meets all rows that it was chosen for; a group owns
//! [`PART`] rows of every expert. `decode` takes any format as it lies; a group owns the result of one expert for one row
//! of activations. Next rooms: `tiles::cpu::blocks` and `tiles::cpu::floats`, which multiply.

use std::marker::PhantomData;

use bytemuck::Pod;
use forebay_device::{Group, KernelDef, Param, Share, Signature};

use super::PART;
use crate::{
    DType, quant,
    quant::{
        panel::{COLUMNS, MOST, ROWS},
        rounded::Rounded,
    },
    tiles::{
        cpu::{
            arguments,
            blocks::{Inputs, Meant, Multiply, MultiplyDecoded, MultiplyExpanded, Out, Panels},
            dot::dot,
            floats::{MultiplyFloats, Plain, PlainJob, with_plain},
            formats::{FormatJob, PanelFormat, with_format},
            points::{PointFormat, PointJob, Points, with_points},
        },
        level_and_scales,
    },
};

/// Elements decoded at a time: a whole number of blocks of every format.
const PIECE: usize = 512;
/// Results that an expert makes at a time.
const BATCH: usize = 256;

/// The kernel for rows as they lie.
pub(super) fn rows(dtype: DType) -> KernelDef {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => floats(dtype),
        _ => decode(dtype),
    }
}

/// Decodes a piece of a row into f32 and multiplies the row of activations by it.
fn decode(dtype: DType) -> KernelDef {
    let [ids, out] = [Param::read::<u32>().per_group(1), Param::write::<f32>().per_group_of(5)];
    let signature = signature(Param::read::<f32>(), ids, out);
    KernelDef::new(format!("routed_matmul_decode_{dtype}"), signature)
        .cpu(move |group| products(group, dtype))
}

fn products(group: &Group<'_>, dtype: DType) {
    let (weight, x, bias) = (group.read::<u8>(0), group.read::<f32>(1), group.read::<f32>(3));
    let (expert, out) = (group.read::<u32>(2)[0] as usize, group.write::<f32>(4));
    let [rows, width, experts, takers] = [5, 6, 7, 8].map(|argument| group.u32(argument) as usize);
    check(expert, experts);
    let x = &x[group.index() / takers * width..][..width];
    let row_bytes = weight.len() / experts / rows;
    let weight = &weight[expert * rows * row_bytes..][..rows * row_bytes];
    let piece_bytes = PIECE / dtype.block_elements() * dtype.block_bytes();
    let mut decoded = [0.0; PIECE];
    for (row, (bytes, out)) in weight.chunks_exact(row_bytes).zip(out).enumerate() {
        *out = 0.0;
        for (bytes, x) in bytes.chunks(piece_bytes).zip(x.chunks(PIECE)) {
            let decoded = &mut decoded[..x.len()];
            if let Err(error) = quant::decode(dtype, bytes, decoded) {
                panic!("{error}");
            }
            *out += dot(x, decoded);
        }
        *out += bias.get(expert * rows + row).copied().unwrap_or(0.0);
    }
}

fn check(expert: usize, experts: usize) {
    assert!(expert < experts, "expert {expert} is not among {experts}");
}

/// Multiplies rows of floats; a group owns [`PART`] rows of every expert.
fn floats(dtype: DType) -> KernelDef {
    let name = format!("routed_matmul_floats_{dtype}");
    KernelDef::new(name, signature_of_floats()).cpu_shares(move |share| {
        if !with_plain(dtype, Floats(share)) {
            panic!("{dtype} is no type of floats");
        }
    })
}

/// Multiplies panels by rounded rows; a group owns a panel of every expert.
pub(super) fn panels(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<Rounded>(), Param::read::<u32>(), Param::write::<f32>());
    KernelDef::new(format!("routed_matmul_panels_{dtype}"), signature).cpu_shares(move |share| {
        let (_, scale_type) = level_and_scales(share.word(9));
        if with_format(dtype, scale_type, InPanels(share)).is_none() {
            panic!("{dtype} does not lie in panels");
        }
    })
}

/// Multiplies panels by rows of floats; a group owns a panel of every expert.
pub(super) fn panels_of_floats(dtype: DType) -> KernelDef {
    KernelDef::new(format!("routed_matmul_panels_of_floats_{dtype}"), signature_of_floats()).cpu_shares(
        move |share| {
            let (_, scale_type) = level_and_scales(share.word(9));
            if with_format(dtype, scale_type, InPanelsOfFloats(share)).is_none() {
                panic!("{dtype} does not lie in panels");
            }
        },
    )
}

/// Multiplies rows whose codes are looked up by rounded rows; a group owns [`PART`] rows of every expert.
pub(super) fn points(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<Rounded>(), Param::read::<u32>(), Param::write::<f32>());
    KernelDef::new(format!("routed_matmul_points_{dtype}"), signature).cpu_shares(move |share| {
        if !with_points(dtype, InPoints(share)) {
            panic!("the codes of {dtype} are not looked up");
        }
    })
}

/// The signature of kernels that multiply floats and split nothing.
pub(super) fn signature_of_floats() -> Signature {
    signature(Param::read::<f32>(), Param::read::<u32>(), Param::write::<f32>())
}

/// Weight, activations, ids, bias, output; rows, width, experts, results that share a row, how the weight lies, and results.
fn signature(x: Param, ids: Param, out: Param) -> Signature {
    let buffers = [Param::read::<u8>(), x, ids, Param::read::<f32>(), out];
    Signature::new([&buffers[..], &[const { Param::u32() }; 6]].concat())
}

/// Takes the type to the level.
struct Floats<'a, 'b>(&'a Share<'b>);

impl PlainJob for Floats<'_, '_> {
    fn run<F: Plain>(self) {
        let (level, _) = level_and_scales(self.0.word(9));
        // SAFETY: the signature declares so.
        let experts = unsafe { Experts::<f32>::of(self.0) };
        experts.each(|weight, inputs, out| {
            level.run(MultiplyFloats { f: PhantomData::<F>, weight, inputs, out });
        });
    }
}

/// Takes the format to the level.
struct InPanels<'a, 'b>(&'a Share<'b>);

impl FormatJob for InPanels<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        let (level, _) = level_and_scales(self.0.word(9));
        // SAFETY: the signature declares so.
        let experts = unsafe { Experts::<Rounded>::of(self.0) };
        let panels = experts.out.width().div_ceil(ROWS);
        experts.each(|weight, inputs, out| {
            let panels = Panels::new(weight, panels);
            level.run(Multiply { f, panels, inputs, out });
        });
    }
}

/// Takes the format to the level.
struct InPanelsOfFloats<'a, 'b>(&'a Share<'b>);

impl FormatJob for InPanelsOfFloats<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        let (level, _) = level_and_scales(self.0.word(9));
        // SAFETY: the signature declares so.
        let experts = unsafe { Experts::<f32>::of(self.0) };
        let panels = experts.out.width().div_ceil(ROWS);
        experts.each(|weight, inputs, out| {
            let panels = Panels::new(weight, panels);
            level.run(MultiplyDecoded { f, panels, inputs, out });
        });
    }
}

/// Takes the format to the level.
struct InPoints<'a, 'b>(&'a Share<'b>);

impl PointJob for InPoints<'_, '_> {
    fn run<F: PointFormat>(self) {
        let (level, _) = level_and_scales(self.0.word(9));
        // SAFETY: the signature declares so.
        let experts = unsafe { Experts::<Rounded>::of(self.0) };
        experts.each(|rows, inputs, out| {
            let values = Points { f: PhantomData::<F>, rows, blocks: inputs.width * COLUMNS / MOST };
            level.run(MultiplyExpanded { values, inputs, out });
        });
    }
}

/// What experts are given.
struct Experts<'a, T> {
    weight: &'a [u8],
    x: &'a [T],
    ids: &'a [u32],
    bias: &'a [f32],
    out: Out<'a>,
    count: usize,
    /// Results side by side that share a row of `x`.
    takers: usize,
}

impl<'a, T: Pod> Experts<'a, T> {
    /// # Safety
    /// The signature declares `x` with elements of `T`.
    unsafe fn of(share: &Share<'a>) -> Self {
        // SAFETY: A2: the signature declares both as read, and the caller vouches for `x`.
        let (weight, x) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
        // SAFETY: A2: the signature declares both as read.
        let (ids, bias): (&[u32], _) = unsafe { (arguments::read(share, 2), arguments::read(share, 3)) };
        let [rows, count, takers] = [5, 7, 8].map(|argument| arguments::count(share, argument));
        ids.iter().for_each(|&expert| check(expert as usize, count));
        let own = share.groups().start * PART..(share.groups().end * PART).min(rows);
        // SAFETY: the signature declares it as written; A3: a group owns the columns of its rows of every expert.
        let out = unsafe { Out::of(share, 4, rows, own) };
        Self { weight, x, ids, bias, out, count, takers }
    }

    /// Calls `multiply` with the weight of every expert and the rows that it was chosen for, then adds the biases.
    fn each(self, mut multiply: impl FnMut(&'a [u8], Inputs<'_, T>, &mut Out<'_>)) {
        let Self { weight, x, ids, bias, mut out, count, takers } = self;
        let (bytes, width) = (weight.len() / count, x.len() * takers / ids.len());
        for expert in 0..count {
            for_each_batch(ids, expert as u32, |taken| {
                let inputs = Inputs { x, width, rows: Meant::Of(taken, takers) };
                multiply(&weight[expert * bytes..][..bytes], inputs, &mut out);
            });
        }
        let own = out.own();
        if bias.is_empty() || own.is_empty() {
            return;
        }
        for (place, &expert) in ids.iter().enumerate() {
            let bias = &bias[expert as usize * out.width()..][own.clone()];
            let out = out.of_rows(own.clone(), place);
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
    }
}

/// Calls `each` with the results that an expert makes, so many at a time.
fn for_each_batch(ids: &[u32], expert: u32, mut each: impl FnMut(&[u32])) {
    /// Ids that are looked at together, because few of them are this expert's.
    const LOOK: usize = 32;
    let (mut taken, mut count) = ([0; BATCH], 0);
    for (i, ids) in ids.chunks(LOOK).enumerate() {
        if !ids.iter().fold(false, |any, id| any | (*id == expert)) {
            continue;
        }
        for (j, _) in ids.iter().enumerate().filter(|(_, id)| **id == expert) {
            taken[count] = (i * LOOK + j) as u32;
            count += 1;
            if count == BATCH {
                each(&taken);
                count = 0;
            }
        }
    }
    if count > 0 {
        each(&taken[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_result_of_an_expert_once() {
        let ids: Vec<u32> = (0..3000).map(|i| if i < 700 { 1 } else { i % 5 }).collect();
        for expert in 0..6 {
            let mut all = Vec::new();
            for_each_batch(&ids, expert, |taken| {
                assert!((1..=BATCH).contains(&taken.len()));
                all.extend_from_slice(taken);
            });
            let wanted: Vec<u32> = (0..3000).filter(|&i| ids[i as usize] == expert).collect();
            assert_eq!(all, wanted, "{expert}");
        }
    }
}
