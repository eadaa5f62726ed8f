//! Multiplies rows of activations by the weights of the experts that were chosen for them.
//!
//! The kernels of `matmul`: `floats` serves experts of plain types, `decode` those of other formats that lie in rows,
//! `panels` those that were packed, and `points` rows whose codes are looked up. Next rooms: `reference` for what it means, `cpu` for how it runs, `router` for who chooses, `mix` for what
//! becomes of the results.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{BackendKind, Kernel, Stage};

use crate::{
    Op, Result, Served, Tensor, Weight,
    op::{argument, contract::ensure, grid_by_device, groups as groups_of, optional, size},
    quant::panel::PanelLayout,
    tiles::{
        self, Lie, WeightKernels,
        cuda::{
            THREADS_OF_ROWS, entry_of_rows,
            panels::{PANEL_THREADS, for_format, panel_shared_bytes},
            rows_of_block,
        },
        per_points, per_weight,
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
        let entries = [
            "routed_matmul_rows_f32",
            "routed_matmul_rows_f16",
            "routed_matmul_rows_bf16",
            "routed_matmul_rows_blocks",
        ];
        let rows =
            |dtype| cpu::rows(dtype).bundle(include_bytes!("cuda.bundle"), entry_of_rows(dtype, entries));
        let panels = |dtype| {
            let entry = for_format!(dtype, "routed_panels_");
            cpu::panels(dtype).bundle(include_bytes!("panels.bundle"), entry)
        };
        per_weight(rows, panels).into_iter().chain(per_points(cpu::points)).collect()
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
        kernels.of(self.weight.dtype(), self.weight.lie())
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
        let by_result = lie == Lie::Rows && !dtype.is_plain();
        let groups = if by_result { places } else { rows.div_ceil(PART) };
        let blocks = match lie {
            Lie::Panels => [rows.div_ceil(PART), PANEL_THREADS],
            _ => [places.saturating_mul(rows.div_ceil(rows_of_block(dtype))), THREADS_OF_ROWS],
        };
        let mut grid = grid_by_device(Self::NAME, kernel, groups, blocks)?;
        if let (BackendKind::Cuda, Lie::Panels) = (kernel.backend(), lie) {
            let layout = PanelLayout::of(dtype, self.weight.scale_type());
            grid.shared_bytes = layout.map_or(0, |layout| panel_shared_bytes(&layout));
            grid.groups[1] = groups_of(Self::NAME, places.min(MOST_BLOCKS))?;
        }
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
