//! What is wrong with a file, a set of files, a vocabulary or a template: the details that errors carry, and their words.
//!
//! Each fault is followed by what it says. Which file it is about stands in the error around it.

use std::{fmt, path::Path, sync::Arc};

/// A broken rule of a file format, with the place where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// The file.
    pub file: Arc<Path>,
    /// The part of the file.
    pub place: Place,
    /// Byte offset in the file.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, offset, fault } = self;
        write!(f, "{}: {place}, byte {offset}: {fault}", file.display())
    }
}

impl std::error::Error for FormatError {}

/// A part of a model file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The fixed part at the front.
    Header,
    /// The metadata entry of this name.
    Key(String),
    /// The metadata entry at this position, before its name is known.
    KeyNumber(u64),
    /// The tensor of this name.
    Tensor(String),
    /// The tensor at this position, before its name is known.
    TensorNumber(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Key(key) => write!(f, "key {key:?}"),
            Self::KeyNumber(number) => write!(f, "key number {number}"),
            Self::Tensor(name) => write!(f, "tensor {name:?}"),
            Self::TensorNumber(number) => write!(f, "tensor number {number}"),
        }
    }
}

/// What is wrong with a part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The file ends too early.
    Truncated {
        /// Bytes that are needed from here.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// The first bytes are those of another format.
    Magic {
        /// The bytes.
        found: Vec<u8>,
        /// The format and how its files start.
        wanted: &'static str,
    },
    /// The file was written for machines of the other byte order.
    BigEndian,
    /// A version of the format that is not known.
    Version {
        /// The version.
        found: u32,
    },
    /// A number that no file of this size can hold.
    Count {
        /// What is counted.
        what: &'static str,
        /// How many the file claims.
        found: u64,
        /// How many there can be.
        most: u64,
    },
    /// The name was used before.
    Duplicate,
    /// The name is empty.
    Unnamed,
    /// The text is not UTF-8.
    NotUtf8,
    /// A type number that is not known.
    ValueType {
        /// The number.
        found: u32,
    },
    /// Arrays inside arrays, too deep.
    Nested {
        /// How deep they may be.
        most: usize,
    },
    /// The alignment is no power of two.
    Alignment {
        /// What the file says.
        found: u64,
    },
    /// The offset does not suit the alignment.
    Misaligned {
        /// The offset in the data section.
        offset: u64,
        /// What it has to be a multiple of.
        align: u64,
    },
    /// The tensor has no element.
    Zero {
        /// Its shape, slowest dimension first.
        shape: Vec<u64>,
    },
    /// The tensor has more elements or bytes than can be counted.
    Overflow {
        /// Its shape, slowest dimension first.
        shape: Vec<u64>,
    },
    /// A row is no whole number of blocks.
    PartialBlock {
        /// Elements of a row.
        row: u64,
        /// Elements of a block.
        block: u64,
    },
    /// The bytes reach past the end of the file.
    PastEnd {
        /// One past the last byte.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// The bytes belong to another tensor as well.
    Overlap {
        /// The other tensor.
        other: String,
    },
    /// The range runs backwards or its length is not that of the shape.
    RangeLength {
        /// Bytes in the range.
        found: u64,
        /// Bytes of a tensor of this shape and type.
        wanted: u64,
    },
    /// Codes, scales and biases of a packed weight do not fit together.
    Plane {
        /// What there is.
        found: String,
        /// What there has to be.
        wanted: String,
    },
    /// JSON that cannot be read or lacks something.
    Json {
        /// What is wrong.
        detail: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, left } => {
                write!(f, "needs {needed} more bytes, the file has {left}; it may not be fully downloaded")
            }
            Self::Magic { found, wanted } => {
                write!(f, "starts with {:?}, {wanted}", String::from_utf8_lossy(found))
            }
            Self::BigEndian => f.write_str("is in big-endian byte order; convert it to little-endian"),
            Self::Version { found } => write!(f, "has version {found}; versions 2 and 3 can be read"),
            Self::Count { what, found, most } => {
                write!(f, "claims {found} {what}, at most {most} can be there")
            }
            Self::Duplicate => f.write_str("the name was used before"),
            Self::Unnamed => f.write_str("the name is empty"),
            Self::NotUtf8 => f.write_str("the name is not UTF-8"),
            Self::ValueType { found } => write!(f, "has value type {found}, which is not known"),
            Self::Nested { most } => write!(f, "nests arrays more than {most} deep"),
            Self::Alignment { found } => write!(f, "alignment {found} is no power of two below 2^31"),
            Self::Misaligned { offset, align } => {
                write!(f, "data offset {offset} is no multiple of the alignment {align}")
            }
            Self::Zero { shape } => write!(f, "shape {shape:?} has no element"),
            Self::Overflow { shape } => write!(f, "shape {shape:?} is larger than can be counted"),
            Self::PartialBlock { row, block } => {
                write!(f, "rows of {row} elements are no whole blocks of {block}")
            }
            Self::PastEnd { end, len } => {
                write!(f, "ends at byte {end}, the file at byte {len}; it may not be fully downloaded")
            }
            Self::Overlap { other } => write!(f, "overlaps tensor {other:?}"),
            Self::RangeLength { found, wanted } => {
                write!(f, "has {found} bytes where its type and shape need {wanted}")
            }
            Self::Plane { found, wanted } => write!(f, "has {found} where it needs {wanted}"),
            Self::Json { detail } => f.write_str(detail),
        }
    }
}

