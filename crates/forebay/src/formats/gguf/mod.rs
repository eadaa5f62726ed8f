//! GGUF files, version 2 and 3, little-endian: metadata and the table of tensors.
//!
//! It reads from a byte slice, whatever backs it, and keeps metadata and byte ranges, never the bytes of a
//! weight. A tensor of an unknown type stays in the table as it is and troubles only whoever uses it.
//! Memory that is allocated here is bounded by a small multiple of the file's own length.
//! Next rooms: `value` for metadata, `cursor` for reading, `split` for models in several files.

mod cursor;
mod metadata;
mod split;
mod value;
mod writer;

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

use forebay_tensor::DType;

use crate::error::{Error, Fault, FormatError, Place, Result};
use cursor::Cursor;

pub use metadata::Metadata;
pub use split::{Split, part_paths};
pub use value::{Array, FromValue, Strings, Value, ValueType};
pub use writer::{GgufWriter, Planned};

/// Dimensions that a tensor can have.
const MOST_DIMENSIONS: u64 = 4;
/// The alignment of tensor data where the file names none.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The fewest bytes that the table entry of a tensor takes: name length, dimensions, type, offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;
/// The fewest bytes that a metadata entry takes: key length, one byte of key, type, one byte of value.
const LEAST_ENTRY: u64 = 8 + 1 + 4 + 1;

/// A GGUF file: its metadata and where its tensors lie.
///
/// ```
/// use forebay::formats::gguf::Gguf;
///
/// let mut file = b"GGUF".to_vec();
/// file.extend(3u32.to_le_bytes()); // version
/// file.extend(0u64.to_le_bytes()); // tensors
/// file.extend(1u64.to_le_bytes()); // metadata entries
/// file.extend(20u64.to_le_bytes());
/// file.extend(b"general.architecture");
/// file.extend(8u32.to_le_bytes()); // a string
/// file.extend(5u64.to_le_bytes());
/// file.extend(b"llama");
///
/// let gguf = Gguf::parse("model.gguf", &file)?;
/// assert_eq!(gguf.metadata().get::<&str>("general.architecture")?, "llama");
/// assert!(gguf.tensors().is_empty());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gguf {
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    by_name: HashMap<Arc<str>, usize>,
}

/// A tensor as a GGUF file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    file: Arc<Path>,
    name: Arc<str>,
    kind: u32,
    dtype: Option<DType>,
    shape: Vec<u64>,
    range: Range<u64>,
}

impl Gguf {
    /// Reads the description of the file whose bytes these are; `file` is for messages only.
    ///
    /// # Errors
    /// [`Error::Format`] where the bytes break a rule of the format.
    pub fn parse(file: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(file.as_ref().into(), bytes);
        let version = read_version(&mut cursor)?;
        let tensor_count = read_count(&mut cursor, "tensors", LEAST_TENSOR)?;
        let entry_count = read_count(&mut cursor, "metadata entries", LEAST_ENTRY)?;
        let metadata = Metadata::read(&mut cursor, entry_count)?;
        let alignment = alignment(&metadata, &cursor)?;
        let entries = read_entries(&mut cursor, tensor_count)?;
        let by_name = number(&entries, &cursor)?;
        let tensors = place(entries, &cursor, alignment)?;
        Ok(Self { version, alignment, metadata, tensors, by_name })
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the start of each tensor is a multiple of, counted from the start of the data.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The file as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        self.metadata.file()
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn into_metadata(self) -> Metadata {
        self.metadata
    }

    /// The tensors in the order of the file.
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
            .ok_or_else(|| Error::MissingTensor { file: self.file().clone(), tensor: name.to_owned() })
    }
}

impl Tensor {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the element type as it stands in the file.
    pub fn kind(&self) -> u32 {
        self.kind
    }

    /// The element type.
    ///
    /// # Errors
    /// [`Error::UnknownType`] where the number is not known, so that nothing but the bytes can be had.
    pub fn dtype(&self) -> Result<DType> {
        self.dtype.ok_or_else(|| Error::UnknownType {
            file: self.file.clone(),
            tensor: self.name.to_string(),
            found: format!("number {}", self.kind),
        })
    }

    /// The file that holds the tensor, as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// The shape, slowest dimension first, which is the reverse of the order in the file.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// How many elements there are.
    pub fn elements(&self) -> u64 {
        // Parsing has checked that the product fits.
        self.shape.iter().product()
    }

    /// The bytes of the file that hold the tensor; where its type is not known, all up to the next one.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

/// A table entry before its place in the file is checked.
struct Entry {
    name: Arc<str>,
    kind: u32,
    dtype: Option<DType>,
    shape: Vec<u64>,
    /// Relative to the start of the data.
    offset: u64,
    /// `None` where the type is not known.
    bytes: Option<u64>,
    /// Where in the file the entry stands.
    at: u64,
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let magic = cursor.peek(4);
    if magic != b"GGUF" {
        let wanted = "a GGUF file starts with \"GGUF\"";
        return Err(cursor.fault(&Place::Header, Fault::Magic { found: magic.to_vec(), wanted }));
    }
    cursor.take(4, &Place::Header)?;
    let at = cursor.offset();
    let version = cursor.u32(&Place::Header)?;
    let fault = match version {
        2 | 3 => return Ok(version),
        _ if matches!(version.swap_bytes(), 1..=3) => Fault::BigEndian,
        _ => Fault::Version { found: version },
    };
    Err(cursor.fault_at(at, &Place::Header, fault))
}

/// Reads a count and refuses one that the rest of the file could not hold.
fn read_count(cursor: &mut Cursor<'_>, what: &'static str, least: u64) -> Result<u64> {
    let at = cursor.offset();
    let found = cursor.u64(&Place::Header)?;
    let most = cursor.left() / least;
    if found > most {
        return Err(cursor.fault_at(at, &Place::Header, Fault::Count { what, found, most }));
    }
    Ok(found)
}

fn alignment(metadata: &Metadata, cursor: &Cursor<'_>) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let found = metadata.find::<u64>(KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !found.is_power_of_two() || found >= 1 << 31 {
        let at = metadata.offset(KEY).unwrap_or_default();
        return Err(cursor.fault_at(at, &Place::Key(KEY.to_owned()), Fault::Alignment { found }));
    }
    Ok(found)
}

