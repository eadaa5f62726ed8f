//! What an op is: a plain struct of its arguments, a contract that checks them, and kernels that a device loads once.
//!
//! Recording an op checks it first, so that kernels meet only arguments that suit each other; the error names the
//! argument. The words of contracts are `contract`. Nothing here knows a particular op; those are in `ops`, and the
//! one list of them is `registry`.

pub(crate) mod contract;

use std::fmt;

use forebay_device::{BackendKind, Buffer, Caps, Device, Grid, Kernel, KernelDef, Stage};

pub(crate) use self::contract::{argument, bad_value, groups, size};
use crate::{DType, Extent, Level, Result, Tensor};

/// An op with its arguments.
pub trait Op {
    /// What a device loads to run it.
    type Kernels: Loaded;
    /// The name: that of its folder, of its kernels and of its cases.
    const NAME: &'static str;

    /// Every kernel of the op, with what it serves.
    fn served() -> Vec<Served>;

    /// Loads the kernels.
    ///
    /// # Errors
    /// What the device says.
    fn load(device: &Device) -> Result<Self::Kernels> {
        Self::load_at(device, Level::best())
    }

    /// Loads the kernels for a level of the CPU, which this machine has.
    ///
    /// # Errors
    /// What the device says.
    fn load_at(device: &Device, level: Level) -> Result<Self::Kernels> {
        let served: Vec<_> = Self::served().into_iter().map(|one| one.at(level)).collect();
        let mut kernels = Self::Kernels::load(device, &served)?;
        kernels.set_level(level);
        Ok(kernels)
    }

    /// Whether the arguments suit each other and the op.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) naming the argument that is wrong.
    fn check(&self) -> Result<()>;

    /// The kernel that serves arguments that were checked; the first of several that run one after another.
    ///
    /// # Errors
    /// [`Error::NoFormat`](crate::Error::NoFormat) for a type that no kernel serves.
    fn kernel<'k>(&self, kernels: &'k Self::Kernels) -> Result<&'k Kernel>;

    /// Records the launch of arguments that were checked.
    ///
    /// # Errors
    /// What the stage says.
    fn launch(&self, kernels: &Self::Kernels, stage: &mut Stage<'_>) -> Result<()>;

    /// What weights there are, and of which buffers not all is touched, where texts have so many positions by then.
    fn extents(&self, _reach: usize) -> Vec<Extent<'_>> {
        Vec::new()
    }
}

/// The kernels of an op on one device.
pub trait Loaded: Sized + Send + Sync + 'static {
    /// Loads what an op serves.
    ///
    /// # Errors
    /// What the device says.
    fn load(device: &Device, served: &[Served]) -> Result<Self>;

    /// Uses a level of the CPU from now on, where launches tell kernels which.
    fn set_level(&mut self, _level: Level) {}
}

/// For an op of one kernel.
impl Loaded for Kernel {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let [kernel] = Loaded::load(device, served)?;
        Ok(kernel)
    }
}

/// For an op of so many kernels, in the order in which it names them.
impl<const N: usize> Loaded for [Kernel; N] {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let kernels = served.iter().map(|one| one.load(device)).collect::<Result<Vec<_>>>()?;
        let wanted = "what the op has places for";
        kernels.try_into().map_err(|_| bad_value("op", "number of kernels", served.len() as f64, wanted))
    }
}

/// Checks an op and records it.
pub(crate) fn record<O: Op>(op: &O, kernels: &O::Kernels, stage: &mut Stage<'_>) -> Result<()> {
    op.check()?;
    op.launch(kernels, stage)
}

/// One kernel of an op and what it serves.
pub struct Served {
    types: String,
    def: KernelDef,
    /// What a card takes instead, where its kernel has other arguments.
    on_card: Option<KernelDef>,
    /// Makes it for a level of the CPU, if it does not learn from its launches which one to use.
    per_level: Option<Box<dyn Fn(Level) -> KernelDef>>,
}

impl Served {
    /// What a kernel serves, in words or by the name of a type.
    pub(crate) fn new(types: impl Into<String>, code: impl Into<Code>) -> Self {
        let Code { def, on_card } = code.into();
        Self { types: types.into(), def, on_card, per_level: None }
    }

