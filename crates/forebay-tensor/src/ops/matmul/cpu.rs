#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "bytes that do not decode fail the stage")]
//! `matmul` on the CPU: a group owns some rows of the weight, and so some columns of the output.

use std::ops::Range;

use forebay_device::{KernelDef, Param, Share, Signature};

use super::PART;
use crate::{
    DType, quant,
    tiles::cpu::{arguments, dot::dot},
};

/// Elements decoded at a time: a whole number of blocks of every format.
const PIECE: usize = 512;

/// Decodes a piece of a row into f32 and multiplies all rows of activations by it.
pub(super) fn decode(dtype: DType) -> KernelDef {
    let signature =
        Signature::new([Param::read::<u8>(), Param::read::<f32>(), Param::write::<f32>(), Param::u32()]);
    KernelDef::new(format!("matmul_decode_{dtype}"), signature).cpu_shares(move |share| {
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