fn read_entries(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for number in 0..count {
        let at = cursor.offset();
        let place = Place::TensorNumber(number);
        let name = cursor.text(&place)?;
        if name.is_empty() {
            return Err(cursor.fault_at(at, &place, Fault::Unnamed));
        }
        let place = Place::Tensor(name.to_owned());
        let dimensions_at = cursor.offset();
        let dimensions = u64::from(cursor.u32(&place)?);
        if dimensions > MOST_DIMENSIONS {
            let fault = Fault::Count { what: "dimensions", found: dimensions, most: MOST_DIMENSIONS };
            return Err(cursor.fault_at(dimensions_at, &place, fault));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(cursor.u64(&place)?);
        }
        shape.reverse();
        let kind = cursor.u32(&place)?;
        let dtype = DType::from_gguf(kind).ok();
        let bytes = byte_length(dtype, &shape).map_err(|fault| cursor.fault_at(at, &place, fault))?;
        let offset = cursor.u64(&place)?;
        entries.push(Entry { name: name.into(), kind, dtype, shape, offset, bytes, at });
    }
    Ok(entries)
}

/// The bytes that a tensor takes; `None` where the type is not known.
fn byte_length(dtype: Option<DType>, shape: &[u64]) -> Result<Option<u64>, Fault> {
    let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n));
    let overflow = || Fault::Overflow { shape: shape.to_vec() };
    let elements = elements.filter(|n| *n <= i64::MAX as u64).ok_or_else(overflow)?;
    if elements == 0 {
        return Err(Fault::Zero { shape: shape.to_vec() });
    }
    let Some(dtype) = dtype else { return Ok(None) };
    let (block, bytes) = (dtype.block_elements() as u64, dtype.block_bytes() as u64);
    let row = shape.last().copied().unwrap_or(1);
    if row % block != 0 {
        return Err(Fault::PartialBlock { row, block });
    }
    let length = (elements / block).checked_mul(bytes).filter(|n| *n <= i64::MAX as u64);
    length.map(Some).ok_or_else(overflow)
}

/// Numbers the tensors by name.
fn number(entries: &[Entry], cursor: &Cursor<'_>) -> Result<HashMap<Arc<str>, usize>> {
    let mut by_name = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        if by_name.insert(entry.name.clone(), i).is_some() {
            return Err(cursor.fault_at(entry.at, &Place::Tensor(entry.name.to_string()), Fault::Duplicate));
        }
    }
    Ok(by_name)
}

/// Checks where the tensors lie: inside the file, aligned, and none over another.
fn place(entries: Vec<Entry>, cursor: &Cursor<'_>, alignment: u64) -> Result<Vec<Tensor>> {
    let len = cursor.offset() + cursor.left();
    // A file of metadata alone may end before the padding does.
    let start = cursor.offset().next_multiple_of(alignment);
    for entry in &entries {
        let at = |fault| cursor.fault_at(entry.at, &Place::Tensor(entry.name.to_string()), fault);
        if entry.offset % alignment != 0 {
            return Err(at(Fault::Misaligned { offset: entry.offset, align: alignment }));
        }
        let end = start.checked_add(entry.offset).and_then(|n| n.checked_add(entry.bytes.unwrap_or(1)));
        let end = end.unwrap_or(u64::MAX);
        if end > len {
            return Err(at(Fault::PastEnd { end, len }));
        }
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|i| entries[*i].offset);
    let mut ends = vec![0; entries.len()];
    for (position, &i) in order.iter().enumerate() {
        let next = order.get(position + 1).map(|n| &entries[*n]);
        let limit = next.map_or(len, |next| start + next.offset);
        let begin = start + entries[i].offset;
        ends[i] = entries[i].bytes.map_or(limit, |bytes| begin + bytes);
        if let Some(next) = next.filter(|_| ends[i] > limit || begin == limit) {
            let fault = Fault::Overlap { other: entries[i].name.to_string() };
            return Err(cursor.fault_at(next.at, &Place::Tensor(next.name.to_string()), fault));
        }
    }
    let tensors = entries.into_iter().zip(ends).map(|(entry, end)| Tensor {
        range: start + entry.offset..end,
        file: cursor.file().clone(),
        name: entry.name,
        kind: entry.kind,
        dtype: entry.dtype,
        shape: entry.shape,
    });
    Ok(tensors.collect())
}

fn format_error(file: &Arc<Path>, place: &Place, offset: u64, fault: Fault) -> Error {
    FormatError { file: file.clone(), place: place.clone(), offset, fault }.into()
}

#[cfg(test)]
pub(crate) mod builder;
#[cfg(test)]
mod tests;
