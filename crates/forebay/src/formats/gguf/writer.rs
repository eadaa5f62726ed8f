//! Writes GGUF files, tensor by tensor: a file of any size takes no more memory than the largest piece handed in.
//!
//! The list of tensors is given before the first byte of them, since their places follow from types and shapes. Next room:
//! `formats::pending`, by which a file appears whole or not at all.

use std::path::Path;

use forebay_tensor::DType;

use super::value::{Array, ArrayData, Value, ValueType};
use crate::{
    error::{Error, Result},
    formats::pending::Pending,
};

/// What tensors and their data are aligned to.
const ALIGNMENT: u64 = 32;

/// A tensor that a file will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The name.
    pub name: String,
    /// The type.
    pub dtype: DType,
    /// The shape, slowest dimension first.
    pub shape: Vec<usize>,
}

/// A GGUF file that is being written.
///
/// ```
/// use forebay::formats::gguf::{Gguf, GgufWriter, Planned, Value};
/// use forebay_tensor::DType;
///
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-gguf-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("tiny.gguf");
/// let tensor = Planned { name: "numbers".to_owned(), dtype: DType::F32, shape: vec![2, 1] };
/// let mut writer = GgufWriter::create(&path, [("general.name", &Value::from("tiny"))], &[tensor])?;
/// writer.bytes(&[0; 4])?;
/// writer.bytes(&[0; 4])?;
/// writer.finish()?;
/// let bytes = std::fs::read(&path).unwrap();
/// assert_eq!(Gguf::parse(&path, &bytes)?.metadata().get::<&str>("general.name")?, "tiny");
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Debug)]
pub struct GgufWriter {
    out: Pending,
    /// What each tensor takes, and how much of the current one was written.
    sizes: Vec<u64>,
    current: usize,
    written: u64,
}

impl GgufWriter {
    /// Begins a file: its metadata, and all tensors it will hold. Their bytes follow in this order.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written; [`Error::Option`] for a type that such files cannot hold, and
    /// [`Error::Tensor`] for a shape that the type cannot have.
    pub fn create<'a>(
        path: impl AsRef<Path>,
        metadata: impl IntoIterator<Item = (&'a str, &'a Value)>,
        tensors: &[Planned],
    ) -> Result<Self> {
        let (header, sizes) = header(metadata, tensors)?;
        let mut out = Pending::create(path.as_ref())?;
        out.put(&header)?;
        Ok(Self { out, sizes, current: 0, written: 0 })
    }

    /// The next bytes of the tensor that is being written; when it is whole, those of the next one.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written, [`Error::Option`] if they reach past the end of the tensor.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let left = self.sizes.get(self.current).map_or(0, |size| size - self.written);
        if bytes.len() as u64 > left {
            return Err(Error::Option {
                name: "bytes",
                wanted: format!("at most the {left} that tensor number {} still lacks", self.current),
            });
        }
        self.out.put(bytes)?;
        self.written += bytes.len() as u64;
        if bytes.len() as u64 == left {
            // The next one begins at a multiple.
            let gap = self.written.next_multiple_of(ALIGNMENT) - self.written;
            self.out.put(&[0; ALIGNMENT as usize][..gap as usize])?;
            (self.current, self.written) = (self.current + 1, 0);
        }
        Ok(())
    }

    /// Ends the file and puts it at its place.
    ///
    /// # Errors
    /// [`Error::Option`] if bytes are missing, [`Error::Io`] if it cannot be written or moved.
    pub fn finish(self) -> Result<()> {
        if self.current < self.sizes.len() {
            let wanted = format!("all of them; tensor number {} is not whole", self.current);
            return Err(Error::Option { name: "bytes", wanted });
        }
        self.out.finish()
    }
}

