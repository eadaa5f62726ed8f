//! The metadata of a GGUF file: values by key, in the order of the file.
//!
//! It reads values and hands them out as Rust types; it never decides what a key means.
//! Next room: `value`, for the types.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::cursor::Cursor;
use super::value::{Array, ArrayData, FromValue, Value, ValueType};
use crate::error::{Error, Fault, Place, Result};

/// How deep arrays may lie in arrays.
const MOST_NESTED: usize = 4;

/// Values by key, in the order of the file.
///
/// ```
/// use forebay::formats::gguf::Gguf;
///
/// let mut file = b"GGUF\x03\0\0\0".to_vec();
/// file.extend(0u64.to_le_bytes()); // tensors
/// file.extend(1u64.to_le_bytes()); // metadata entries
/// file.extend(17u64.to_le_bytes());
/// file.extend(b"llama.block_count");
/// file.extend(4u32.to_le_bytes()); // a u32
/// file.extend(22u32.to_le_bytes());
///
/// let gguf = Gguf::parse("model.gguf", &file)?;
/// assert_eq!(gguf.metadata().get::<u64>("llama.block_count")?, 22);
/// assert_eq!(gguf.metadata().find::<u64>("llama.expert_count")?, None);
/// let error = gguf.metadata().get::<&str>("llama.block_count").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"model.gguf: key "llama.block_count" holds the u32 22, a string in UTF-8 is needed"#
/// );
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metadata {
    file: Arc<Path>,
    entries: Vec<Entry>,
    by_key: HashMap<Arc<str>, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Arc<str>,
    value: Value,
    offset: u64,
}

impl Metadata {
    pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Self> {
        let mut entries = Vec::new();
        let mut by_key = HashMap::new();
        for number in 0..count {
            let offset = cursor.offset();
            let place = Place::KeyNumber(number);
            let key = cursor.text(&place)?;
            if key.is_empty() {
                return Err(cursor.fault_at(offset, &place, Fault::Unnamed));
            }
            let place = Place::Key(key.to_owned());
            let key: Arc<str> = key.into();
            if by_key.insert(key.clone(), entries.len()).is_some() {
                return Err(cursor.fault_at(offset, &place, Fault::Duplicate));
            }
            let value_type = read_type(cursor, &place)?;
            let value = read_value(cursor, &place, value_type)?;
            entries.push(Entry { key, value, offset });
        }
        Ok(Self { file: cursor.file().clone(), entries, by_key })
    }

    /// Entries that no GGUF file holds; of entries with one key, the last one counts.
    pub(in crate::formats) fn of_entries(file: Arc<Path>, given: Vec<(String, Value)>) -> Self {
        let mut entries = Vec::with_capacity(given.len());
        let mut by_key = HashMap::with_capacity(given.len());
        for (key, value) in given {
            let key: Arc<str> = key.into();
            by_key.insert(key.clone(), entries.len());
            entries.push(Entry { key, value, offset: 0 });
        }
        Self { file, entries, by_key }
    }

    /// The file as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|entry| (&*entry.key, &entry.value))
    }

    /// The value of a key, if there is one.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.get(*self.by_key.get(key)?).map(|entry| &entry.value)
    }

    /// The value of a key that has to be there.
    ///
    /// # Errors
    /// [`Error::MissingKey`] where there is none, [`Error::KeyValue`] where it is of another type.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        let missing = || Error::MissingKey { file: self.file.clone(), key: key.to_owned() };
        self.find(key)?.ok_or_else(missing)
    }

    /// The value of a key that may be missing.
    ///
    /// # Errors
    /// [`Error::KeyValue`] where the value is of another type.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let other = || Error::KeyValue {
            file: self.file.clone(),
            key: key.to_owned(),
            found: value.describe(),
            wanted: T::WANTED,
        };
        T::from_value(value).map(Some).ok_or_else(other)
    }

    /// Where in the file the entry of a key begins.
    pub(super) fn offset(&self, key: &str) -> Option<u64> {
        self.entries.get(*self.by_key.get(key)?).map(|entry| entry.offset)
    }
}

fn read_type(cursor: &mut Cursor<'_>, place: &Place) -> Result<ValueType> {
    let at = cursor.offset();
    let found = cursor.u32(place)?;
    ValueType::from_number(found).ok_or_else(|| cursor.fault_at(at, place, Fault::ValueType { found }))
}

fn read_value(cursor: &mut Cursor<'_>, place: &Place, value_type: ValueType) -> Result<Value> {
    match value_type.size() {
        Some(size) => {
            let at = cursor.offset();
            let bytes = cursor.take(size, place)?;
            // A scalar of `size` bytes always decodes; the fault only keeps the types honest.
            let fault = || cursor.fault_at(at, place, Fault::Truncated { needed: size, left: 0 });
            Value::scalar(value_type, bytes).ok_or_else(fault)
        }
        None if value_type == ValueType::String => Ok(Value::String(cursor.string(place)?.into())),
        None => Ok(Value::Array(read_array(cursor, place, MOST_NESTED)?)),
    }
}

fn read_array(cursor: &mut Cursor<'_>, place: &Place, depth: usize) -> Result<Array> {
    if depth == 0 {
        return Err(cursor.fault(place, Fault::Nested { most: MOST_NESTED }));
    }
    let element = read_type(cursor, place)?;
    let at = cursor.offset();
    let count = cursor.u64(place)?;
    // Each element takes at least so many bytes, so a count that fits is no more than the file's length.
    let least = element.size().unwrap_or(if element == ValueType::String { 8 } else { 12 });
    let most = cursor.left() / least;
    if count > most {
        let fault = Fault::Count { what: "array elements", found: count, most };
        return Err(cursor.fault_at(at, place, fault));
    }
    let data = match element {
        ValueType::String => {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for _ in 0..count {
                bytes.extend_from_slice(cursor.string(place)?);
                ends.push(bytes.len());
            }
            bytes.shrink_to_fit();
            ArrayData::Strings { bytes, ends }
        }
        ValueType::Array => {
            let mut arrays = Vec::new();
            for _ in 0..count {
                arrays.push(read_array(cursor, place, depth - 1)?);
            }
            ArrayData::Arrays(arrays)
        }
        _ => ArrayData::Scalars(cursor.take(count * least, place)?.into()),
    };
    Ok(Array { element, data })
}
