//! Puts every element through a curve.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs, `gate` for a curve that multiplies something.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod reference;

use forebay_device::{Kernel, Stage};

use crate::{Op, Result, Served, Tensor, op::argument, tiles::each_grid};

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU, approximated by a hyperbolic tangent as most models have it.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `ln(1 + e^x)`.
    Softplus,
}

impl Curve {
    /// All of them, in the order of their kernels.
    pub(crate) const ALL: [Self; 5] =
        [Self::Silu, Self::GeluTanh, Self::GeluErf, Self::Sigmoid, Self::Softplus];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_tanh",
            Self::GeluErf => "gelu_erf",
            Self::Sigmoid => "sigmoid",
            Self::Softplus => "softplus",
        }
    }
}

/// The kernel of each curve.
const KERNELS: [&str; Curve::ALL.len()] =
    ["activate_silu", "activate_gelu_tanh", "activate_gelu_erf", "activate_sigmoid", "activate_softplus"];

/// `x = curve(x)`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{Ops, Tensor, ops::{Activate, activate::Curve}};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[3], &[0.0f32, 200.0, -200.0])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("curve");
/// ops.record(&mut stage, &Activate { x: &x, curve: Curve::Sigmoid })?;
/// stage.submit()?;
/// assert_eq!(x.to_vec::<f32>()?, [0.5, 1.0, 0.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Activate<'a> {
    /// f32 of any shape; changed in place.
    pub x: &'a Tensor,
    /// The curve.
    pub curve: Curve,
}

impl Op for Activate<'_> {
    type Kernels = [Kernel; Curve::ALL.len()];
    const NAME: &'static str = "activate";

    fn served() -> Vec<Served> {
        let serve = |(curve, name): (Curve, _)| {
            let kernel =
                move |level| cpu::kernel(curve, name, level).bundle(include_bytes!("cuda.bundle"), name);
            Served::per_level(format!("f32, {}", curve.name()), kernel)
        };
        Curve::ALL.into_iter().zip(KERNELS).map(serve).collect()
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "x", self.x).f32().map(drop)
    }

    fn kernel<'k>(&self, kernels: &'k Self::Kernels) -> Result<&'k Kernel> {
        Ok(&kernels[self.curve as usize])
    }

    fn launch(&self, kernels: &Self::Kernels, stage: &mut Stage<'_>) -> Result<()> {
        let kernel = self.kernel(kernels)?;
        let (grid, elements) = each_grid(Self::NAME, kernel, self.x)?;
        Ok(stage.launch(kernel, grid, &[self.x.arg(), elements.into()])?)
    }
}