/// The bytes before the first tensor's, and what each tensor takes.
fn header<'a>(
    metadata: impl IntoIterator<Item = (&'a str, &'a Value)>,
    tensors: &[Planned],
) -> Result<(Vec<u8>, Vec<u64>)> {
    let (mut entries, mut count) = (Vec::new(), 0u64);
    for (key, value) in metadata {
        string(&mut entries, key.as_bytes());
        entries.extend((value.value_type() as u32).to_le_bytes());
        put_value(&mut entries, value);
        count += 1;
    }
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(entries);
    let (mut sizes, mut at) = (Vec::new(), 0u64);
    for Planned { name, dtype, shape } in tensors {
        let cannot = || Error::Option { name: "dtype", wanted: "a type that GGUF files know".to_owned() };
        let number = dtype.gguf().ok_or_else(cannot)?;
        let (&width, rows) = shape.split_last().unwrap_or((&1, &[]));
        let rows = rows.iter().try_fold(1u64, |rows, &size| rows.checked_mul(size as u64));
        let bytes = rows.and_then(|rows| rows.checked_mul(dtype.row_bytes(width).ok()? as u64));
        let too_large = || Error::Option { name: "shape", wanted: format!("one that {name} can have") };
        string(&mut out, name.as_bytes());
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
        out.extend(number.to_le_bytes());
        out.extend(at.to_le_bytes());
        let bytes = bytes.filter(|&bytes| bytes > 0).ok_or_else(too_large)?;
        sizes.push(bytes);
        at += bytes.next_multiple_of(ALIGNMENT);
    }
    if !tensors.is_empty() {
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    }
    Ok((out, sizes))
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(n) => out.push(*n),
        Value::I8(n) => out.extend(n.to_le_bytes()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::F32(n) => out.extend(n.to_le_bytes()),
        Value::Bool(b) => out.push((*b).into()),
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::F64(n) => out.extend(n.to_le_bytes()),
        Value::String(bytes) => string(out, bytes),
        Value::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend((array.element() as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match &array.data {
        ArrayData::Scalars(bytes) => out.extend(&**bytes),
        ArrayData::Arrays(arrays) => arrays.iter().for_each(|array| put_array(out, array)),
        ArrayData::Strings { .. } => {
            array.strings().unwrap_or_default().iter().for_each(|text| string(out, text));
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.as_bytes().into())
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Array {
    /// An array of strings.
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for text in texts {
            bytes.extend_from_slice(text.as_ref());
            ends.push(bytes.len());
        }
        Self { element: ValueType::String, data: ArrayData::Strings { bytes, ends } }
    }
}

impl Array {
    /// An array of f32, given by its bytes.
    pub(in crate::formats) fn floats(bytes: Vec<u8>) -> Self {
        Self { element: ValueType::F32, data: ArrayData::Scalars(bytes.into()) }
    }
}

impl From<&[i32]> for Array {
    fn from(numbers: &[i32]) -> Self {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Self { element: ValueType::I32, data: ArrayData::Scalars(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::formats::gguf::{Gguf, builder::Builder};

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("forebay-gguf-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn planned(name: &str, dtype: DType, shape: &[usize]) -> Planned {
        Planned { name: name.to_owned(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn what_is_written_reads_back_with_every_type_of_value() {
        let dir = folder("back");
        let source = Builder::new()
            .text("a.text", "été")
            .u32("a.number", 7)
            .bool("a.flag", true)
            .texts("a.texts", &["one", "", "three"])
            .f32s("a.floats", &[0.5, -1.0])
            .raw(b"a.long", 10, &u64::MAX.to_le_bytes())
            .array("a.nested", 9, 1, &[&5u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[9, 0, 0, 0]].concat())
            .bytes();
        let source = Gguf::parse("source", &source).unwrap();
        let tensors = vec![planned("odd", DType::F32, &[3]), planned("q", DType::Q4_0, &[3, 32])];
        let path = dir.join("back.gguf");
        let mut writer = GgufWriter::create(&path, source.metadata().iter(), &tensors).unwrap();
        for byte in 0..12 + 3 * 18u8 {
            writer.bytes(&[byte]).unwrap();
        }
        writer.finish().unwrap();

        let bytes = fs::read(&path).unwrap();
        let back = Gguf::parse(&path, &bytes).unwrap();
        let same = back.metadata().iter().zip(source.metadata().iter()).all(|(a, b)| a == b);
        assert!(same && back.metadata().iter().len() == 7);
        let places: Vec<_> =
            back.tensors().iter().map(|t| (t.name(), t.shape().to_vec(), t.range())).collect();
        let [odd, q] = &places[..] else { panic!("{places:?}") };
        assert_eq!((odd.0, &odd.1[..], q.0, &q.1[..]), ("odd", &[3][..], "q", &[3, 32][..]));
        let of = |range: &std::ops::Range<u64>| &bytes[range.start as usize..range.end as usize];
        assert_eq!(of(&odd.2), (0..12).collect::<Vec<u8>>());
        assert_eq!(of(&q.2), (12..66).collect::<Vec<u8>>());
        assert!(q.2.start.is_multiple_of(ALIGNMENT));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_that_is_not_whole_leaves_nothing_behind() {
        let dir = folder("half");
        let path = dir.join("half.gguf");
        let tensors = || vec![planned("t", DType::F32, &[2])];
        let create = || GgufWriter::create(&path, [], &tensors()).unwrap();
        let mut writer = create();
        writer.bytes(&[0; 5]).unwrap();
        assert!(writer.bytes(&[0; 4]).unwrap_err().to_string().contains("at most the 3"));
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("tensor number 0 is not whole"), "{error}");
        drop(create());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_no_such_file_can_hold_is_refused() {
        let dir = folder("refused");
        let tensors = vec![planned("t", DType::Q4_0, &[2, 33])];
        let path = dir.join("refused.gguf");
        assert!(GgufWriter::create(&path, [], &tensors).is_err());
        for shape in [&[usize::MAX, usize::MAX][..], &[0, 4]] {
            assert!(GgufWriter::create(&path, [], &[planned("t", DType::F32, shape)]).is_err());
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
