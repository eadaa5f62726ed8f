#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "bytes that do not decode fail the stage")]
//! `matmul` on the CPU: a group owns some rows of the weight, and so some columns of the output.
//!
//! `floats` takes rows of plain types, `decode` those of any format, as they lie; `panels`, `panels_of_floats` and `points` take
//! what is packed and what is looked up to `tiles::cpu::blocks`, the next room. What is around products is `tiles::cpu::around`.

use std::{marker::PhantomData, ops::Range};

use bytemuck::Pod;
use forebay_device::{KernelDef, Param, Share, Signature};

use super::PART;
use crate::{
    DType, Level,
    ops::gate::{Gating, cpu::Pass},
    quant,
    quant::{
        panel::{COLUMNS, MOST, ROWS},
        rounded::Rounded,
    },
    tiles::{
        cpu::{
            arguments,
            around::Around,
            blocks::{Inputs, Meant, Multiply, MultiplyDecoded, MultiplyExpanded, Out, Panels},
            dot::dot,
            floats::{MultiplyFloats, Plain, PlainJob, with_plain},
            formats::{FormatJob, PanelFormat, with_format},
            points::{PointFormat, PointJob, Points, with_points},
            products::PANELS,
        },
        level_and_scales,
    },
};

/// Elements decoded at a time: a whole number of blocks of every format.
const PIECE: usize = 512;

/// The kernel for rows as they lie.
pub(super) fn rows(dtype: DType) -> KernelDef {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => floats(dtype),
        _ => decode(dtype),
    }
}

/// Multiplies rows of floats; a group owns [`PART`] of them.
fn floats(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<f32>());
    KernelDef::new(format!("matmul_floats_{dtype}"), signature).cpu_shares(move |share| {
        if !with_plain(dtype, OfFloats(share)) {
            panic!("{dtype} is no type of floats");
        }
    })
}

/// Decodes a piece of a row into f32 and multiplies all rows of activations by it; a group owns [`PART`] rows.
fn decode(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<f32>());
    KernelDef::new(format!("matmul_decode_{dtype}"), signature).cpu_shares(move |share| {
        multiply(share, PART, |_, weight, inputs: Inputs<'_, f32>, out| decoded(dtype, weight, &inputs, out));
    })
}

/// Makes the columns of the output that this worker owns.
fn decoded(dtype: DType, weight: &[u8], inputs: &Inputs<'_, f32>, out: &mut Out<'_>) {
    let (own, row_bytes) = (out.own(), weight.len() / out.width());
    let mut decoded = [0.0; PIECE];
    out.begin(own.clone(), inputs);
    for row in own.clone() {
        let weight = &weight[row * row_bytes..][..row_bytes];
        for (piece, bytes) in weight.chunks(PIECE / dtype.block_elements() * dtype.block_bytes()).enumerate()
        {
            let columns = piece * PIECE..((piece + 1) * PIECE).min(inputs.width);
            let decoded = &mut decoded[..columns.len()];
            if let Err(error) = quant::decode(dtype, bytes, decoded) {
                panic!("{error}");
            }
            for i in 0..inputs.len() {
                let (sum, begun) =
                    (dot(inputs.row(i, columns.clone()), decoded), piece > 0 || out.is_begun());
                let out = &mut out.of_rows(row..row + 1, i)[0];
                *out = if begun { *out + sum } else { sum };
            }
        }
    }
    out.end(own, inputs);
}

/// Multiplies panels by rounded rows; a group owns [`PANELS`] panels.
pub(super) fn panels(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<Rounded>());
    KernelDef::new(format!("matmul_panels_{dtype}"), signature).cpu_shares(move |share| {
        let (_, scale_type) = level_and_scales(share.word(HOW));
        if with_format(dtype, scale_type, InPanels(share)).is_none() {
            panic!("{dtype} does not lie in panels");
        }
    })
}

/// Multiplies panels by rows of floats; a group owns [`PANELS`] panels.
pub(super) fn panels_of_floats(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<f32>());
    KernelDef::new(format!("matmul_panels_of_floats_{dtype}"), signature).cpu_shares(move |share| {
        let (_, scale_type) = level_and_scales(share.word(HOW));
        if with_format(dtype, scale_type, InPanelsOfFloats(share)).is_none() {
            panic!("{dtype} does not lie in panels");
        }
    })
}

