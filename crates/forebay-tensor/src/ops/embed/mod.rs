//! Looks rows of a table up, whatever the format of the table.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    DType, Extent, Op, Result, Served, Tensor, Weight,
    op::{argument, grid, size},
    tiles::{self, Lie, WeightKernels, per_weight},
};

/// `out[i] = table[ids[i]]`. An id that the table does not have fails the stage.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, Weight, ops::Embed};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let table = Tensor::from_slice(&device, &[3, 2], &[0.0f32, 0.1, 1.0, 1.1, 2.0, 2.1])?;
/// let table = Weight::rows(&table)?;
/// let ids = Tensor::from_slice(&device, &[2], &[2u32, 0])?;
/// let out = Tensor::of(DType::F32, &[2, 2], device.alloc(16)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("embed");
/// ops.record(&mut stage, &Embed { table: &table, ids: &ids, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [2.0, 2.1, 0.0, 0.1]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Embed<'a> {
    /// `[rows, width]`.
    pub table: &'a Weight,
    /// u32, `[count]`.
    pub ids: &'a Tensor,
    /// f32, `[count, width]`.
    pub out: &'a Tensor,
}

impl Op for Embed<'_> {
    type Kernels = WeightKernels;
    const NAME: &'static str = "embed";

    fn served() -> Vec<Served> {
        let rows = |dtype| cpu::rows(dtype).bundle(include_bytes!("cuda.bundle"), "embed_rows");
        let panels = |dtype| cpu::panels(dtype).bundle(include_bytes!("panels.bundle"), "embed_panels");
        per_weight(rows, panels)
    }

    fn check(&self) -> Result<()> {
        let [_, width] = self.table.shape();
        let [count] = argument(Self::NAME, "ids", self.ids).of(DType::U32)?.axes()?;
        argument(Self::NAME, "out", self.out).of(DType::F32)?.shaped(&[count, width])
    }

    fn kernel<'k>(&self, kernels: &'k WeightKernels) -> Result<&'k Kernel> {
        kernels.of(self.table.dtype(), if self.table.is_packed() { Lie::Panels } else { Lie::Rows })
    }

    fn launch(&self, kernels: &WeightKernels, stage: &mut Stage<'_>) -> Result<()> {
        if self.out.elements() == 0 {
            return Ok(());
        }
        let how = tiles::how(kernels.level(), self.table.scale_type(), self.table.dtype());
        let [table, ids, out] = [self.table.buffer().arg(), self.ids.arg(), self.out.arg()];
        let sizes = [("rows", self.table.shape()[0]), ("width", self.table.shape()[1])];
        let [rows, width] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let grid = grid(Self::NAME, self.ids.elements())?;
        let arguments = [table, ids, out, rows?.into(), how.into(), width?.into()];
        Ok(stage.launch(self.kernel(kernels)?, grid, &arguments)?)
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        let (table, rows) = (self.table, self.table.shape()[0]);
        vec![Extent::share(table.buffer(), self.ids.elements(), rows).named(table.name())]
    }
}
