#![allow(clippy::panic, reason = "bytes that do not decode fail the stage")]
//! `copy` on the CPU: a group owns a row of the output. What does not lie in a row is gathered first.

use forebay_device::{Group, KernelDef, Param, Signature};

use crate::{DType, Result, quant};

/// Elements that are converted at a time: a whole number of blocks of every type.
const PIECE: usize = 512;

fn kernel(name: &str, run: impl Fn(&Group<'_>) + Send + Sync + 'static) -> KernelDef {
    let buffers = [Param::read::<u8>(), Param::write::<u8>().per_group_of(2)];
    let signature = Signature::new(buffers.into_iter().chain([Param::u32(); 11]).collect::<Vec<_>>());
    KernelDef::new(name, signature).cpu(run)
}

/// Where the row of a group begins in what is read, and how far apart its units are.
fn place(group: &Group<'_>) -> (usize, usize) {
    let [b, c, steps @ ..]: [usize; 6] = [4, 5, 6, 7, 8, 9].map(|argument| group.u32(argument) as usize);
    let index = group.index();
    let places = [index / c / b, index / c % b, index % c];
    (places.iter().zip(steps).map(|(place, step)| place * step).sum(), steps[3])
}

pub(super) fn same() -> KernelDef {
    kernel("copy", |group| {
        let (x, out, unit) = (group.read::<u8>(0), group.write::<u8>(1), group.u32(10) as usize);
        let (first, step) = place(group);
        if step == unit || out.len() == unit {
            out.copy_from_slice(&x[first..first + out.len()]);
            return;
        }
        for (i, out) in out.chunks_exact_mut(unit).enumerate() {
            out.copy_from_slice(&x[first + i * step..][..unit]);
        }
    })
}

pub(super) fn convert(from: DType, to: DType) -> KernelDef {
    kernel(&format!("copy_{from}_{to}"), move |group| {
        if let Err(error) = convert_row(group, from, to) {
            panic!("{error}");
        }
    })
}

fn convert_row(group: &Group<'_>, from: DType, to: DType) -> Result<()> {
    let (x, out, width) = (group.read::<u8>(0), group.write::<u8>(1), group.u32(3) as usize);
    let ((first, step), unit) = (place(group), from.block_bytes());
    let (mut gathered, mut decoded) = ([0; 4 * PIECE], [0.0; PIECE]);
    let pieces = out.chunks_mut(PIECE / to.block_elements() * to.block_bytes());
    for (piece, out) in pieces.enumerate() {
        let elements = PIECE.min(width - piece * PIECE);
        let units = elements / from.block_elements();
        let start = first + piece * PIECE / from.block_elements() * step;
        let bytes = if step == unit || units == 1 {
            &x[start..start + units * unit]
        } else {
            let gathered = &mut gathered[..units * unit];
            for (i, to) in gathered.chunks_exact_mut(unit).enumerate() {
                to.copy_from_slice(&x[start + i * step..][..unit]);
            }
            gathered
        };
        let decoded = &mut decoded[..elements];
        quant::decode(from, bytes, decoded)?;
        quant::quantise_row(to, decoded, out)?;
    }
    Ok(())
}
