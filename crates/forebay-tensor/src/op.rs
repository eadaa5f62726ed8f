//! What an op is: a plain struct of its arguments, a contract that checks them, and kernels that a device loads once.
//!
//! Recording an op checks it first, so that kernels meet only arguments that suit each other; the error names the
//! argument. Nothing here knows a particular op; those are in `ops`, and the one list of them is `registry`.

use forebay_device::{Device, Stage};

use crate::{ArgumentFault, DType, Error, Result, Tensor, quant};

/// An op with its arguments.
pub trait Op {
    /// What a device loads to run it.
    type Kernels: Send + Sync;
    /// The name: that of its folder, of its kernels and of its cases.
    const NAME: &'static str;

    /// Loads the kernels.
    ///
    /// # Errors
    /// What the device says.
    fn load(device: &Device) -> Result<Self::Kernels>;

    /// Whether the arguments suit each other and the op.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the argument that is wrong.
    fn check(&self) -> Result<()>;

    /// Records the launch of arguments that were checked.
    ///
    /// # Errors
    /// What the stage says.
    fn launch(&self, kernels: &Self::Kernels, stage: &mut Stage<'_>) -> Result<()>;
}

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

impl<'a> Argument<'a> {
    fn fault(&self, fault: ArgumentFault) -> Error {
        Error::Argument { op: self.op, argument: self.name, fault }
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

    /// It is of this plain type, and in a row.
    pub(crate) fn of(self, dtype: DType) -> Result<Self> {
        self.one_of(&[dtype], dtype.name())
    }

    /// It is of one of these types, and in a row.
    pub(crate) fn one_of(self, dtypes: &[DType], wanted: &'static str) -> Result<Self> {
        if !dtypes.contains(&self.tensor.dtype()) {
            return Err(self.fault(ArgumentFault::Type { dtype: self.tensor.dtype().name(), wanted }));
        }
        self.in_a_row()
    }

    /// It is of a weight format that keeps all of a block in one plane, and in a row.
    pub(crate) fn weight(self) -> Result<Self> {
        let dtype = self.tensor.dtype();
        if quant::format_of(dtype).is_err() {
            let wanted = "a weight format of one plane";
            return Err(self.fault(ArgumentFault::Type { dtype: dtype.name(), wanted }));
        }
        self.in_a_row()
    }

    /// It has so many axes, whose sizes are given back.
    pub(crate) fn axes<const N: usize>(self) -> Result<[usize; N]> {
        self.tensor
            .shape()
            .try_into()
            .map_err(|_| self.fault(ArgumentFault::Rank { shape: self.tensor.shape().to_vec(), wanted: N }))
    }

    /// It has this shape.
    pub(crate) fn shaped(self, wanted: &[usize]) -> Result<()> {
        if self.tensor.shape() == wanted {
            return Ok(());
        }
        let (shape, wanted) = (self.tensor.shape().to_vec(), wanted.to_vec());
        Err(self.fault(ArgumentFault::Shape { shape, wanted }))
    }
}

/// Groups of a grid; a launch cannot have more than a `u32` counts.
pub(crate) fn groups(op: &'static str, count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| bad_value(op, "groups", count as f64, "below 2^32"))
}

/// A size as kernels take it.
pub(crate) fn size(op: &'static str, argument: &'static str, size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| bad_value(op, argument, size as f64, "below 2^32"))
}