/// Why the files of one model do not belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetFault {
    /// A file that the set names is not there.
    Missing {
        /// The file that names it.
        named_by: Arc<Path>,
    },
    /// The name does not say which part of the set it is.
    Name {
        /// How it has to look.
        wanted: String,
    },
    /// Another number of parts, or another part, than expected.
    Part {
        /// What the file says it is.
        found: String,
        /// What it has to be.
        wanted: String,
    },
    /// A tensor that another file holds as well.
    Duplicate {
        /// The tensor.
        tensor: String,
        /// The other file.
        other: Arc<Path>,
    },
    /// The index names a tensor that the file does not hold.
    Lacks {
        /// The tensor.
        tensor: String,
    },
    /// The set holds another number of tensors than it says.
    Tensors {
        /// Tensors there are.
        found: u64,
        /// Tensors it names.
        wanted: u64,
    },
}

impl fmt::Display for SetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { named_by } => {
                write!(f, "is missing, {} names it; fetch every part into one folder", named_by.display())
            }
            Self::Name { wanted } => write!(f, "is one part of several; its name has to look like {wanted}"),
            Self::Part { found, wanted } => write!(f, "says it is {found}, {wanted} is needed here"),
            Self::Duplicate { tensor, other } => {
                write!(f, "holds tensor {tensor:?}, which {} holds as well", other.display())
            }
            Self::Lacks { tensor } => write!(f, "lacks tensor {tensor:?}, which the index says it holds"),
            Self::Tensors { found, wanted } => write!(f, "the set holds {found} tensors and names {wanted}"),
        }
    }
}

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabularyFault {
    /// A kind of tokenizer that is not known.
    Model {
        /// Its name in the file.
        found: String,
        /// The known ones.
        known: &'static str,
    },
    /// A way to cut text into words that is not known.
    PreTokenizer {
        /// Its name in the file.
        found: String,
        /// The known ones.
        known: String,
    },
    /// A list does not have an entry for each token.
    Length {
        /// The list.
        list: &'static str,
        /// Its entries.
        found: usize,
        /// Tokens there are.
        wanted: usize,
    },
    /// There are no tokens, or more than ids.
    Size {
        /// Tokens there are.
        found: usize,
    },
    /// There are tokens without a row in the model's embedding: vocabulary and model do not belong together.
    Rows {
        /// The first such token.
        token: u32,
        /// Rows there are.
        rows: usize,
    },
    /// A special token that the tokenizer needs is not named.
    NoSpecial {
        /// Which.
        name: &'static str,
    },
    /// The tokenizer file cannot be read.
    Json {
        /// What is wrong.
        detail: String,
    },
}

impl fmt::Display for VocabularyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { found, known } => write!(f, "kind {found:?} is not known; known are {known}"),
            Self::PreTokenizer { found, known } => {
                write!(f, "pre-tokenizer {found:?} is not known; known are {known}")
            }
            Self::Length { list, found, wanted } => {
                write!(f, "{list} has {found} entries for {wanted} tokens")
            }
            Self::Size { found } => write!(f, "{found} tokens are no vocabulary"),
            Self::Rows { token, rows } => {
                write!(
                    f,
                    "token {token} has no row in the model, which has {rows}; they do not belong together"
                )
            }
            Self::NoSpecial { name } => write!(f, "needs a {name} token and names none"),
            Self::Json { detail } => f.write_str(detail),
        }
    }
}

/// Why a chat template gives no prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateFault {
    /// It cannot be read.
    Syntax {
        /// What is wrong with it.
        detail: String,
    },
    /// It is longer than any template has to be.
    TooLong {
        /// Its bytes.
        found: usize,
        /// The most there can be.
        most: usize,
    },
    /// It does not accept such a conversation.
    Refused {
        /// What it says.
        message: String,
    },
    /// It failed.
    Failed {
        /// What went wrong.
        detail: String,
    },
    /// It does not come to an end.
    Endless,
}

impl fmt::Display for TemplateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { detail } | Self::Failed { detail } => f.write_str(detail),
            Self::TooLong { found, most } => write!(f, "has {found} bytes, at most {most} can be used"),
            Self::Refused { message } => write!(f, "does not accept this conversation: {message}"),
            Self::Endless => f.write_str("does not come to an end"),
        }
    }
}
