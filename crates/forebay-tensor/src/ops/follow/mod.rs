//! Makes the tokens that a step found those of the next step, one position further, so that nobody has to tell a device.
//!
//! Next rooms: `reference` for what it means, `cpu` and `cuda.cu` for how it runs, `argmax` and `sample` for what finds tokens.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor,
    op::{argument, grid_by_device, size},
    tiles::{PART, cuda::EACH},
};

/// `ids = found`, `told = found` and `positions = positions + 1`. Where the host reads `told`, the next step goes on meanwhile.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Follow};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let found = Tensor::from_slice(&device, &[1], &[403u32])?;
/// let ids = Tensor::from_slice(&device, &[1], &[1u32])?;
/// let positions = Tensor::from_slice(&device, &[1], &[7u32])?;
/// let told = Tensor::of(DType::U32, &[1], device.alloc(4)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("follow");
/// ops.record(&mut stage, &Follow { found: &found, ids: &ids, positions: &positions, told: &told })?;
/// stage.submit()?;
/// assert_eq!([ids, positions, told].map(|list| list.to_vec::<u32>().unwrap()[0]), [403, 8, 403]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Follow<'a> {
    /// u32, `[rows]`: what a step found.
    pub found: &'a Tensor,
    /// u32, `[rows]`: what the next step takes in.
    pub ids: &'a Tensor,
    /// u32, `[rows]`: where it does; changed in place.
    pub positions: &'a Tensor,
    /// u32, `[rows]`: what was found, once more.
    pub told: &'a Tensor,
}

impl Op for Follow<'_> {
    type Kernels = Kernel;
    const NAME: &'static str = "follow";

    fn served() -> Vec<Served> {
        vec![Served::new("u32", cpu::kernel().bundle(include_bytes!("cuda.bundle"), "follow"))]
    }

    fn check(&self) -> Result<()> {
        let [rows] = argument(Self::NAME, "found", self.found).u32()?.axes()?;
        for (name, list) in [("ids", self.ids), ("positions", self.positions), ("told", self.told)] {
            argument(Self::NAME, name, list).u32()?.shaped(&[rows])?;
        }
        Ok(())
    }

    fn kernel<'k>(&self, kernel: &'k Kernel) -> Result<&'k Kernel> {
        Ok(kernel)
    }

    fn launch(&self, kernel: &Kernel, stage: &mut Stage<'_>) -> Result<()> {
        let rows = self.found.elements();
        let blocks = [rows.div_ceil(EACH), EACH / 4];
        let grid = grid_by_device(Self::NAME, kernel, rows.div_ceil(PART), blocks)?;
        let [found, ids, positions, told] =
            [self.found, self.ids, self.positions, self.told].map(Tensor::arg);
        let rows = size(Self::NAME, "rows", rows)?;
        Ok(stage.launch(kernel, grid, &[found, ids, positions, told, rows.into()])?)
    }
}
