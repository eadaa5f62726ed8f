//! Multiplies rows of activations by the weights of the experts that were chosen for them.
//!
//! The kernels of `matmul`: `floats` serves experts of plain types, `decode` those of other formats that lie in rows,
//! `panels` and `panels_of_floats` those that were packed, and `points` rows whose codes are looked up. Next rooms: `reference` for what it means,
//! `cpu` and `cuda` for how it runs, `router` for who chooses, `mix` for what becomes of the results.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
mod cuda;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{BackendKind, Grid, Kernel, Stage};

use crate::{
    Extent, Op, Result, Served, Tensor, Weight,
    op::{argument, contract::ensure, grid, groups, optional, size},
    quant::panel::PanelLayout,
    tiles::{
        self, Lie, WeightKernels,
        cuda::panels::{PANEL_THREADS, for_format, panel_shared_bytes},
        per_many, per_panels_of_floats, per_points, per_weight,
    },
};

/// Rows of an expert of a group, which are a panel.
const PART: usize = 16;
/// The most blocks of the second axis of a card's grid.
const MOST_BLOCKS: usize = 65_535;

/// `out[i, j] = x[i, j] * transpose(weight[ids[i, j]]) + bias[ids[i, j]]`; where `x` has no axis for `j`, all experts of a row
/// take the same. An expert may be chosen more than once. One that is not there fails the stage.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, Weight, ops::RoutedMatmul};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let weight = Tensor::from_slice(&device, &[3, 1, 2], &[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0])?;
/// let weight = Weight::rows(&weight)?;
/// let x = Tensor::from_slice(&device, &[1, 2], &[2.0f32, 5.0])?;
/// let ids = Tensor::from_slice(&device, &[1, 2], &[2u32, 0])?;
/// let out = Tensor::of(DType::F32, &[1, 2, 1], device.alloc(8)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("experts");
/// ops.record(&mut stage, &RoutedMatmul { weight: &weight, x: &x, ids: &ids, bias: None, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_vec::<f32>()?, [7.0, 2.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RoutedMatmul<'a> {
    /// `[experts, rows, width]`.
    pub weight: &'a Weight<3>,
    /// Of the type that [`Weight::input`] says, `[count, width]` or `[count, k, width]`.
    pub x: &'a Tensor,
    /// u32, `[count, k]`.
    pub ids: &'a Tensor,
    /// f32, `[experts, rows]`.
    pub bias: Option<&'a Tensor>,
    /// f32, `[count, k, rows]`.
    pub out: &'a Tensor,
}

impl Op for RoutedMatmul<'_> {
    type Kernels = WeightKernels;
    const NAME: &'static str = "routed_matmul";

    fn served() -> Vec<Served> {
        let rows = |dtype| cuda::rows(cpu::rows(dtype), dtype);
        let panels = |dtype| {
            let entry = for_format!(dtype, "routed_panels_");
            cpu::panels(dtype).bundle(include_bytes!("panels.bundle"), entry)
        };
        let others = per_points(cpu::points).chain(per_many(cuda::tiles));
        let others = per_panels_of_floats(cpu::panels_of_floats).chain(others);
        per_weight(rows, panels).into_iter().chain(others).collect()
    }

    fn check(&self) -> Result<()> {
        let [experts, rows, width] = self.weight.shape();
        let [count, k] = argument(Self::NAME, "ids", self.ids).u32()?.axes()?;
        let x = argument(Self::NAME, "x", self.x).of(self.weight.input())?;
        if self.x.shape().len() == 2 {
            x.shaped(&[count, width])?
        } else {
            x.shaped(&[count, k, width])?
        }
        if let Some(bias) = self.bias {
            argument(Self::NAME, "bias", bias).f32()?.shaped(&[experts, rows])?;
        }
        argument(Self::NAME, "out", self.out).f32()?.shaped(&[count, k, rows])?;
        ensure(width > 0, Self::NAME, "width of weight", 0.0, "at least 1")
    }

    fn kernel<'k>(&self, kernels: &'k WeightKernels) -> Result<&'k Kernel> {
        let (dtype, lie) = (self.weight.dtype(), self.weight.lie());
        let rows = cuda::rows_at_a_time(self.ids.elements(), self.weight.shape()[0]);
        let many = if lie == Lie::Rows { kernels.of_many(dtype, rows) } else { None };
        many.map_or_else(|| kernels.of(dtype, lie), Ok)
    }

    fn launch(&self, kernels: &WeightKernels, stage: &mut Stage<'_>) -> Result<()> {
        let [experts, rows, width] = self.weight.shape();
        if self.out.elements() == 0 {
            return Ok(());
        }
        let takers = if self.x.shape().len() == 2 { self.ids.shape()[1] } else { 1 };
        let sizes = [("rows", rows), ("width", width), ("experts", experts), ("k", takers)];
        let [row_count, width, experts, takers] = sizes.map(|(name, value)| size(Self::NAME, name, value));
        let how = tiles::how(kernels.level(), self.weight.scale_type(), self.weight.dtype()).into();
        let [row_count, width, experts, takers] = [row_count?, width?, experts?, takers?].map(Into::into);
        let bias = optional(self.bias, self.x)?;
        let [x, ids, out] = [self.x, self.ids, self.out].map(Tensor::arg);
        let results = size(Self::NAME, "results", self.ids.elements())?.into();
        let weight = self.weight.buffer().arg();
        let arguments = [weight, x, ids, bias.arg(), out, row_count, width, experts, takers, how, results];
        let kernel = self.kernel(kernels)?;
        let (places, dtype, lie) = (self.ids.elements(), self.weight.dtype(), self.weight.lie());
        let grid = match (lie, kernel.backend()) {
            (Lie::Rows, BackendKind::Cuda) => cuda::grid(dtype, places, self.weight.shape()[0], rows)?,
            (_, BackendKind::Cuda) => {
                let layout = PanelLayout::of(dtype, self.weight.scale_type());
                let shared_bytes = layout.map_or(0, |layout| panel_shared_bytes(&layout, 1));
                let [across, down] = [rows.div_ceil(PART), places.min(MOST_BLOCKS)];
                let [across, down] = [groups(Self::NAME, across)?, groups(Self::NAME, down)?];
                Grid { groups: [across, down, 1], threads: [PANEL_THREADS as u32, 1, 1], shared_bytes }
            }
            (Lie::Rows, _) if !dtype.is_plain() => grid(Self::NAME, places)?,
            _ => grid(Self::NAME, rows.div_ceil(PART))?,
        };
        Ok(stage.launch(kernel, grid, &arguments)?)
    }

    fn extents(&self, _: usize) -> Vec<Extent<'_>> {
        // A row is sent to different experts; rows may meet at one.
        let (chosen, experts) = (self.ids.elements(), self.weight.shape()[0]);
        let weight = Extent::share(self.weight.buffer(), chosen, experts).named(self.weight.name());
        let bias = self.bias.map(|bias| Extent::share(bias.buffer(), chosen, experts));
        [weight].into_iter().chain(bias).collect()
    }
}
