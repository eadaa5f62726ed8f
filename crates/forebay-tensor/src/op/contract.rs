//! The words of contracts: checks of tensors and numbers in the name of an op, with errors that name the argument.
//!
//! Every op says what it takes in these words, so that the same mistake gets the same message everywhere.

use crate::{ArgumentFault, DType, Error, Result, Tensor};

/// Checks of one argument, in the name of an op.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument<'a> {
    op: &'static str,
    name: &'static str,
    tensor: &'a Tensor,
}

/// The checks of an argument begin here.
pub(crate) fn argument<'a>(op: &'static str, name: &'static str, tensor: &'a Tensor) -> Argument<'a> {
    Argument { op, name, tensor }
}

/// A number that an op cannot work with.
pub(crate) fn bad_value(op: &'static str, argument: &'static str, given: f64, wanted: &'static str) -> Error {
    Error::Argument { op, argument, fault: ArgumentFault::Value { given, wanted } }
}

/// A number that keeps a division from failing.
pub(crate) fn epsilon(op: &'static str, value: f32) -> Result<()> {
    ensure(value >= 0.0 && value.is_finite(), op, "epsilon", value.into(), "finite and not negative")
}

/// A number that has to be finite.
pub(crate) fn finite(op: &'static str, argument: &'static str, value: f32) -> Result<()> {
    ensure(value.is_finite(), op, argument, value.into(), "finite")
}

/// A number that has to be finite and above zero.
pub(crate) fn positive(op: &'static str, argument: &'static str, value: f32) -> Result<()> {
    ensure(value > 0.0 && value.is_finite(), op, argument, value.into(), "finite and above 0")
}

/// Refuses a number unless something holds.
pub(crate) fn ensure(
    holds: bool,
    op: &'static str,
    argument: &'static str,
    given: f64,
    wanted: &'static str,
) -> Result<()> {
    if holds { Ok(()) } else { Err(bad_value(op, argument, given, wanted)) }
}

/// The places of so many rows, where they have some.
pub(crate) fn places(op: &'static str, places: Option<&Tensor>, rows: usize) -> Result<()> {
    places.map_or(Ok(()), |places| argument(op, "places", places).u32()?.shaped(&[rows]))
}

/// Groups of a grid; a launch cannot have more than a `u32` counts.
pub(crate) fn groups(op: &'static str, count: usize) -> Result<u32> {
    size(op, "groups", count)
}

/// A size as kernels take it.
pub(crate) fn size(op: &'static str, argument: &'static str, size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| bad_value(op, argument, size as f64, "below 2^32"))
}

impl<'a> Argument<'a> {
    fn fault(&self, fault: ArgumentFault) -> Error {
        Error::Argument { op: self.op, argument: self.name, fault }
    }

    fn bad_type(&self, wanted: &'static str) -> Error {
        self.fault(ArgumentFault::Type { dtype: self.tensor.dtype().name(), wanted })
    }

    /// Its elements lie in a row. What kernels ask of all their arguments.
    pub(crate) fn in_a_row(self) -> Result<Self> {
        match self.tensor.layout().is_contiguous() {
            true => Ok(self),
            false => {
                Err(self.fault(ArgumentFault::Strided { strides: self.tensor.layout().strides().to_vec() }))
            }
        }
    }

    /// It is f32, and in a row.
    pub(crate) fn f32(self) -> Result<Self> {
        self.of(DType::F32)
    }

    /// It is u32, and in a row.
    pub(crate) fn u32(self) -> Result<Self> {
        self.of(DType::U32)
    }

    /// It is of this plain type, and in a row.
    pub(crate) fn of(self, dtype: DType) -> Result<Self> {
        self.one_of(&[dtype], dtype.name())
    }

    /// It is of one of these types, and in a row.
    pub(crate) fn one_of(self, dtypes: &[DType], wanted: &'static str) -> Result<Self> {
        if !dtypes.contains(&self.tensor.dtype()) {
            return Err(self.bad_type(wanted));
        }
        self.in_a_row()
    }

    /// It is a cache of three axes, or where rows have places, one for each place; given back is how many, and their axes.
    pub(crate) fn caches(self, places: Option<&Tensor>) -> Result<[usize; 4]> {
        match places {
            None => self.axes().map(|[heads, capacity, width]| [1, heads, capacity, width]),
            Some(_) => self.axes(),
        }
    }

    /// It has this shape, as [`caches`](Self::caches) gives it.
    pub(crate) fn caches_shaped(self, places: Option<&Tensor>, wanted: [usize; 4]) -> Result<()> {
        self.shaped(&wanted[usize::from(places.is_none())..])
    }

    /// It has so many axes, whose sizes are given back.
    pub(crate) fn axes<const N: usize>(self) -> Result<[usize; N]> {
        self.tensor
            .shape()
            .try_into()
            .map_err(|_| self.fault(ArgumentFault::Rank { shape: self.tensor.shape().to_vec(), wanted: N }))
    }

    /// It has at least one axis; the number of its rows and their width are given back.
    pub(crate) fn rows(self) -> Result<[usize; 2]> {
        match self.tensor.shape().split_last() {
            Some((&width, above)) => Ok([above.iter().product(), width]),
            None => Err(self.fault(ArgumentFault::Rank { shape: Vec::new(), wanted: 1 })),
        }
    }

    /// It has this shape.
    pub(crate) fn shaped(self, wanted: &[usize]) -> Result<()> {
        if self.tensor.shape() == wanted {
            return Ok(());
        }
        let (shape, wanted) = (self.tensor.shape().to_vec(), wanted.to_vec());
        Err(self.fault(ArgumentFault::Shape { shape, wanted }))
    }

    /// Its shape is the end of another shape, so that it repeats over what comes before.
    pub(crate) fn repeats_over(self, all: &[usize]) -> Result<()> {
        if all.ends_with(self.tensor.shape()) {
            return Ok(());
        }
        let (shape, wanted) = (self.tensor.shape().to_vec(), all.to_vec());
        Err(self.fault(ArgumentFault::Shape { shape, wanted }))
    }

    /// It has the shape of another tensor.
    pub(crate) fn like(self, other: &Tensor) -> Result<()> {
        self.shaped(other.shape())
    }
}