/// Multiplies rows whose codes are looked up by rounded rows; a group owns as many rows as [`PANELS`] panels have.
pub(super) fn points(dtype: DType) -> KernelDef {
    let signature = signature(Param::read::<Rounded>());
    KernelDef::new(format!("matmul_points_{dtype}"), signature).cpu_shares(move |share| {
        if !with_points(dtype, InPoints(share)) {
            panic!("the codes of {dtype} are not looked up");
        }
    })
}

/// Weight, activations, bias, gate, output; rows of the weight, how it lies, whether products are added, and the gate.
fn signature(x: Param) -> Signature {
    let floats = Param::read::<f32>();
    let buffers = [Param::read::<u8>(), x, floats, floats, Param::read_write::<f32>()];
    let words = [const { Param::u32() }; 4];
    Signature::new([&buffers[..], &words, &[Param::f32(), Param::f32()]].concat())
}

/// The argument that says how the weight lies.
const HOW: usize = 6;

/// Takes the type to the level.
struct OfFloats<'a, 'b>(&'a Share<'b>);

impl PlainJob for OfFloats<'_, '_> {
    fn run<F: Plain>(self) {
        multiply(self.0, PART, |level, weight, inputs, out| {
            level.run(MultiplyFloats { f: PhantomData::<F>, weight, inputs, out });
        });
    }
}

/// Takes the format to the level.
struct InPanels<'a, 'b>(&'a Share<'b>);

impl FormatJob for InPanels<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        multiply(self.0, PANELS * ROWS, |level, weight, inputs, out| {
            let panels = Panels::new(weight, out.width().div_ceil(ROWS));
            level.run(Multiply { f, panels, inputs, out });
        });
    }
}

/// Takes the format to the level.
struct InPanelsOfFloats<'a, 'b>(&'a Share<'b>);

impl FormatJob for InPanelsOfFloats<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        multiply(self.0, PANELS * ROWS, |level, weight, inputs, out| {
            let panels = Panels::new(weight, out.width().div_ceil(ROWS));
            level.run(MultiplyDecoded { f, panels, inputs, out });
        });
    }
}

/// Takes the format to the level.
struct InPoints<'a, 'b>(&'a Share<'b>);

impl PointJob for InPoints<'_, '_> {
    fn run<F: PointFormat>(self) {
        multiply(self.0, PANELS * ROWS, |level, rows, inputs, out| {
            let values = Points { f: PhantomData::<F>, rows, blocks: inputs.width * COLUMNS / MOST };
            level.run(MultiplyExpanded { values, inputs, out });
        });
    }
}

/// Has this worker's part of a product made, of which a group owns so many rows of the weight, with what is around it.
fn multiply<T: Pod>(
    share: &Share<'_>,
    part: usize,
    make: impl FnOnce(Level, &[u8], Inputs<'_, T>, &mut Out<'_>),
) {
    let (level, _) = level_and_scales(share.word(HOW));
    // SAFETY: A2: the signature declares both as read, and `x` with elements of `T`.
    let (weight, x): (&[u8], &[T]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
    // SAFETY: A2: the signature declares both as read.
    let (bias, gate): (&[f32], &[f32]) = unsafe { (arguments::read(share, 2), arguments::read(share, 3)) };
    let [adds, number] = [7, 8].map(|argument| share.word(argument));
    let gating = Gating::of_words(number, [9, 10].map(|argument| arguments::float(share, argument)));
    let pass = |elements: Range<usize>, up: &mut [f32]| {
        if let Some(gating) = gating {
            level.run(Pass { gating, gate: &gate[elements], up });
        }
    };
    let around = Around { adds: adds != 0, bias, gate: if gating.is_some() { Some(&pass) } else { None } };
    let rows = arguments::count(share, 5);
    let own = share.groups().start * part..(share.groups().end * part).min(rows);
    // SAFETY: the signature declares it as written; A3: a group owns the columns of its rows of the weight.
    let mut out = unsafe { Out::of(share, 4, rows, own) }.around(around);
    let inputs = Inputs { x, width: x.len() / out.count(), rows: Meant::First(out.count()) };
    make(level, weight, inputs, &mut out);
}
