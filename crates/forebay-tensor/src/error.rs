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
    /// No level of the CPU has this name: they are plain, avx2, avx512 and neon.
    UnknownLevel {
        /// The name asked for.
        name: String,
    },
    /// This machine does not have what a level of the CPU needs: use a level that `Level::is_here`.
    AbsentLevel {
        /// Name of the level.
        level: &'static str,
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
    /// Rows of this type and width cannot be packed into panels on this device: leave them as they lie.
    NoPanels {
        /// Name of the type.
        dtype: &'static str,
        /// Elements of a row.
        width: usize,
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
    /// A shape has too many axes, or more elements than can be counted.
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// The most axes there can be.
        most: usize,
    },
    /// A view asks for an axis that is not there.
    Axis {
        /// The axis.
        axis: usize,
        /// The shape.
        shape: Vec<usize>,
    },
    /// A view reaches past the end of an axis, or cuts a block.
    Range {
        /// The axis.
        axis: usize,
        /// First index asked for.
        start: usize,
        /// One past the last index asked for.
        end: usize,
        /// The shape.
        shape: Vec<usize>,
        /// What the ends have to be multiples of.
        block: usize,
    },
    /// A new shape does not hold the same elements, or the elements do not lie in a row: copy the tensor first.
    Reshape {
        /// The shape it has.
        from: Vec<usize>,
        /// The shape asked for.
        to: Vec<usize>,
        /// Whether the elements lie in a row.
        contiguous: bool,
    },
    /// The host asked for elements of another type than the tensor has.
    HostType {
        /// Name of the type that the tensor has.
        dtype: &'static str,
        /// Name of the type asked for.
        asked: &'static str,
    },
    /// The elements do not lie in a row, so that they cannot be had as a slice: copy the tensor first.
    Strided {
        /// The shape.
        shape: Vec<usize>,
        /// The distances between neighbours of each axis.
        strides: Vec<usize>,
    },
    /// An argument of an op does not suit the op or the other arguments.
    Argument {
        /// The op.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// What is wrong with it.
        fault: ArgumentFault,
    },
    /// Memory or a device failed.
    Device(DeviceError),
}

/// What is wrong with an argument of an op.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ArgumentFault {
    /// Another number of axes.
    Rank {
        /// The shape it has.
        shape: Vec<usize>,
        /// The axes it should have.
        wanted: usize,
    },
    /// Another shape.
    Shape {
        /// The shape it has.
        shape: Vec<usize>,
        /// The shape it should have.
        wanted: Vec<usize>,
    },
    /// Another type.
    Type {
        /// Name of the type it has.
        dtype: &'static str,
        /// Types it may have.
        wanted: &'static str,
    },
    /// Its elements do not lie in a row.
    Strided {
        /// The distances between neighbours of each axis.
        strides: Vec<usize>,
    },
    /// A number that the op cannot work with.
    Value {
        /// The number.
        given: f64,
        /// What it has to be.
        wanted: &'static str,
    },
    /// Devices of this kind have no kernel of the op with it: record an op of its own for it.
    Apart,
}

/// An error of memory or of a device. Two are equal if they say the same.
#[derive(Clone, Debug)]
pub struct DeviceError(pub forebay_device::Error);

impl PartialEq for DeviceError {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl From<forebay_device::Error> for Error {
    fn from(error: forebay_device::Error) -> Self {
        Self::Device(DeviceError(error))
    }
}

impl fmt::Display for Error {
    #[allow(clippy::too_many_lines, reason = "one arm a variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType { name } => write!(f, "no element type is called {name:?}"),
            Self::UnknownGgufType { number } => write!(f, "no GGUF tensor type has the number {number}"),
            Self::UnknownAffine { bits, group } => write!(
                f,
                "no MLX affine type has {bits} bits in groups of {group}; there are 2, 3, 4, 5, 6 and 8 bits \
                 in groups of 32, 64 and 128"
            ),
            Self::UnknownLevel { name } => {
                write!(f, "no level is called {name:?}; there are plain, avx2, avx512 and neon")
            }
            Self::AbsentLevel { level } => {
                write!(f, "this machine does not have what the level {level} needs")
            }
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
            Self::NoPanels { dtype, width } => {
                write!(
                    f,
                    "rows of {width} elements of type {dtype} cannot be packed into panels on this device"
                )
            }
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
            Self::Shape { shape, most } => {
                write!(f, "shape {shape:?} has more than {most} axes, or more elements than can be counted")
            }
            Self::Axis { axis, shape } => write!(f, "shape {shape:?} has no axis {axis}"),
            Self::Range { axis, start, end, shape, block } => {
                write!(f, "range {start}..{end} of axis {axis} does not lie in shape {shape:?}")?;
                if *block > 1 { write!(f, " in whole blocks of {block}") } else { Ok(()) }
            }
            Self::Reshape { from, to, contiguous: true } => {
                write!(f, "shape {from:?} and shape {to:?} do not hold the same number of elements")
            }
            Self::Reshape { from, to, contiguous: false } => {
                write!(
                    f,
                    "shape {from:?} cannot become {to:?}: its elements do not lie in a row; copy it first"
                )
            }
            Self::HostType { dtype, asked } => {
                write!(f, "a tensor of {dtype} has no elements of type {asked}")
            }
            Self::Strided { shape, strides } => write!(
                f,
                "shape {shape:?} with strides {strides:?} does not lie in a row; copy the tensor first"
            ),
            Self::Argument { op, argument, fault } => write!(f, "{op}: {argument} {fault}"),
            Self::Device(DeviceError(error)) => error.fmt(f),
        }
    }
}

impl fmt::Display for ArgumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank { shape, wanted } => write!(f, "has shape {shape:?}, {wanted} axes are wanted"),
            Self::Shape { shape, wanted } => write!(f, "has shape {shape:?}, {wanted:?} is wanted"),
            Self::Type { dtype, wanted } => write!(f, "is of type {dtype}, {wanted} is wanted"),
            Self::Strided { strides } => {
                write!(f, "has strides {strides:?}; its elements have to lie in a row")
            }
            Self::Value { given, wanted } => write!(f, "is {given}, it has to be {wanted}"),
            Self::Apart => write!(f, "has to be an op of its own on this device"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Device(DeviceError(error)) => Some(error),
            _ => None,
        }
    }
}
