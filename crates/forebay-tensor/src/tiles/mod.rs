//! Device code that ops share, one folder a family of devices, and kernels that come once for each type.

pub(crate) mod cpu;

use forebay_device::{Device, Kernel, KernelDef};

use crate::{
    DType, Error, Result,
    op::{Loaded, Served},
    quant,
};

/// Elements of a group where every element stands for itself.
pub(crate) const PART: usize = 4096;

/// One kernel for each type that an op can work with.
#[derive(Debug)]
pub struct PerType {
    kernels: Vec<(DType, Kernel)>,
}

impl Loaded for PerType {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let load = |one: &Served| Ok((one.dtype()?, one.load(device)?));
        Ok(Self { kernels: served.iter().map(load).collect::<Result<_>>()? })
    }
}

impl PerType {
    /// The kernel of a type.
    pub(crate) fn of(&self, dtype: DType) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|(known, _)| *known == dtype);
        found.map(|(_, kernel)| kernel).ok_or(Error::NoFormat { dtype: dtype.name() })
    }
}

/// The kernels of these types.
pub(crate) fn per_type(
    dtypes: impl IntoIterator<Item = DType>,
    kernel: impl Fn(DType) -> KernelDef,
) -> Vec<Served> {
    dtypes.into_iter().map(|dtype| Served::new(dtype.name(), kernel(dtype))).collect()
}

/// The kernels of all weight formats of one plane.
pub(crate) fn per_format(kernel: impl Fn(DType) -> KernelDef) -> Vec<Served> {
    per_type(quant::formats().iter().map(quant::Format::dtype), kernel)
}
