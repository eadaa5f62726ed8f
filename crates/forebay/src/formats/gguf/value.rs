//! Metadata values of a GGUF file and how Rust types are taken out of them.
//!
//! Arrays keep the bytes of the file in one piece; elements are decoded when they are asked for.
//! Strings stay bytes until somebody wants text, so that one odd description spoils nothing else.
//! Next room: `metadata`, which gives values their keys.

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Box<[u8]>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub(super) element: ValueType,
    pub(super) data: ArrayData,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ArrayData {
    /// Little-endian, as in the file.
    Scalars(Box<[u8]>),
    /// All strings in one piece, and where each ends.
    Strings {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    Arrays(Vec<Array>),
}

/// An array of strings, borrowed from the metadata.
///
/// ```
/// use forebay::formats::gguf::Strings;
///
/// let none = Strings::default();
/// assert_eq!(none.len(), 0);
/// assert_eq!(none.get(0), None);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

/// A type that can be taken out of a metadata value.
pub trait FromValue<'a>: Sized {
    /// What is needed, in words.
    const WANTED: &'static str;

    /// The value as this type, or `None` where it is of another type or out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl ValueType {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64].get(number as usize).copied()
    }

    /// The bytes of one value; `None` for strings and arrays.
    pub(super) fn size(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// The type as Rust writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl Value {
    /// A string.
    pub(in crate::formats) fn text(text: &str) -> Self {
        Self::String(text.as_bytes().into())
    }

    /// An array of numbers.
    pub(in crate::formats) fn numbers(numbers: &[u32]) -> Self {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self::Array(Array { element: ValueType::U32, data: ArrayData::Scalars(bytes.into()) })
    }

    /// An array of bools.
    pub(in crate::formats) fn flags(flags: &[bool]) -> Self {
        let bytes: Vec<u8> = flags.iter().map(|flag| u8::from(*flag)).collect();
        Self::Array(Array { element: ValueType::Bool, data: ArrayData::Scalars(bytes.into()) })
    }

    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The value in words, short enough for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::U8(n) => format!("the u8 {n}"),
            Self::I8(n) => format!("the i8 {n}"),
            Self::U16(n) => format!("the u16 {n}"),
            Self::I16(n) => format!("the i16 {n}"),
            Self::U32(n) => format!("the u32 {n}"),
            Self::I32(n) => format!("the i32 {n}"),
            Self::F32(n) => format!("the f32 {n}"),
            Self::Bool(b) => format!("the bool {b}"),
            Self::U64(n) => format!("the u64 {n}"),
            Self::I64(n) => format!("the i64 {n}"),
            Self::F64(n) => format!("the f64 {n}"),
            Self::String(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if text.len() <= 40 => format!("the string {text:?}"),
                Ok(_) => format!("a string of {} bytes", bytes.len()),
                Err(_) => "a string that is not UTF-8".to_owned(),
            },
            Self::Array(array) => format!("an array of {} {}", array.len(), array.element.name()),
        }
    }

    /// Decodes a scalar; `None` for strings and arrays and where bytes are missing.
    pub(super) fn scalar(value_type: ValueType, bytes: &[u8]) -> Option<Self> {
        Some(match value_type {
            ValueType::U8 => Self::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U32 => Self::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I32 => Self::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::Bool => Self::Bool(u8::from_le_bytes(bytes.try_into().ok()?) != 0),
            ValueType::U64 => Self::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I64 => Self::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::String | ValueType::Array => return None,
        })
    }

    fn integer(&self) -> Option<i128> {
        Some(match self {
            Self::U8(n) => (*n).into(),
            Self::I8(n) => (*n).into(),
            Self::U16(n) => (*n).into(),
            Self::I16(n) => (*n).into(),
            Self::U32(n) => (*n).into(),
            Self::I32(n) => (*n).into(),
            Self::U64(n) => (*n).into(),
            Self::I64(n) => (*n).into(),
            _ => return None,
        })
    }
}

impl Array {
    /// The type of the elements.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.data {
            ArrayData::Scalars(bytes) => bytes.len() / self.element.size().unwrap_or(1) as usize,
            ArrayData::Strings { ends, .. } => ends.len(),
            ArrayData::Arrays(arrays) => arrays.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, where they are strings.
    pub fn strings(&self) -> Option<Strings<'_>> {
        match &self.data {
            ArrayData::Strings { bytes, ends } => Some(Strings { bytes, ends }),
            _ => None,
        }
    }

    /// The elements, where they are numbers or booleans.
    pub fn scalars(&self) -> Option<impl Iterator<Item = Value> + '_> {
        let ArrayData::Scalars(bytes) = &self.data else { return None };
        let size = self.element.size()? as usize;
        Some(bytes.chunks_exact(size).filter_map(|bytes| Value::scalar(self.element, bytes)))
    }

    /// The elements, where they are arrays themselves.
    pub fn arrays(&self) -> Option<&[Array]> {
        match &self.data {
            ArrayData::Arrays(arrays) => Some(arrays),
            _ => None,
        }
    }
}

impl<'a> Strings<'a> {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of one string.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    /// The strings in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (0..self.ends.len()).map(move |i| self.get(i).unwrap_or_default())
    }
}

macro_rules! integers {
    ($($type:ty, $wanted:literal, $list:literal;)*) => {$(
        impl FromValue<'_> for $type {
            const WANTED: &'static str = $wanted;

            fn from_value(value: &Value) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
        }

        impl FromValue<'_> for Vec<$type> {
            const WANTED: &'static str = $list;

            fn from_value(value: &Value) -> Option<Self> {
                let Value::Array(array) = value else { return None };
                array.scalars()?.map(|n| n.integer()?.try_into().ok()).collect()
            }
        }
    )*};
}

integers! {
    u32, "a whole number from 0 to 2^32-1", "an array of whole numbers from 0 to 2^32-1";
    u64, "a whole number that is not negative", "an array of whole numbers that are not negative";
    i32, "a whole number of 32 bits", "an array of whole numbers of 32 bits";
    i64, "a whole number of 64 bits", "an array of whole numbers of 64 bits";
}

impl FromValue<'_> for bool {
    const WANTED: &'static str = "a bool";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

impl FromValue<'_> for f32 {
    const WANTED: &'static str = "a floating-point number";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(n) => Some(*n),
            Value::F64(n) => Some(*n as f32),
            _ => None,
        }
    }
}

impl FromValue<'_> for Vec<f32> {
    const WANTED: &'static str = "an array of floating-point numbers";

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Array(array) = value else { return None };
        array.scalars()?.map(|n| f32::from_value(&n)).collect()
    }
}

impl FromValue<'_> for Vec<bool> {
    const WANTED: &'static str = "an array of bools";

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Array(array) = value else { return None };
        array.scalars()?.map(|b| bool::from_value(&b)).collect()
    }
}

impl<'a> FromValue<'a> for &'a str {
    const WANTED: &'static str = "a string in UTF-8";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for Strings<'a> {
    const WANTED: &'static str = "an array of strings";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(array) => array.strings(),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a Array {
    const WANTED: &'static str = "an array";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}
