//! Weights of planes as weights of rows, for whoever reads rows in one piece only.
//!
//! Floats of 4 bits with a power of two for 32 have a type of rows that is as small. Others are decoded: floats of fewer
//! bits to bf16, which holds them exactly, and codes with a scale and a bias to f32.

use forebay_tensor::{
    DType,
    quant::mlx::{Planes, decode},
};

use crate::error::Result;

/// Elements that are decoded at a time: whole groups of every type.
const PIECE: usize = 4096;

/// The type of rows that a type of planes becomes.
pub(in crate::formats) fn dtype_of_rows(dtype: DType) -> DType {
    match dtype {
        DType::MlxMxfp4 => DType::MXFP4,
        DType::MlxMxfp8 | DType::MlxNvfp4 => DType::BF16,
        _ => DType::F32,
    }
}

/// Writes the rows of planes; `out` is as long as so many elements of [`dtype_of_rows`] take.
///
/// # Errors
/// Those of decoding.
pub(in crate::formats) fn write_rows(dtype: DType, planes: &Planes<'_>, out: &mut [u8]) -> Result<()> {
    if dtype == DType::MlxMxfp4 {
        let (codes, scales) = (planes.codes.as_chunks().0, planes.scales);
        for ((block, codes), scale) in out.as_chunks_mut::<17>().0.iter_mut().zip(codes).zip(scales) {
            *block = mxfp4(codes, *scale);
        }
        return Ok(());
    }
    let rows = dtype_of_rows(dtype);
    let elements = out.len() / rows.block_bytes();
    let group = dtype.block_elements();
    let (code_bytes, scale_bytes) = (dtype.block_bytes(), planes.scale_type.block_bytes());
    let mut decoded = vec![0.0f32; PIECE.min(elements)];
    for (i, out) in out.chunks_mut(PIECE * rows.block_bytes()).enumerate() {
        let count = out.len() / rows.block_bytes();
        let groups = i * PIECE / group..(i * PIECE + count) / group;
        let side = |plane: &'_ [u8]| plane.is_empty().then_some(0..0);
        let sides = groups.start * scale_bytes..groups.end * scale_bytes;
        let planes = Planes {
            codes: &planes.codes[groups.start * code_bytes..groups.end * code_bytes],
            scales: &planes.scales[sides.clone()],
            biases: &planes.biases[side(planes.biases).unwrap_or(sides)],
            scale_type: planes.scale_type,
        };
        decode(dtype, &planes, &mut decoded[..count])?;
        match rows {
            DType::BF16 => {
                for (x, out) in decoded.iter().zip(out.as_chunks_mut().0) {
                    *out = ((x.to_bits() >> 16) as u16).to_le_bytes();
                }
            }
            _ => {
                for (x, out) in decoded.iter().zip(out.as_chunks_mut().0) {
                    *out = x.to_le_bytes();
                }
            }
        }
    }
    Ok(())
}

/// Codes and scales of rows of [`DType::MXFP4`].
pub(in crate::formats) fn planes_of_mxfp4(rows: &[u8]) -> [Vec<u8>; 2] {
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for [scale, block @ ..] in rows.as_chunks::<17>().0 {
        let code = |i: usize| block[i % 16] >> (i / 16 * 4) & 15;
        codes.extend((0..16).map(|i| code(2 * i) | code(2 * i + 1) << 4));
        scales.push(*scale);
    }
    [codes, scales]
}

/// A block of rows: the scale, then codes, those of the first half in the low halves of bytes.
fn mxfp4(codes: &[u8; 16], scale: u8) -> [u8; 17] {
    let code = |i: usize| codes[i / 2] >> (4 * (i % 2)) & 15;
    std::array::from_fn(|i| match i {
        0 => scale,
        i => code(i - 1) | code(i + 15) << 4,
    })
}

#[cfg(test)]
mod tests {
    use forebay_tensor::{Affine, quant};

    use super::*;

    /// Bytes without a pattern that a wrong place could hide in.
    fn bytes(count: usize, most: u8) -> Vec<u8> {
        let mut seed = 7u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8 % most
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn planes_become_rows_and_rows_the_same_planes() {
        let (codes, scales) = (bytes(16 * 9, 255), bytes(9, 255));
        let planes = Planes { codes: &codes, scales: &scales, biases: &[], scale_type: DType::U8 };
        let mut rows = vec![0; 17 * 9];
        write_rows(DType::MlxMxfp4, &planes, &mut rows).unwrap();
        assert_eq!(planes_of_mxfp4(&rows), [codes, scales]);
    }

    #[test]
    fn rows_hold_the_elements_of_planes() {
        const ELEMENTS: usize = 3 * PIECE + 256;
        let affine = DType::Affine(Affine::new(6, 128).unwrap());
        for (dtype, scale_type, group) in [
            (DType::MlxMxfp4, DType::U8, 32),
            (DType::MlxMxfp8, DType::U8, 32),
            (DType::MlxNvfp4, DType::U8, 16),
            (affine, DType::BF16, 128),
        ] {
            let sides = ELEMENTS / group * scale_type.block_bytes();
            let codes = bytes(dtype.row_bytes(ELEMENTS).unwrap(), 255);
            // Neither too small for bf16 nor beyond the largest number.
            let scales: Vec<u8> = bytes(sides, 60).iter().map(|scale| scale + 60).collect();
            let biases = if dtype == affine { bytes(sides, 60) } else { Vec::new() };
            let planes = Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
            let mut wanted = vec![0.0; ELEMENTS];
            decode(dtype, &planes, &mut wanted).unwrap();
            let rows = dtype_of_rows(dtype);
            let mut out = vec![0; rows.row_bytes(ELEMENTS).unwrap()];
            write_rows(dtype, &planes, &mut out).unwrap();
            let mut got = vec![0.0; ELEMENTS];
            quant::decode(rows, &out, &mut got).unwrap();
            assert!(got == wanted, "{dtype}");
            assert!(got.iter().any(|x| *x != 0.0));
        }
    }
}
