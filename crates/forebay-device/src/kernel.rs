//! A kernel as its author defines it: a name, a signature, and code for one or more kinds of device.
//!
//! A [`KernelDef`] is plain data that any device can be asked to load; the device takes the code that suits it.
//! Safe Rust kernels get slices that cannot alias: `launch::check` refuses overlaps before they are recorded, and
//! `backend::cpu::module` splits written buffers between groups.

use std::{fmt, sync::Arc};

use crate::{
    backend::cpu::module::{Group, Share},
    launch::Signature,
};

/// A safe Rust kernel: called once for every group of the grid.
pub(crate) type GroupFn = Arc<dyn Fn(&Group<'_>) + Send + Sync>;
/// An unsafe Rust kernel: called once for every worker with its share of the groups.
pub(crate) type ShareFn = Arc<dyn Fn(&Share<'_>) + Send + Sync>;

/// Code of a kernel for the CPU.
#[derive(Clone)]
pub(crate) enum CpuCode {
    Group(GroupFn),
    Share(ShareFn),
}

/// Code for a device that is not the host: bytes and the name of the entry point in them.
#[derive(Clone, Debug)]
pub struct Image {
    /// What the bytes are.
    pub format: ImageFormat,
    /// The code.
    pub bytes: Arc<[u8]>,
    /// The function in it.
    pub entry: String,
}

/// What the bytes of an [`Image`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageFormat {
    /// PTX text.
    Ptx,
    /// A cubin for one architecture, or a fat binary of several.
    Cubin,
    /// Metal shading language text.
    Msl,
}

/// A kernel that a device can load.
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Grid, KernelDef, Param, Signature};
///
/// let double = KernelDef::new("double", Signature::new([Param::read_write::<f32>().per_group(64)]))
///     .cpu(|group| group.write::<f32>(0).iter_mut().for_each(|x| *x *= 2.0));
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let kernel = device.load(&double)?;
/// let buffer = device.upload(&[1.0f32; 100])?;
/// let mut session = device.session()?;
/// let mut stage = session.stage("double");
/// stage.launch(&kernel, Grid::linear(2, 1), &[buffer.arg()])?;
/// stage.fence()?.wait()?;
/// assert_eq!(buffer.to_vec::<f32>()?, [2.0; 100]);
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone)]
pub struct KernelDef {
    pub(crate) name: Arc<str>,
    pub(crate) signature: Arc<Signature>,
    pub(crate) cpu: Option<CpuCode>,
    pub(crate) images: Vec<Image>,
}

impl KernelDef {
    /// A kernel without code yet.
    pub fn new(name: impl Into<Arc<str>>, signature: Signature) -> Self {
        Self { name: name.into(), signature: Arc::new(signature), cpu: None, images: Vec::new() }
    }

    /// Adds a Rust function, called once for every group of the grid.
    ///
    /// Where a written parameter has no [`per_group`](crate::Param::per_group), the groups of a launch run one
    /// after another on one worker, because each of them may write all of it.
    #[must_use]
    pub fn cpu(mut self, code: impl Fn(&Group<'_>) + Send + Sync + 'static) -> Self {
        self.cpu = Some(CpuCode::Group(Arc::new(code)));
        self
    }

    /// Adds a Rust function that is called once for every worker with its share of the groups and works on pointers.
    #[must_use]
    pub fn cpu_shares(mut self, code: impl Fn(&Share<'_>) + Send + Sync + 'static) -> Self {
        self.cpu = Some(CpuCode::Share(Arc::new(code)));
        self
    }

    /// Adds code for another device.
    #[must_use]
    pub fn image(
        mut self,
        format: ImageFormat,
        bytes: impl Into<Arc<[u8]>>,
        entry: impl Into<String>,
    ) -> Self {
        self.images.push(Image { format, bytes: bytes.into(), entry: entry.into() });
        self
    }

    /// The name it is known by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for KernelDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelDef")
            .field("name", &self.name)
            .field("signature", &self.signature)
            .field("cpu", &self.cpu.is_some())
            .field("images", &self.images.len())
            .finish()
    }
}
