//! Safetensors files: the table of tensors in front of the data.
//!
//! It reads from a byte slice, whatever backs it, and keeps byte ranges, never the bytes of a weight. A tensor
//! of an unknown type stays in the table as it is and troubles only whoever uses it.
//! Next rooms: `header` for the JSON, `shards` for models in several files, then [`mlx`](super::mlx).

mod header;
mod shards;
pub(crate) mod writer;

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

use forebay_tensor::DType;

use crate::error::{Error, Fault, FormatError, Place, Result};
use header::{Header, Row};

pub use shards::{Index, Shards};

/// Dimensions that a tensor can have.
const MOST_DIMENSIONS: usize = 8;
/// Bytes that a header can have.
const MOST_HEADER: u64 = 100_000_000;
/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// A safetensors file: where its tensors lie.
///
/// ```
/// use forebay::formats::safetensors::Safetensors;
///
/// let header = br#"{"norm": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}"#;
/// let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0, 60, 0, 64]].concat();
///
/// let safetensors = Safetensors::parse("model.safetensors", &file)?;
/// let norm = safetensors.tensor("norm")?;
/// assert_eq!(norm.shape(), [2]);
/// assert_eq!(file[norm.range().start as usize..], [0, 60, 0, 64]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Safetensors {
    file: Arc<Path>,
    metadata: Vec<(String, String)>,
    tensors: Vec<Tensor>,
    by_name: HashMap<Arc<str>, usize>,
}

/// A tensor as a safetensors file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    file: Arc<Path>,
    name: Arc<str>,
    kind: Box<str>,
    shape: Vec<u64>,
    range: Range<u64>,
}

impl Safetensors {
    /// Reads the description of the file whose bytes these are; `file` is for messages only.
    ///
    /// # Errors
    /// [`Error::Format`] where the bytes break a rule of the format.
    pub fn parse(file: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let file: Arc<Path> = file.as_ref().into();
        let fault = |offset, fault| format_error(&file, Place::Header, offset, fault);
        let left = bytes.len().saturating_sub(LENGTH) as u64;
        let Some(length) = bytes.first_chunk::<LENGTH>() else {
            let left = bytes.len() as u64;
            return Err(fault(0, Fault::Truncated { needed: LENGTH as u64, left }));
        };
        let length = u64::from_le_bytes(*length);
        let json = &bytes[LENGTH..];
        if json.first().is_some_and(|first| *first != b'{') {
            let found = bytes[..bytes.len().min(16)].to_vec();
            let wanted = "a safetensors file has a length and then \"{\"";
            return Err(fault(0, Fault::Magic { found, wanted }));
        }
        if length > left || length > MOST_HEADER {
            let most = left.min(MOST_HEADER);
            return Err(fault(0, Fault::Count { what: "bytes of header", found: length, most }));
        }
        let (json, data) = json.split_at(length as usize);
        let start = (bytes.len() - data.len()) as u64;
        let header: Header = serde_json::from_slice(json)
            .map_err(|error| fault(LENGTH as u64, Fault::Json { detail: error.to_string() }))?;
        let mut tensors = Vec::with_capacity(header.rows.len());
        let mut by_name = HashMap::with_capacity(header.rows.len());
        for (name, row) in header.rows {
            let name: Arc<str> = name.into();
            let place = || Place::Tensor(name.to_string());
            if name.is_empty() {
                return Err(fault(LENGTH as u64, Fault::Unnamed));
            }
            if by_name.insert(name.clone(), tensors.len()).is_some() {
                return Err(format_error(&file, place(), LENGTH as u64, Fault::Duplicate));
            }
            let range = range(&row, data.len() as u64).map_err(|(offset, fault)| {
                format_error(&file, place(), start.saturating_add(offset), fault)
            })?;
            let range = start + range.start..start + range.end;
            let Row { dtype, shape, .. } = row;
            tensors.push(Tensor { file: file.clone(), name, kind: dtype.into(), shape, range });
        }
        no_overlap(&file, &tensors)?;
        Ok(Self { file, metadata: header.metadata, tensors, by_name })
    }

    /// The file as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// What the file says about itself, in its order.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// The tensors in the order of the header.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(*self.by_name.get(name)?)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] where there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.find(name)
            .ok_or_else(|| Error::MissingTensor { file: self.file.clone(), tensor: name.to_owned() })
    }
}

impl Tensor {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element type as the file has it.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The element type.
    ///
    /// # Errors
    /// [`Error::UnknownType`] where nothing but the bytes can be had.
    pub fn dtype(&self) -> Result<DType> {
        let dtype = match &*self.kind {
            "F64" => DType::F64,
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "I64" => DType::I64,
            "I32" => DType::I32,
            "I16" => DType::I16,
            "I8" => DType::I8,
            "U32" => DType::U32,
            "U8" => DType::U8,
            found => {
                let (file, tensor) = (self.file.clone(), self.name.to_string());
                return Err(Error::UnknownType { file, tensor, found: format!("{found:?}") });
            }
        };
        Ok(dtype)
    }

    /// The file that holds the tensor, as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// The shape, slowest dimension first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// How many elements there are.
    pub fn elements(&self) -> u64 {
        // Parsing has checked that the product fits.
        self.shape.iter().product()
    }

    /// The bytes of the file that hold the tensor.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

/// Bytes of an element of a type whose size is known.
fn element_bytes(kind: &str) -> Option<u64> {
    match kind {
        "F64" | "I64" | "U64" | "C64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Some(1),
        _ => None,
    }
}

/// The range of a tensor in the data, or what is wrong with it and at which byte of the data.
fn range(row: &Row, len: u64) -> Result<Range<u64>, (u64, Fault)> {
    let [start, end] = row.data_offsets;
    let shape = &row.shape;
    if shape.len() > MOST_DIMENSIONS {
        let (found, most) = (shape.len() as u64, MOST_DIMENSIONS as u64);
        return Err((start, Fault::Count { what: "dimensions", found, most }));
    }
    let product = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n));
    let overflow = || (start, Fault::Overflow { shape: shape.clone() });
    let elements = product.filter(|n| *n <= i64::MAX as u64).ok_or_else(overflow)?;
    if elements == 0 {
        return Err((start, Fault::Zero { shape: shape.clone() }));
    }
    if end > len {
        return Err((start, Fault::PastEnd { end, len }));
    }
    let found = end.saturating_sub(start);
    let wanted = match element_bytes(&row.dtype) {
        Some(bytes) => elements.checked_mul(bytes).ok_or_else(overflow)?,
        None => found.max(1),
    };
    if found != wanted {
        return Err((start, Fault::RangeLength { found, wanted }));
    }
    Ok(start..end)
}

fn no_overlap(file: &Arc<Path>, tensors: &[Tensor]) -> Result<()> {
    let mut order: Vec<&Tensor> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.range.start);
    for pair in order.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            let fault = Fault::Overlap { other: pair[0].name.to_string() };
            let place = Place::Tensor(pair[1].name.to_string());
            return Err(format_error(file, place, pair[1].range.start, fault));
        }
    }
    Ok(())
}

fn format_error(file: &Arc<Path>, place: Place, offset: u64, fault: Fault) -> Error {
    FormatError { file: file.clone(), place, offset, fault }.into()
}

#[cfg(test)]
mod tests;
