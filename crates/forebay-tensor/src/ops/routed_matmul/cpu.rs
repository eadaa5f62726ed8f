#![allow(clippy::panic, reason = "bytes that do not decode fail the stage")]
//! `routed_matmul` on the CPU: a group owns the result of one expert for one row of activations.

use forebay_device::{Group, KernelDef, Param, Signature};

use crate::{DType, quant, tiles::cpu::dot::dot};

/// Elements decoded at a time: a whole number of blocks of every format.
const PIECE: usize = 512;

/// Decodes a piece of a row into f32 and multiplies the row of activations by it.
pub(super) fn decode(dtype: DType) -> KernelDef {
    let signature = Signature::new([
        Param::read::<u8>(),
        Param::read::<f32>(),
        Param::read::<u32>().per_group(1),
        Param::read::<f32>(),
        Param::write::<f32>().per_group_of(5),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new(format!("routed_matmul_decode_{dtype}"), signature)
        .cpu(move |group| products(group, dtype))
}

fn products(group: &Group<'_>, dtype: DType) {
    let (weight, x, bias) = (group.read::<u8>(0), group.read::<f32>(1), group.read::<f32>(3));
    let (expert, out) = (group.read::<u32>(2)[0] as usize, group.write::<f32>(4));
    let [rows, width, experts, takers] = [5, 6, 7, 8].map(|argument| group.u32(argument) as usize);
    assert!(expert < experts, "expert {expert} is not among {experts}");
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
