//! The formats of MLX, whose blocks are spread over planes: packed codes, scales and, for affine types,
//! biases.
//!
//! ```text
//! codes    code i is bits b*i to b*i + b - 1 of a little-endian stream, b the bits of the type
//! scales   one a group, in order: floats of 16 or 32 bits (affine) or single bytes (floats)
//! biases   one a group, as the scales (affine only)
//! ```
//! Planes are bytes as a file has them, so that a mapped file can be read where it lies. What codes and
//! scales mean is in [`affine`](self) and `float`; encoding gives the very codes, scales and biases that MLX
//! gives.

mod affine;
mod float;

use std::fmt;

use crate::{DType, Error, Result};

/// The planes of some rows, to read.
///
/// ```
/// use forebay_tensor::{DType, quant::mlx};
///
/// let dtype: DType = "mlx_4g32".parse()?;
/// let planes = mlx::Planes {
///     codes: &[0x21; 16],
///     scales: &0.5f32.to_le_bytes(),
///     biases: &(-1.0f32).to_le_bytes(),
///     scale_type: DType::F32,
/// };
/// let mut out = [0.0; 32];
/// mlx::decode(dtype, &planes, &mut out)?;
/// assert_eq!(out[..2], [-0.5, 0.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Planes<'a> {
    /// The packed codes.
    pub codes: &'a [u8],
    /// The scales.
    pub scales: &'a [u8],
    /// The biases; empty for float types.
    pub biases: &'a [u8],
    /// Type of scales and biases: F32, F16 or BF16 for affine types, U8 for float types.
    pub scale_type: DType,
}

/// The planes of some rows, to write.
///
/// ```
/// use forebay_tensor::{DType, quant::mlx};
///
/// let dtype: DType = "mlx_8g64".parse()?;
/// let sizes = mlx::plane_bytes(dtype, DType::BF16, 128)?;
/// let (mut codes, mut scales, mut biases) =
///     (vec![0; sizes.codes], vec![0; sizes.scales], vec![0; sizes.biases]);
/// let planes = mlx::PlanesMut {
///     codes: &mut codes,
///     scales: &mut scales,
///     biases: &mut biases,
///     scale_type: DType::BF16,
/// };
/// mlx::encode(dtype, &[0.25; 128], planes)?;
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
pub struct PlanesMut<'a> {
    /// The packed codes.
    pub codes: &'a mut [u8],
    /// The scales.
    pub scales: &'a mut [u8],
    /// The biases; empty for float types.
    pub biases: &'a mut [u8],
    /// Type of scales and biases: F32, F16 or BF16 for affine types, U8 for float types.
    pub scale_type: DType,
}

/// Shows how long planes are, and never what is in them.
macro_rules! show_lengths {
    ($($planes:ident),*) => {
        $(impl fmt::Debug for $planes<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($planes))
                    .field("codes", &self.codes.len())
                    .field("scales", &self.scales.len())
                    .field("biases", &self.biases.len())
                    .field("scale_type", &self.scale_type)
                    .finish()
            }
        })*
    };
}

show_lengths!(Planes, PlanesMut);

/// How many bytes each plane has.
///
/// ```
/// use forebay_tensor::{DType, quant::mlx};
///
/// let sizes = mlx::plane_bytes(DType::MlxNvfp4, DType::U8, 64)?;
/// assert_eq!((sizes.codes, sizes.scales, sizes.biases), (32, 4, 0));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneBytes {
    /// Of the packed codes.
    pub codes: usize,
    /// Of the scales.
    pub scales: usize,
    /// Of the biases.
    pub biases: usize,
}

/// Bytes of the planes of `elements` elements.
///
/// # Errors
/// [`Error::NoPlanes`] for a type that is none of MLX's, [`Error::ScaleType`] for scales of a type that it
/// cannot have, [`Error::PartialBlock`] if the last group is not full.
pub fn plane_bytes(dtype: DType, scale_type: DType, elements: usize) -> Result<PlaneBytes> {
    let has_bias = match dtype {
        DType::Affine(_) => true,
        DType::MlxMxfp4 | DType::MlxMxfp8 | DType::MlxNvfp4 => false,
        _ => return Err(Error::NoPlanes { dtype: dtype.name() }),
    };
    match scale_type {
        DType::F32 | DType::F16 | DType::BF16 if has_bias => {}
        DType::U8 if !has_bias => {}
        _ => return Err(Error::ScaleType { dtype: dtype.name(), scale_type: scale_type.name() }),
    }
    let codes = dtype.row_bytes(elements)?;
    let scales = elements / dtype.block_elements() * scale_type.block_bytes();
    Ok(PlaneBytes { codes, scales, biases: if has_bias { scales } else { 0 } })
}

/// Decodes whole groups; `out` says how many elements.
///
/// # Errors
/// Those of [`plane_bytes`], and [`Error::ByteLength`] for a plane of another length.
pub fn decode(dtype: DType, planes: &Planes<'_>, out: &mut [f32]) -> Result<()> {
    let Planes { codes, scales, biases, scale_type } = *planes;
    check(dtype, scale_type, out.len(), [codes.len(), scales.len(), biases.len()])?;
    match dtype {
        DType::Affine(affine) => affine::decode(affine, planes, out),
        DType::MlxMxfp4 => float::decode_mxfp4(planes, out),
        DType::MlxMxfp8 => float::decode_mxfp8(planes, out),
        _ => float::decode_nvfp4(planes, out),
    }
    Ok(())
}

/// Encodes whole groups as MLX does.
///
/// # Errors
/// Those of [`decode`], and [`Error::BadValue`] for an element that is not finite.
pub fn encode(dtype: DType, src: &[f32], planes: PlanesMut<'_>) -> Result<()> {
    let lengths = [planes.codes.len(), planes.scales.len(), planes.biases.len()];
    check(dtype, planes.scale_type, src.len(), lengths)?;
    super::check_finite("src", src)?;
    match dtype {
        DType::Affine(affine) => affine::encode(affine, src, planes),
        DType::MlxMxfp4 => float::encode_mxfp4(src, planes),
        DType::MlxMxfp8 => float::encode_mxfp8(src, planes),
        _ => float::encode_nvfp4(src, planes),
    }
    Ok(())
}

/// Whether planes hold so many elements.
pub(crate) fn check_planes(dtype: DType, planes: &Planes<'_>, elements: usize) -> Result<()> {
    check(dtype, planes.scale_type, elements, [planes.codes.len(), planes.scales.len(), planes.biases.len()])
}

fn check(dtype: DType, scale_type: DType, elements: usize, given: [usize; 3]) -> Result<()> {
    let wanted = plane_bytes(dtype, scale_type, elements)?;
    let wanted = [wanted.codes, wanted.scales, wanted.biases];
    let names = ["planes.codes", "planes.scales", "planes.biases"];
    for ((what, given), wanted) in names.into_iter().zip(given).zip(wanted) {
        if given != wanted {
            return Err(Error::ByteLength { what, dtype: dtype.name(), elements, given, wanted });
        }
    }
    Ok(())
}
