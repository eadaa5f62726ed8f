//! Weight formats: what the bytes of each type mean, as pure functions on slices.
//!
//! One file a format, its layout drawn at the top. `decode` is the oracle that kernels are checked against, so it
//! is written to be read, not to be quick; `encode` searches for the codes of least squared error. No device
//! code is here: kernels live in `ops/`. Formats of one plane of bytes are in the list [`formats`].

mod plain;
mod q4_0;
mod q8_0;

use crate::{DType, Error, Result};

/// A format that keeps all of a block in one run of bytes.
///
/// ```
/// use forebay_tensor::{DType, quant};
///
/// let names: Vec<_> = quant::formats().iter().map(|format| format.dtype().name()).collect();
/// assert!(names.contains(&"q4_0"));
/// ```
#[derive(Debug)]
pub struct Format {
    dtype: DType,
    decode: Decode,
    encode: Encode,
    needs_importance: bool,
}

/// Turns whole blocks into as many elements as they hold.
type Decode = fn(&[u8], &mut [f32]);

/// Turns one row into whole blocks, given the weight of each column's error.
type Encode = fn(&[f32], Option<&[f32]>, &mut [u8]);

/// Every format of one plane of bytes.
static FORMATS: &[Format] = &[
    format(DType::F32, plain::decode_f32, plain::encode_f32),
    format(DType::F16, plain::decode_f16, plain::encode_f16),
    format(DType::BF16, plain::decode_bf16, plain::encode_bf16),
    format(DType::Q4_0, q4_0::decode, q4_0::encode),
    format(DType::Q8_0, q8_0::decode, q8_0::encode),
];

const fn format(dtype: DType, decode: Decode, encode: Encode) -> Format {
    Format { dtype, decode, encode, needs_importance: false }
}

impl Format {
    /// The type whose bytes this describes.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// True if `encode` refuses to work without importance weights.
    pub fn needs_importance(&self) -> bool {
        self.needs_importance
    }
}

/// Every format of one plane of bytes, each once.
pub fn formats() -> &'static [Format] {
    FORMATS
}

/// The format of a type.
///
/// # Errors
/// [`Error::NoFormat`] for integers and for the types of MLX, which have several planes.
pub fn format_of(dtype: DType) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.dtype == dtype).ok_or(Error::NoFormat { dtype: dtype.name() })
}

/// Decodes whole blocks; `out` says how many elements.
///
/// ```
/// use forebay_tensor::{DType, quant};
///
/// let block: Vec<u8> = [0x00, 0x38].into_iter().chain(1..=32).collect(); // the scale 0.5, then 32 codes
/// let mut out = [0.0; 32];
/// quant::decode(DType::Q8_0, &block, &mut out)?;
/// assert_eq!((out[0], out[31]), (0.5, 16.0));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoFormat`], [`Error::PartialBlock`] if `out` is no whole number of blocks, [`Error::ByteLength`]
/// if `bytes` does not hold exactly that many.
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let format = format_of(dtype)?;
    check_bytes("bytes", dtype, out.len(), bytes.len())?;
    (format.decode)(bytes, out);
    Ok(())
}

/// Encodes rows for the least squared error that the search of the format finds.
///
/// `importance` weighs the squared error of each column; its length is the length of a row, and `src` is one or
/// more such rows. Without it `src` is taken as one row and every element counts the same.
///
/// ```
/// use forebay_tensor::{DType, quant};
///
/// let src: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
/// let mut bytes = vec![0; DType::Q8_0.row_bytes(64)?];
/// quant::encode(DType::Q8_0, &src, None, &mut bytes)?;
/// let mut back = vec![0.0; 64];
/// quant::decode(DType::Q8_0, &bytes, &mut back)?;
/// assert!(src.iter().zip(&back).all(|(a, b)| (a - b).abs() < 0.005));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
///
/// # Errors
/// Those of [`decode`]; [`Error::ElementCount`] if `src` is no whole number of rows as long as `importance`;
/// [`Error::NeedsImportance`] for formats that need it.
pub fn encode(dtype: DType, src: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    let format = format_of(dtype)?;
    check_bytes("out", dtype, src.len(), out.len())?;
    let Some(importance) = importance else {
        if format.needs_importance {
            return Err(Error::NeedsImportance { dtype: dtype.name() });
        }
        (format.encode)(src, None, out);
        return Ok(());
    };
    let columns = importance.len();
    let row_bytes = dtype.row_bytes(columns)?;
    if columns == 0 || !src.len().is_multiple_of(columns) {
        return Err(Error::ElementCount { what: "importance", given: columns, wanted: src.len() });
    }
    for (row, row_out) in src.chunks_exact(columns).zip(out.chunks_exact_mut(row_bytes)) {
        (format.encode)(row, Some(importance), row_out);
    }
    Ok(())
}

fn check_bytes(what: &'static str, dtype: DType, elements: usize, given: usize) -> Result<()> {
    let wanted = dtype.row_bytes(elements)?;
    if given == wanted {
        return Ok(());
    }
    Err(Error::ByteLength { what, dtype: dtype.name(), elements, given, wanted })
}

/// The little-endian f16 at `at`.
fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Writes `value` at `at` as a little-endian f16.
fn put_f16(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}
