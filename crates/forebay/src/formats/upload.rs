//! Memory of a device filled with the rows of a tensor: in one go where the host sees that memory, else part by part.
//!
//! Part by part, bytes go from pages of the file to the device, and the pages are forgotten behind them: the host never
//! holds a tensor a second time. It makes no tensors and knows no names. Next room: `weights`, which does.

use forebay_device::Buffer;
use forebay_tensor::quant::mlx::Planes;

use super::{
    mlx,
    source::Source,
    stored::{Kind, Stored},
};
use crate::error::Result;

/// Bytes of a part, unless a row is longer.
pub(super) const PART: u64 = 16 << 20;

/// Fills a buffer with rows as they lie, or, where they are in planes, with those of one plane.
pub(super) fn fill(buffer: &Buffer, stored: &Stored, files: &[Source]) -> Result<()> {
    match stored.kind {
        Kind::Planes { .. } => {
            join(stored, files, &mut buffer.write::<u8>()?)?;
            stored.forget(files, u64::MAX);
            Ok(())
        }
        _ => stored.gather(files, 0, &mut buffer.write::<u8>()?),
    }
}

/// As [`fill`], in parts of about so many bytes. `told` is told how many bytes of the file are done.
pub(super) fn fill_in_parts(
    buffer: &Buffer,
    stored: &Stored,
    files: &[Source],
    bytes: u64,
    mut told: impl FnMut(u64),
) -> Result<()> {
    let rows = stored.rows();
    let row = buffer.len() / rows.max(1);
    let step = (bytes / row.max(1)).max(1);
    let mut room = Vec::new();
    let mut first = 0;
    while first < rows {
        let count = step.min(rows - first);
        let (part, place) = (stored.part(first, count), buffer.slice(first * row..(first + count) * row)?);
        match part.kind {
            Kind::Planes { .. } => {
                room.resize((count * row) as usize, 0);
                join(&part, files, &mut room)?;
                place.copy_from(&room)?;
            }
            _ => place.copy_from(&part.bytes(files, 0)?)?,
        }
        part.forget(files, u64::MAX);
        first += count;
        told(stored.len() / rows * first);
    }
    Ok(())
}

/// Rows of planes as rows of one.
fn join(stored: &Stored, files: &[Source], out: &mut [u8]) -> Result<()> {
    let Kind::Planes { dtype, scale_type } = stored.kind else { return Ok(()) };
    let [codes, scales, biases] = [0, 1, 2].map(|plane| stored.bytes(files, plane));
    let (codes, scales, biases) = (codes?, scales?, biases?);
    mlx::write_rows(dtype, &Planes { codes: &codes, scales: &scales, biases: &biases, scale_type }, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{
        gguf::{Gguf, builder::Builder},
        safetensors::Safetensors,
        stored::Rows,
    };
    use forebay_device::{Device, DeviceOptions};
    use forebay_tensor::DType;

    const ROWS: u64 = 13;

    fn bytes(count: u64) -> Vec<u8> {
        // Neither too small for bf16 nor beyond the largest number.
        (0..count).map(|i| (i * i / 3 % 61) as u8 + 60).collect()
    }

    /// Compares both ways, for parts of one row, of several, and of all, and counts what is told.
    fn both_ways_agree(stored: &Stored, files: &[Source], len: u64) {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let whole = device.alloc(len).unwrap();
        fill(&whole, stored, files).unwrap();
        let whole = whole.to_vec::<u8>().unwrap();
        assert!(whole.iter().any(|byte| *byte != whole[0]));
        for part in [1, len / 5, len, 1 << 30] {
            let (buffer, mut told) = (device.upload(&vec![7u8; len as usize]).unwrap(), Vec::new());
            fill_in_parts(&buffer, stored, files, part, |bytes| told.push(bytes)).unwrap();
            assert_eq!(buffer.to_vec::<u8>().unwrap(), whole, "{part}");
            assert!(told.is_sorted() && told.last() == Some(&stored.len()), "{told:?}");
            assert_eq!(told.len() as u64, stored.rows().div_ceil((part / (len / stored.rows())).max(1)));
        }
    }

    #[test]
    fn rows_come_in_order_from_one_range_and_from_scattered_ones() {
        let width = 5 * 32;
        let row = DType::Q8_0.row_bytes(width).unwrap() as u64;
        let file = Builder::new().tensor("m", 8, &[width as u64, ROWS], &bytes(ROWS * row)).bytes();
        let gguf = Gguf::parse("m.gguf", &file).unwrap();
        let whole = Stored::of_gguf(0, gguf.tensor("m").unwrap());
        let files = [Source::Held(file.into())];
        both_ways_agree(&whole, &files, ROWS * row);
        // Every third row from the second on, then the first two.
        let picked = [Rows { first: 1, count: 4, step: 3 }, Rows { first: 0, count: 2, step: 1 }];
        let scattered = whole.pick(vec![6, width as u64], picked);
        assert_eq!((scattered.rows(), scattered.range(0)), (6, None));
        both_ways_agree(&scattered, &files, 6 * row);
        let stacked = Stored::stack(vec![scattered.clone(), scattered]).unwrap();
        both_ways_agree(&stacked, &files, 12 * row);
    }

    #[test]
    fn planes_become_one() {
        const WIDTH: u64 = 64;
        let (codes, scales) = (ROWS * WIDTH / 2, ROWS * WIDTH / 32);
        let header = format!(
            r#"{{"c":{{"dtype":"U32","shape":[{ROWS},{}],"data_offsets":[0,{codes}]}},
                "s":{{"dtype":"U8","shape":[{ROWS},{}],"data_offsets":[{codes},{}]}}}}"#,
            WIDTH / 8,
            WIDTH / 32,
            codes + scales
        );
        let (length, all) = ((header.len() as u64).to_le_bytes(), bytes(codes + scales));
        let file = [&length[..], header.as_bytes(), &all].concat();
        let table = Safetensors::parse("m.safetensors", &file).unwrap();
        let weight = mlx::Weight {
            name: "m",
            dtype: Some(DType::MlxMxfp4),
            shape: vec![ROWS, WIDTH],
            codes: (0, table.tensor("c").unwrap()),
            scales: Some((0, table.tensor("s").unwrap())),
            biases: None,
        };
        let stored = Stored::of_weight(&weight).unwrap();
        let row = mlx::dtype_of_rows(DType::MlxMxfp4).row_bytes(WIDTH as usize).unwrap() as u64;
        both_ways_agree(&stored, &[Source::Held(file.into())], ROWS * row);
    }
}
