//! Multiplies one tensor by a curve of another: the middle of a gated feed-forward network.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `activate` for the curves alone.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
pub(crate) mod cpu;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod reference;

use forebay_device::{Kernel, KernelDef, Stage};

use super::activate::Curve;
use crate::{
    Op, Result, Served, Tensor,
    op::{argument, contract::positive},
    tiles::each_grid,
};

/// What the gate makes of its two tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gating {
    /// `curve(gate) * up`.
    Curve(Curve),
    /// `g / (1 + e^(-alpha g)) * (u + 1)`, where `g` is `gate` held below the limit, and `u` is `up` held between the limit
    /// and its negative.
    Clamped {
        /// How steep the gate is; above zero.
        alpha: f32,
        /// What numbers are held within; above zero.
        limit: f32,
    },
}

impl Gating {
    /// The gate as kernels of other ops take it: a number above zero, and its two numbers.
    pub(crate) fn words(self) -> (u32, [f32; 2]) {
        match self {
            Self::Clamped { alpha, limit } => (1, [alpha, limit]),
            Self::Curve(curve) => (2 + curve as u32, [0.0; 2]),
        }
    }

    /// The gate of such words; none at zero.
    pub(crate) fn of_words(number: u32, [alpha, limit]: [f32; 2]) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::Clamped { alpha, limit }),
            _ => Curve::ALL.get(number as usize - 2).copied().map(Self::Curve),
        }
    }

    /// Whether its numbers are such that it can be computed, in the name of an op.
    pub(crate) fn check(self, op: &'static str) -> Result<()> {
        if let Self::Clamped { alpha, limit } = self {
            positive(op, "alpha", alpha)?;
            positive(op, "limit", limit)?;
        }
        Ok(())
    }
}

/// The kernel of each curve.
const KERNELS: [&str; Curve::ALL.len()] =
    ["gate_silu", "gate_gelu_tanh", "gate_gelu_erf", "gate_sigmoid", "gate_softplus"];

/// `up = gating(gate, up)`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::{Gate, activate::Curve, gate::Gating}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let gate = Tensor::from_slice(&device, &[3], &[0.0f32, 100.0, -100.0])?;
/// let up = Tensor::from_slice(&device, &[3], &[7.0f32, 2.0, 5.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("gate");
/// ops.record(&mut stage, &Gate { gate: &gate, up: &up, gating: Gating::Curve(Curve::Silu) })?;
/// stage.submit()?;
/// let up = up.to_vec::<f32>()?;
/// assert!(up[0] == 0.0 && (up[1] - 200.0).abs() < 1e-3 && up[2].abs() < 1e-30);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// f32 of the shape of `up`.
    pub gate: &'a Tensor,
    /// f32 of any shape; changed in place.
    pub up: &'a Tensor,
    /// What becomes of the two.
    pub gating: Gating,
}

impl Op for Gate<'_> {
    type Kernels = [Kernel; Curve::ALL.len() + 1];
    const NAME: &'static str = "gate";

    fn served() -> Vec<Served> {
        let on_card = |kernel: KernelDef, entry| kernel.bundle(include_bytes!("cuda.bundle"), entry);
        let curves = Curve::ALL.into_iter().zip(KERNELS).map(|(curve, name)| {
            let kernel = move |level| on_card(cpu::kernel(curve, name, level), name);
            Served::per_level(format!("f32, {}", curve.name()), kernel)
        });
        let clamped = move |level| on_card(cpu::clamped(level), "gate_clamped");
        curves.chain([Served::per_level("f32, clamped", clamped)]).collect()
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "up", self.up).f32()?;
        argument(Self::NAME, "gate", self.gate).f32()?.like(self.up)?;
        self.gating.check(Self::NAME)
    }

    fn kernel<'k>(&self, kernels: &'k Self::Kernels) -> Result<&'k Kernel> {
        Ok(match self.gating {
            Gating::Curve(curve) => &kernels[curve as usize],
            Gating::Clamped { .. } => &kernels[Curve::ALL.len()],
        })
    }

    fn launch(&self, kernels: &Self::Kernels, stage: &mut Stage<'_>) -> Result<()> {
        let (kernel, gate, up) = (self.kernel(kernels)?, self.gate.arg(), self.up.arg());
        let (grid, elements) = each_grid(Self::NAME, kernel, self.up)?;
        match self.gating {
            Gating::Curve(_) => stage.launch(kernel, grid, &[gate, up, elements.into()])?,
            Gating::Clamped { alpha, limit } => {
                stage.launch(kernel, grid, &[gate, up, alpha.into(), limit.into(), elements.into()])?;
            }
        }
        Ok(())
    }
}
