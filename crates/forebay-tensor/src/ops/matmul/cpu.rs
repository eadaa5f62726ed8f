#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "bytes that do not decode fail the stage")]
//! `matmul` on the CPU: a group owns some rows of the weight, and so some columns of the output.
//!
//! `floats` takes rows of plain types, `decode` those of any format, as they lie; `panels` and `points` take what is packed
//! and what is looked up to `tiles::cpu::blocks`, the next room.

use std::{marker::PhantomData, ops::Range};

use forebay_device::{KernelDef, Param, Share, Signature};

use super::PART;
use crate::{
    DType, Level, quant,
    quant::{
        panel::{COLUMNS, MOST, ROWS},
        rounded::Rounded,
    },
    tiles::{
        cpu::{
            arguments,
            blocks::{Inputs, Meant, Multiply, MultiplyExpanded, Out, Panels},
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
    KernelDef::new(format!("matmul_floats_{dtype}"), signature_of_floats()).cpu_shares(move |share| {
        let (level, _) = level_and_scales(share.word(4));
        if !with_plain(dtype, ChoosePlain { share, level }) {
            panic!("{dtype} is no type of floats");
        }
    })
}

/// Takes the type to the level.
struct ChoosePlain<'a, 'b> {
    share: &'a Share<'b>,
    level: Level,
}

impl PlainJob for ChoosePlain<'_, '_> {
    fn run<F: Plain>(self) {
        let Self { share, level } = self;
        // SAFETY: A2: the signature declares both as read.
        let (weight, x): (&[u8], &[f32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
        let rows = arguments::count(share, 3);
        let own = share.groups().start * PART..(share.groups().end * PART).min(rows);
        // SAFETY: the signature declares it as written; A3: a group owns the columns of its rows of the weight.
        let out = &mut unsafe { Out::of(share, 2, rows, own) };
        let inputs = Inputs { x, width: x.len() / out.count(), rows: Meant::First(out.count()) };
        level.run(MultiplyFloats { f: PhantomData::<F>, weight, inputs, out });
    }
}

/// Decodes a piece of a row into f32 and multiplies all rows of activations by it.
fn decode(dtype: DType) -> KernelDef {
    KernelDef::new(format!("matmul_decode_{dtype}"), signature_of_floats()).cpu_shares(move |share| {
        let rows = arguments::count(share, 3);
        let own = share.groups().start * PART..(share.groups().end * PART).min(rows);
        own.for_each(|row| product_of_row(share, dtype, row, rows));
    })
}

/// Makes one column of the output; the caller owns the row.
fn product_of_row(share: &Share<'_>, dtype: DType, row: usize, rows: usize) {
    // SAFETY: A2: the signature declares both as read.
    let (weight, x): (&[u8], &[f32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
    let count = share.bytes(2).1 / size_of::<f32>() / rows;
    let width = x.len() / count;
    let row_bytes = weight.len() / rows;
    let weight = &weight[row * row_bytes..][..row_bytes];
    let mut decoded = [0.0; PIECE];
    for (piece, bytes) in weight.chunks(PIECE / dtype.block_elements() * dtype.block_bytes()).enumerate() {
        let columns: Range<usize> = piece * PIECE..((piece + 1) * PIECE).min(width);
        let decoded = &mut decoded[..columns.len()];
        if let Err(error) = quant::decode(dtype, bytes, decoded) {
            panic!("{error}");
        }
        for (i, x) in x.chunks_exact(width).enumerate() {
            let at = i * rows + row;
            // SAFETY: A3: a group owns the columns of its rows of the weight, and this is one of them.
            let out: &mut [f32] = unsafe { arguments::write(share, 2, at..at + 1) };
            let sum = dot(&x[columns.clone()], decoded);
            out[0] = if piece == 0 { sum } else { out[0] + sum };
        }
    }
}

/// Multiplies panels by rounded rows; a group owns [`PANELS`] panels.
pub(super) fn panels(dtype: DType) -> KernelDef {
    let name = format!("matmul_panels_{dtype}");
    KernelDef::new(name, signature(Param::read::<Rounded>())).cpu_shares(move |share| {
        let (level, scale_type) = level_and_scales(share.word(4));
        if with_format(dtype, scale_type, ChooseFormat { share, level }).is_none() {
            panic!("{dtype} does not lie in panels");
        }
    })
}

/// Multiplies rows whose codes are looked up by rounded rows; a group owns as many rows as [`PANELS`] panels have.
pub(super) fn points(dtype: DType) -> KernelDef {
    let name = format!("matmul_points_{dtype}");
    KernelDef::new(name, signature(Param::read::<Rounded>())).cpu_shares(move |share| {
        let (level, _) = level_and_scales(share.word(4));
        if !with_points(dtype, ChoosePoints { share, level }) {
            panic!("the codes of {dtype} are not looked up");
        }
    })
}

/// The signature of kernels that multiply floats.
pub(super) fn signature_of_floats() -> Signature {
    signature(Param::read::<f32>())
}

/// Weight, activations, output; rows of the weight, how it lies, its width, and rows of activations.
pub(super) fn signature(x: Param) -> Signature {
    let buffers = [Param::read::<u8>(), x, Param::write::<f32>()];
    Signature::new([&buffers[..], &[const { Param::u32() }; 4]].concat())
}

/// Takes the format to the level.
struct ChooseFormat<'a, 'b> {
    share: &'a Share<'b>,
    level: Level,
}

impl FormatJob for ChooseFormat<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        let Rounds { weight, out, inputs } = &mut Rounds::of(self.share);
        let panels = Panels::new(weight, out.width().div_ceil(ROWS));
        self.level.run(Multiply { f, panels, inputs: *inputs, out });
    }
}

/// Takes the format to the level.
struct ChoosePoints<'a, 'b> {
    share: &'a Share<'b>,
    level: Level,
}

impl PointJob for ChoosePoints<'_, '_> {
    fn run<F: PointFormat>(self) {
        let Rounds { weight, out, inputs } = &mut Rounds::of(self.share);
        let values = Points { f: PhantomData::<F>, rows: weight, blocks: inputs.width * COLUMNS / MOST };
        self.level.run(MultiplyExpanded { values, inputs: *inputs, out });
    }
}

/// A product with rounded rows.
struct Rounds<'a> {
    weight: &'a [u8],
    out: Out,
    inputs: Inputs<'a, Rounded>,
}

impl<'a> Rounds<'a> {
    fn of(share: &Share<'a>) -> Self {
        // SAFETY: A2: the signature declares both as read.
        let (weight, x): (_, &[Rounded]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
        let rows = arguments::count(share, 3);
        let own = share.groups().start * PANELS * ROWS..(share.groups().end * PANELS * ROWS).min(rows);
        // SAFETY: the signature declares it as written; A3: a group owns the columns of its panels.
        let out = unsafe { Out::of(share, 2, rows, own) };
        let inputs = Inputs { x, width: x.len() / out.count(), rows: Meant::First(out.count()) };
        Self { weight, out, inputs }
    }
}
