//! Copies elements, from any layout into a row, and from one type to another.
//!
//! Next rooms: `reference` for what it means, `cpu` for how it runs.

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod cases;
mod cpu;
#[cfg(any(test, feature = "conformance"))]
mod reference;

use forebay_device::{Device, Kernel, KernelDef, Stage};

use crate::{
    ArgumentFault, DType, Error, MAX_RANK, Op, Result, Served, Tensor,
    op::{Loaded, THREADS, argument, grid_by_device, size},
    quant,
    tiles::{code, cpu::cache::CACHE_TYPES, cuda::EACH},
};

/// The most blocks of a launch on a card; each then goes on with what is left.
const MOST_BLOCKS: usize = 1 << 14;

/// `out = x`, element by element. Every type can become itself, every weight format of one plane f32, and f32, f16, bf16, q8_0
/// and q4_0 each other; what gets coarser is rounded to nearest.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Ops, Tensor, ops::Copy};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let ops = Ops::open(&device)?;
/// let x = Tensor::from_slice(&device, &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?.transpose(0, 1)?;
/// let out = Tensor::of(DType::F16, &[3, 2], device.alloc(12)?)?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("copy");
/// ops.record(&mut stage, &Copy { x: &x, out: &out })?;
/// stage.submit()?;
/// assert_eq!(out.to_f32()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[allow(missing_copy_implementations, reason = "the name is that of the trait")]
pub struct Copy<'a> {
    /// Any type and layout.
    pub x: &'a Tensor,
    /// Of the shape of `x`, in a row.
    pub out: &'a Tensor,
}

/// The kernels of copies.
#[derive(Debug)]
pub struct Kernels {
    same: Kernel,
    conversions: Vec<(DType, DType, Kernel)>,
}

/// Every type that becomes another.
fn conversions() -> impl Iterator<Item = (DType, DType)> {
    let decoded = quant::formats().iter().map(|format| (format.dtype(), DType::F32));
    let rounded = CACHE_TYPES.iter().flat_map(|from| CACHE_TYPES.map(|to| (*from, to)));
    decoded.chain(rounded.filter(|(_, to)| *to != DType::F32)).filter(|(from, to)| from != to)
}

impl Loaded for Kernels {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let (same, rest) = served.split_at(1);
        let load = |((from, to), one): ((DType, DType), &Served)| Ok((from, to, one.load(device)?));
        let conversions = conversions().zip(rest).map(load).collect::<Result<_>>()?;
        Ok(Self { same: Kernel::load(device, same)?, conversions })
    }
}

impl Op for Copy<'_> {
    type Kernels = Kernels;
    const NAME: &'static str = "copy";

    fn served() -> Vec<Served> {
        let on_card = |kernel: KernelDef, entry| kernel.bundle(include_bytes!("cuda.bundle"), entry);
        let same = Served::new("any type to itself", on_card(cpu::same(), "copy_same"));
        let convert = |(from, to)| {
            Served::new(format!("{from} to {to}"), on_card(cpu::convert(from, to), "copy_convert"))
        };
        [same].into_iter().chain(conversions().map(convert)).collect()
    }

    fn check(&self) -> Result<()> {
        argument(Self::NAME, "out", self.out).in_a_row()?.like(self.x)?;
        let pair = (self.x.dtype(), self.out.dtype());
        if pair.0 == pair.1 || conversions().any(|known| known == pair) {
            return Ok(());
        }
        let fault =
            ArgumentFault::Type { dtype: pair.1.name(), wanted: "a type that the one of x can become" };
        Err(Error::Argument { op: Self::NAME, argument: "out", fault })
    }

    fn kernel<'k>(&self, kernels: &'k Kernels) -> Result<&'k Kernel> {
        let (from, to) = (self.x.dtype(), self.out.dtype());
        let found = kernels.conversions.iter().find(|known| (known.0, known.1) == (from, to));
        Ok(found.map_or(&kernels.same, |(_, _, kernel)| kernel))
    }

    fn launch(&self, kernels: &Kernels, stage: &mut Stage<'_>) -> Result<()> {
        if self.x.elements() == 0 {
            return Ok(());
        }
        let dtype = self.x.dtype();
        let (block, bytes) = (dtype.block_elements(), dtype.block_bytes());
        // The last four axes, of which those that are missing have one element.
        let mut sizes = [1; MAX_RANK];
        let mut steps = [0; MAX_RANK];
        let first = MAX_RANK - self.x.shape().len();
        for (axis, (length, stride)) in self.x.shape().iter().zip(self.x.layout().strides()).enumerate() {
            sizes[first + axis] = *length;
            steps[first + axis] = stride / block * bytes;
        }
        if !dtype.is_plain() || first == MAX_RANK {
            steps[MAX_RANK - 1] = bytes;
        }
        let ([a, b, c, width], kernel) = (sizes, self.kernel(kernels)?);
        let (rows, row) = (a * b * c, self.out.dtype().row_bytes(width)?);
        let types = code(dtype) | code(self.out.dtype()) << 8;
        let words = [row, width, b, c].into_iter().chain(steps).chain([bytes, rows, types as usize]);
        let mut arguments = [self.x.arg(); 13];
        arguments[1] = self.out.arg();
        for (argument, word) in arguments[2..].iter_mut().zip(words) {
            *argument = size(Self::NAME, "bytes between neighbours", word)?.into();
        }
        let blocks = (rows * row).div_ceil(EACH).min(MOST_BLOCKS);
        let grid = grid_by_device(Self::NAME, kernel, rows, [blocks, THREADS as usize])?;
        Ok(stage.launch(kernel, grid, &arguments)?)
    }
}