    /// As [`new`](Self::new), for a kernel that is compiled for every level of the CPU.
    pub(crate) fn per_level(types: impl Into<String>, make: impl Fn(Level) -> KernelDef + 'static) -> Self {
        let (types, def) = (types.into(), make(Level::best()));
        Self { types, def, on_card: None, per_level: Some(Box::new(make)) }
    }

    /// The kernel for a level. It has a name of its own unless the level is the best, since a device keeps one of a name.
    fn at(mut self, level: Level) -> Self {
        if let Some(make) = &self.per_level
            && level != Level::best()
        {
            self.def = make(level).named(format!("{}_{level}", self.def.name()));
        }
        self
    }

    /// The types of elements or weights, or what else distinguishes the arguments that it serves.
    pub fn types(&self) -> &str {
        &self.types
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &str {
        self.def.name()
    }

    /// The type that it serves, where `types` names one.
    pub(crate) fn dtype(&self) -> Result<DType> {
        self.types.parse()
    }

    /// Loads the kernel.
    pub(crate) fn load(&self, device: &Device) -> Result<Kernel> {
        // Every kernel of cards begins with `begin()`.
        Ok(device.load(&self.def_for(device.kind()).clone().waits_by_itself())?)
    }

    /// What such devices take.
    fn def_for(&self, kind: BackendKind) -> &KernelDef {
        self.on_card.as_ref().filter(|_| kind == BackendKind::Cuda).unwrap_or(&self.def)
    }

    /// Which of its images such a device takes, as [`KernelDef::image_on`] says.
    pub fn image_on(&self, caps: &Caps) -> Option<String> {
        self.def_for(caps.backend).image_on(caps)
    }

    /// Whether it runs on devices of this family.
    pub fn runs_on(&self, kind: BackendKind) -> bool {
        self.def_for(kind).has_code_for(kind)
    }
}

/// The code of a kernel: one definition for all devices, or one for the CPU and one of the same name for cards.
pub(crate) struct Code {
    def: KernelDef,
    on_card: Option<KernelDef>,
}

impl From<KernelDef> for Code {
    fn from(def: KernelDef) -> Self {
        Self { def, on_card: None }
    }
}

impl From<[KernelDef; 2]> for Code {
    fn from([def, on_card]: [KernelDef; 2]) -> Self {
        Self { def, on_card: Some(on_card) }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("types", &self.types).field("kernel", &self.kernel()).finish()
    }
}

/// The buffer of an argument that can be missing; without it no bytes of a buffer that is there anyway.
pub(crate) fn optional(tensor: Option<&Tensor>, other: &Tensor) -> Result<Buffer> {
    match tensor {
        Some(tensor) => Ok(tensor.buffer().clone()),
        None => Ok(other.buffer().slice(0..0)?),
    }
}

/// A grid of so many groups; on a card each of them is a block of [`THREADS`].
pub(crate) fn grid(op: &'static str, count: usize) -> Result<Grid> {
    Ok(Grid::linear(groups(op, count)?, THREADS))
}

/// A grid of so many groups on the CPU, and of so many blocks of so many threads on a card.
pub(crate) fn grid_by_device(
    op: &'static str,
    kernel: &Kernel,
    count: usize,
    [blocks, threads]: [usize; 2],
) -> Result<Grid> {
    match kernel.backend() {
        BackendKind::Cuda => Ok(Grid::linear(groups(op, blocks)?, size(op, "threads", threads)?)),
        _ => grid(op, count),
    }
}

/// A grid of so many groups on the CPU; on a card of blocks of [`THREADS`], which are so many threads or a few more.
pub(crate) fn grid_by_thread(
    op: &'static str,
    kernel: &Kernel,
    count: usize,
    threads: usize,
) -> Result<Grid> {
    grid_by_device(op, kernel, count, [threads.div_ceil(THREADS as usize), THREADS as usize])
}

/// A grid of so many groups, each of which owns a row; on a card a block has as many threads as its row has work for.
pub(crate) fn row_grid(op: &'static str, rows: usize, width: usize) -> Result<Grid> {
    let threads = width.div_ceil(4).next_multiple_of(32).clamp(32, MOST_THREADS);
    Ok(Grid::linear(groups(op, rows)?, size(op, "threads", threads)?))
}

/// Threads of a block, unless a kernel wants another number.
pub(crate) const THREADS: u32 = 256;
/// The most threads that a block has on any card.
const MOST_THREADS: usize = 1024;
