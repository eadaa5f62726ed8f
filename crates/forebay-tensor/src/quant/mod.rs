//! Weight formats: what the bytes of each type mean, as pure functions on slices.
//!
//! One file a format, its layout drawn at the top. `decode` is the oracle that kernels are checked against,
//! so it is written to be read, not to be quick; `encode` searches for the codes of least squared error. No
//! device code is here: kernels live in `ops/`. Formats of one plane of bytes are in the list [`formats`];
//! those of MLX are in [`mlx`].

mod activation;
mod block;
pub(crate) mod grids;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
pub(crate) mod iq2_xxs;
mod iq3_s;
pub(crate) mod iq3_xxs;
pub(crate) mod iq4_nl;
mod iq4_xs;
mod k_scales;
mod lattice;
pub mod mlx;
mod mxfp4;
mod nvfp4;
pub(crate) mod panel;
mod plain;
pub(crate) mod points;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_1;
mod q8_k;
pub(crate) mod rounded;
mod search;
pub(crate) mod small_float;
mod tq1_0;
mod tq2_0;
mod two_level;

use block::Weights;

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
}

/// Turns whole blocks into as many elements as they hold.
type Decode = fn(&[u8], &mut [f32]);

/// Turns whole blocks' worth of elements into blocks.
type Encode = fn(&[f32], Weights<'_>, &mut [u8]);

/// Every format of one plane of bytes.
static FORMATS: &[Format] = &[
    format(DType::F32, plain::decode_f32, plain::encode_f32),
    format(DType::F16, plain::decode_f16, plain::encode_f16),
    format(DType::BF16, plain::decode_bf16, plain::encode_bf16),
    format(DType::Q4_0, q4_0::decode, q4_0::encode),
    format(DType::Q4_1, q4_1::decode, q4_1::encode),
    format(DType::Q5_0, q5_0::decode, q5_0::encode),
    format(DType::Q5_1, q5_1::decode, q5_1::encode),
    format(DType::Q8_0, q8_0::decode, q8_0::encode),
    format(DType::Q8_1, q8_1::decode, activation::q8_1),
    format(DType::Q2_K, q2_k::decode, q2_k::encode),
    format(DType::Q3_K, q3_k::decode, q3_k::encode),
    format(DType::Q4_K, q4_k::decode, q4_k::encode),
    format(DType::Q5_K, q5_k::decode, q5_k::encode),
    format(DType::Q6_K, q6_k::decode, q6_k::encode),
    format(DType::Q8_K, q8_k::decode, activation::q8_k),
    format(DType::IQ4_NL, iq4_nl::decode, iq4_nl::encode),
    format(DType::IQ4_XS, iq4_xs::decode, iq4_xs::encode),
    format(DType::TQ1_0, tq1_0::decode, tq1_0::encode),
    format(DType::TQ2_0, tq2_0::decode, tq2_0::encode),
    format(DType::Q1_0, q1_0::decode, q1_0::encode),
    format(DType::Q2_0, q2_0::decode, q2_0::encode),
    format(DType::MXFP4, mxfp4::decode, mxfp4::encode),
    format(DType::NVFP4, nvfp4::decode, nvfp4::encode),
    format(DType::IQ1_S, iq1_s::decode, iq1_s::encode),
    format(DType::IQ1_M, iq1_m::decode, iq1_m::encode),
    format(DType::IQ2_XXS, iq2_xxs::decode, iq2_xxs::encode),
    format(DType::IQ2_XS, iq2_xs::decode, iq2_xs::encode),
    format(DType::IQ2_S, iq2_s::decode, iq2_s::encode),
    format(DType::IQ3_XXS, iq3_xxs::decode, iq3_xxs::encode),
    format(DType::IQ3_S, iq3_s::decode, iq3_s::encode),
];

const fn format(dtype: DType, decode: Decode, encode: Encode) -> Format {
    Format { dtype, decode, encode }
}

impl Format {
    /// The type whose bytes this describes.
    pub fn dtype(&self) -> DType {
        self.dtype
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
/// `importance` weighs the squared error of each column; its length is the length of a row, and `src` is one
/// or more such rows. Without it `src` is taken as one row and every element counts the same.
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
/// [`Error::BadValue`] for an element that is not finite and for an importance below zero.
pub fn encode(dtype: DType, src: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    let format = format_of(dtype)?;
    check_bytes("out", dtype, src.len(), out.len())?;
    if let Some(columns) = importance {
        check_importance(dtype, columns, src.len())?;
    }
    if !dtype.is_plain() {
        check_finite("src", src)?;
    }
    (format.encode)(src, Weights::new(importance), out);
    Ok(())
}

/// Rounds rows to nearest, without any search: for activations and caches, at every step.
///
/// Serves Q8_0, Q8_1, Q8_K and Q4_0 and the floats. Input that is not finite is taken as it comes:
/// not-a-number becomes zero, and an infinity spoils its own block.
///
/// ```
/// use forebay_tensor::{DType, quant};
///
/// let x: Vec<f32> = (0..256).map(|i| i as f32 - 100.0).collect();
/// let mut bytes = vec![0; DType::Q8_K.row_bytes(256)?];
/// quant::quantise_row(DType::Q8_K, &x, &mut bytes)?;
/// let mut back = vec![0.0; 256];
/// quant::decode(DType::Q8_K, &bytes, &mut back)?;
/// assert!((back[255] - 155.0).abs() < 1e-3);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoRounding`] for other types, [`Error::PartialBlock`] and [`Error::ByteLength`] as [`decode`].
pub fn quantise_row(dtype: DType, src: &[f32], out: &mut [u8]) -> Result<()> {
    let quantise: Encode = match dtype {
        DType::F32 => plain::encode_f32,
        DType::F16 => plain::encode_f16,
        DType::BF16 => plain::encode_bf16,
        DType::Q4_0 => activation::q4_0,
        DType::Q8_0 => activation::q8_0,
        DType::Q8_1 => activation::q8_1,
        DType::Q8_K => activation::q8_k,
        _ => return Err(Error::NoRounding { dtype: dtype.name() }),
    };
    check_bytes("out", dtype, src.len(), out.len())?;
    quantise(src, Weights::new(None), out);
    Ok(())
}

fn check_bytes(what: &'static str, dtype: DType, elements: usize, given: usize) -> Result<()> {
    let wanted = dtype.row_bytes(elements)?;
    if given == wanted {
        return Ok(());
    }
    Err(Error::ByteLength { what, dtype: dtype.name(), elements, given, wanted })
}

fn check_importance(dtype: DType, columns: &[f32], elements: usize) -> Result<()> {
    dtype.row_bytes(columns.len())?;
    if elements != 0 && (columns.is_empty() || !elements.is_multiple_of(columns.len())) {
        return Err(Error::ElementCount { what: "importance", given: columns.len(), wanted: elements });
    }
    check_finite("importance", columns)?;
    match columns.iter().position(|weight| *weight < 0.0) {
        Some(index) => Err(Error::BadValue { what: "importance", index, value: columns[index] }),
        None => Ok(()),
    }
}

fn check_finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::BadValue { what, index, value: values[index] }),
        None => Ok(()),
    }
}
