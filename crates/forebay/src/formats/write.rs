//! Writes files of tensors. Next room: `pending`, by which a file appears whole or not at all.

use std::path::Path;

use forebay_tensor::DType;
use serde_json::{Map, Value, json};

use super::pending::Pending;
use crate::error::{Error, Result};

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// The name.
    pub name: &'a str,
    /// The type: a plain one.
    pub dtype: DType,
    /// The shape, slowest dimension first.
    pub shape: &'a [usize],
    /// The elements, little-endian.
    pub bytes: &'a [u8],
}

/// Writes a safetensors file.
///
/// ```
/// use forebay::formats::{safetensors::Safetensors, write};
/// use forebay_tensor::DType;
///
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-write-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("logits.safetensors");
/// let logits = write::NamedTensor { name: "logits", dtype: DType::F32, shape: &[1, 2], bytes: &[0; 8] };
/// write::safetensors(&path, &[logits])?;
/// let bytes = std::fs::read(&path).unwrap();
/// assert_eq!(Safetensors::parse(&path, &bytes)?.tensor("logits")?.shape(), [1, 2]);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be written, [`Error::Option`] for a type that such files cannot hold, and
/// [`Error::Tensor`] if bytes and shape do not go together.
pub fn safetensors(path: impl AsRef<Path>, tensors: &[NamedTensor<'_>]) -> Result<()> {
    let header = header(tensors)?;
    let mut file = Pending::create(path.as_ref())?;
    file.put(&(header.len() as u64).to_le_bytes())?;
    file.put(header.as_bytes())?;
    tensors.iter().try_for_each(|tensor| file.put(tensor.bytes))?;
    file.finish()
}

/// The header, filled up with spaces so that the data begins at a multiple of eight.
fn header(tensors: &[NamedTensor<'_>]) -> Result<String> {
    let mut entries = Map::new();
    let mut start = 0;
    for tensor in tensors {
        let elements: usize = tensor.shape.iter().product();
        let (given, wanted) = (tensor.bytes.len(), tensor.dtype.row_bytes(elements)?);
        if given != wanted {
            let dtype = tensor.dtype.name();
            return Err(
                forebay_tensor::Error::ByteLength { what: "bytes", dtype, elements, given, wanted }.into()
            );
        }
        let end = start + tensor.bytes.len();
        let entry = json!({ "dtype": dtype_name(tensor.dtype)?, "shape": tensor.shape, "data_offsets": [start, end] });
        entries.insert(tensor.name.to_owned(), entry);
        start = end;
    }
    let mut header = Value::Object(entries).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    Ok(header)
}

pub(crate) fn dtype_name(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F64 => "F64",
        DType::I8 => "I8",
        DType::I16 => "I16",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::U8 => "U8",
        DType::U32 => "U32",
        _ => return Err(Error::Option { name: "dtype", wanted: "a plain type".to_owned() }),
    })
}
