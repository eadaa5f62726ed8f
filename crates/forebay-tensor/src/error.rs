//! What can go wrong in this crate, one enum: each variant names the culprit and carries its values.
//!
//! Errors are plain values that can be cloned and compared. Nothing here is ever a panic. Types appear by
//! their names, so that this file stands below `dtype`.

use std::fmt;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the values that show why.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// No element or block type has this name.
    UnknownType {
        /// The name asked for.
        name: String,
    },
    /// No GGUF tensor type has this number.
    UnknownGgufType {
        /// The number in the file.
        number: u32,
    },
    /// MLX packs 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128.
    UnknownAffine {
        /// Bits of one code.
        bits: u32,
        /// Elements of one group.
        group: u32,
    },
    /// A row is no whole number of blocks: use a type whose block divides it.
    PartialBlock {
        /// Name of the type.
        dtype: &'static str,
        /// Elements of the row.
        elements: usize,
        /// Elements of one block.
        block: usize,
    },
    /// Bytes do not hold the elements that they are said to hold.
    ByteLength {
        /// Which argument.
        what: &'static str,
        /// Name of the type.
        dtype: &'static str,
        /// Elements that were asked for.
        elements: usize,
        /// Bytes given.
        given: usize,
        /// Bytes that these elements take.
        wanted: usize,
    },
    /// A slice has another number of elements than the ones beside it.
    ElementCount {
        /// Which argument.
        what: &'static str,
        /// Elements given.
        given: usize,
        /// Elements wanted.
        wanted: usize,
    },
    /// A size does not fit the address space.
    TooLarge {
        /// Name of the type.
        dtype: &'static str,
        /// Elements asked for.
        elements: usize,
    },
    /// This type holds no weights in one plane of bytes: pick one that `quant::formats()` lists.
    NoFormat {
        /// Name of the type.
        dtype: &'static str,
    },
    /// Only types of MLX are spread over planes: use `quant::decode` for this one.
    NoPlanes {
        /// Name of the type.
        dtype: &'static str,
    },
    /// Scales of this type do not go with these codes.
    ScaleType {
        /// Name of the type of the codes.
        dtype: &'static str,
        /// Name of the type of the scales.
        scale_type: &'static str,
    },
    /// Rows are rounded at every step to few types only: use Q8_0, Q8_1, Q8_K, Q4_0 or a float.
    NoRounding {
        /// Name of the type.
        dtype: &'static str,
    },
    /// A number that cannot be encoded or weighed with: not finite, or a negative weight.
    BadValue {
        /// Which argument.
        what: &'static str,
        /// Index of the element.
        index: usize,
        /// The element.
        value: f32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType { name } => write!(f, "no element type is called {name:?}"),
            Self::UnknownGgufType { number } => write!(f, "no GGUF tensor type has the number {number}"),
            Self::UnknownAffine { bits, group } => write!(
                f,
                "no MLX affine type has {bits} bits in groups of {group}; there are 2, 3, 4, 5, 6 and 8 bits \
                 in groups of 32, 64 and 128"
            ),
            Self::PartialBlock { dtype, elements, block } => {
                write!(f, "a row of {elements} elements is no whole number of {dtype} blocks of {block}")
            }
            Self::ByteLength { what, dtype, elements, given, wanted } => {
                write!(f, "{what} has {given} bytes, but {elements} elements of type {dtype} take {wanted}")
            }
            Self::ElementCount { what, given, wanted } => {
                write!(f, "{what} has {given} elements, {wanted} wanted")
            }
            Self::TooLarge { dtype, elements } => {
                write!(f, "{elements} elements of type {dtype} do not fit the address space")
            }
            Self::NoFormat { dtype } => write!(f, "{dtype} holds no weights in one plane of bytes"),
            Self::NoPlanes { dtype } => write!(f, "{dtype} keeps all of a block in one plane of bytes"),
            Self::ScaleType { dtype, scale_type } => write!(
                f,
                "{dtype} cannot have scales of type {scale_type}; affine types have f32, f16 or bf16, \
                 float types u8"
            ),
            Self::NoRounding { dtype } => {
                write!(f, "rows are not rounded to {dtype}, only to q8_0, q8_1, q8_k, q4_0 and floats")
            }
            Self::BadValue { what, index, value } => {
                write!(f, "{what}[{index}] is {value}, which cannot be encoded or weighed with")
            }
        }
    }
}

impl std::error::Error for Error {}
