#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "an id that is not in the table fails the stage")]
//! `embed` on the CPU: a group owns a row of the output and decodes a row of the table into it.

use forebay_device::{KernelDef, Param, Signature};

use crate::{DType, quant, tiles::cpu::arguments};

pub(super) fn kernel(dtype: DType) -> KernelDef {
    let signature = Signature::new([Param::read::<u8>(), Param::read::<u32>(), Param::write::<f32>()]);
    KernelDef::new(format!("embed_{dtype}"), signature).cpu_shares(move |share| {
        // SAFETY: A2: the signature declares both as read.
        let (table, ids): (&[u8], &[u32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
        let width = share.bytes(2).1 / size_of::<f32>() / ids.len();
        let groups = share.groups();
        // SAFETY: A3: a group owns the row of its number.
        let out: &mut [f32] = unsafe { arguments::write(share, 2, groups.start * width..groups.end * width) };
        let row_bytes = width / dtype.block_elements() * dtype.block_bytes();
        for (&id, out) in ids[groups].iter().zip(out.chunks_exact_mut(width)) {
            let Some(row) = table.chunks_exact(row_bytes).nth(id as usize) else {
                panic!("id {id} is not in a table of {} rows", table.len() / row_bytes);
            };
            if let Err(error) = quant::decode(dtype, row, out) {
                panic!("{error}");
            }
        }
    })
}
