//! A kernel as its author defines it: a name, a signature, and code for one or more kinds of device.
//!
//! A [`KernelDef`] is plain data that any device can be asked to load; the device takes the code that suits it.
//! Safe Rust kernels get slices that cannot alias: `launch::check` refuses overlaps before they are recorded, and
//! `backend::cpu::module` splits written buffers between groups.

use std::{fmt, sync::Arc};

use crate::{
    backend::cpu::module::{Group, Share},
    caps::{BackendKind, Caps},
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

/// Code for a device that is not the host.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the backends of this build load no images"))]
pub(crate) struct Image {
    pub(crate) format: ImageFormat,
    /// What it was made for, such as 90 for sm_90; 0 where that is not known.
    pub(crate) architecture: u32,
    /// The function in it.
    pub(crate) entry: String,
    pub(crate) code: Code,
}

/// The bytes of an image.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the backends of this build load no images"))]
pub(crate) enum Code {
    Plain(Arc<[u8]>),
    /// Compressed, and how many bytes it is when it is not.
    #[cfg(feature = "cuda")]
    Packed(&'static [u8], usize),
}

/// Images of one source, packed by `cargo xtask kernels`, and the function in them.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the backends of this build load no images"))]
pub(crate) struct Bundle {
    pub(crate) bytes: &'static [u8],
    pub(crate) entry: &'static str,
}

/// What the bytes of an image are.
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
    pub(crate) bundles: Vec<Bundle>,
    /// Whether its code for cards waits by itself for what is before it.
    pub(crate) waits: bool,
}

impl KernelDef {
    /// A kernel without code yet.
    pub fn new(name: impl Into<Arc<str>>, signature: Signature) -> Self {
        Self {
            name: name.into(),
            signature: Arc::new(signature),
            cpu: None,
            images: Vec::new(),
            bundles: Vec::new(),
            waits: false,
        }
    }

    /// The same kernel under another name.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Adds a Rust function, called once for every group of the grid.
    ///
    /// Where a written parameter has no [`per_group`](crate::Param::per_group) and no
    /// [`per_group_of`](crate::Param::per_group_of), the groups of a launch run one after another on one worker, because
    /// each of them may write all of it.
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

    /// Adds code for another device, and the name of the function in it.
    ///
    /// A CUDA kernel gets the arguments in the order of the signature and nothing in between: for a buffer the address
    /// of its first byte (null if it is empty), for a scalar the scalar.
    /// [`per_group`](crate::Param::per_group) changes nothing there: every group sees whole buffers.
    ///
    /// A Metal kernel gets argument n as `[[buffer(n)]]`: a buffer as a pointer to its first byte, a scalar as a `constant`
    /// reference; the [shared bytes](crate::Grid::shared_bytes) of the grid are `[[threadgroup(0)]]`. Maths is compiled safe.
    #[must_use]
    pub fn image(self, format: ImageFormat, bytes: impl Into<Arc<[u8]>>, entry: impl Into<String>) -> Self {
        self.image_for(format, 0, bytes, entry)
    }

    /// As [`image`](Self::image), for code that was made for one architecture, such as 90 for sm_90. Of several images a
    /// card takes the one that suits it best.
    #[must_use]
    pub fn image_for(
        mut self,
        format: ImageFormat,
        architecture: u32,
        bytes: impl Into<Arc<[u8]>>,
        entry: impl Into<String>,
    ) -> Self {
        let code = Code::Plain(bytes.into());
        self.images.push(Image { format, architecture, entry: entry.into(), code });
        self
    }

    /// Adds the images of one source for several architectures, as `cargo xtask kernels` packs them, and the name of the
    /// function in them. What is packed is looked at only by a device that loads it.
    #[must_use]
    pub fn bundle(mut self, bytes: &'static [u8], entry: &'static str) -> Self {
        self.bundles.push(Bundle { bytes, entry });
        self
    }

    /// Says that the code for cards waits by itself (`griddepcontrol.wait`) before it touches memory, in every thread, so that a
    /// card that can may start it while the launch before it ends.
    #[must_use]
    pub fn waits_by_itself(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Whether it has code for devices of this family.
    pub fn has_code_for(&self, kind: BackendKind) -> bool {
        let of = |formats: &[ImageFormat]| self.images.iter().any(|image| formats.contains(&image.format));
        match kind {
            BackendKind::Null => true,
            BackendKind::Cpu => self.cpu.is_some(),
            BackendKind::Cuda => !self.bundles.is_empty() || of(&[ImageFormat::Ptx, ImageFormat::Cubin]),
            BackendKind::Metal => of(&[ImageFormat::Msl]),
        }
    }

    /// Which of its images such a device takes first, in words, as `cubin for sm_90`. None where it takes none, or where this
    /// build has no backend that does.
    pub fn image_on(&self, caps: &Caps) -> Option<String> {
        match caps.backend {
            #[cfg(feature = "cuda")]
            BackendKind::Cuda => crate::backend::cuda::module::image_on(self, caps.architecture),
            _ => None,
        }
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
            .field("images", &(self.images.len() + self.bundles.len()))
            .finish()
    }
}
