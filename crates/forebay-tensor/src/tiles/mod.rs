//! Device code that ops share, one folder a family of devices, and kernels that come once for each type.

pub(crate) mod cpu;

use forebay_device::{Device, Kernel, KernelDef};

use crate::{DType, Error, Result, quant};

/// One kernel for each type that an op can work with.
#[derive(Debug)]
pub struct PerType {
    kernels: Vec<(DType, Kernel)>,
}

impl PerType {
    /// Loads the kernels of these types.
    pub(crate) fn load(
        device: &Device,
        dtypes: impl IntoIterator<Item = DType>,
        kernel: impl Fn(DType) -> KernelDef,
    ) -> Result<Self> {
        let load = |dtype| Ok((dtype, device.load(&kernel(dtype))?));
        Ok(Self { kernels: dtypes.into_iter().map(load).collect::<Result<_>>()? })
    }

    /// Loads the kernels of all weight formats of one plane.
    pub(crate) fn load_formats(device: &Device, kernel: impl Fn(DType) -> KernelDef) -> Result<Self> {
        Self::load(device, quant::formats().iter().map(quant::Format::dtype), kernel)
    }

    pub(crate) fn of(&self, dtype: DType) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|(known, _)| *known == dtype);
        found.map(|(_, kernel)| kernel).ok_or(Error::NoFormat { dtype: dtype.name() })
    }
}
