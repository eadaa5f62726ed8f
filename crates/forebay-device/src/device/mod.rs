//! The public device: opens a backend, and is where pools, queues, sessions and kernels come from.
//!
//! A `Device` is a counted handle. Whatever was made from it keeps working when it is dropped; the backend is closed
//! with the last of them, after what was submitted is done.

mod adopt;
mod kernel;
mod residency;

pub use self::{kernel::Kernel, residency::Residency};

use std::{collections::HashMap, fmt};

#[cfg(feature = "cuda")]
use crate::backend::cuda::device::CudaDevice;
#[cfg(any(target_os = "macos", metal_emulated))]
use crate::backend::metal::device::MetalDevice;
use crate::{
    Buffer, Pool, PoolOptions, Queue, QueueKind, Request, Session, Signature, Trace, TraceOptions,
    backend::{
        Backend,
        cpu::device::CpuDevice,
        null::{
            control::NullControl,
            device::{NullDevice, NullOptions},
        },
    },
    caps::{BackendKind, Caps},
    command::{profile::KernelNames, queue::Queues},
    error::{Error, Result},
    kernel::KernelDef,
    launch::MAX_ARGUMENTS,
    memory::home::Home,
    sync::{Arc, Mutex, lock},
};

/// Which device to open, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceOptions {
    /// The family.
    pub backend: BackendKind,
    /// Which one of the family, from 0 on.
    pub ordinal: usize,
    /// Workers of the CPU; one for each physical core if not given.
    pub threads: Option<usize>,
    /// The most that all pools together take from the driver.
    pub memory_limit: u64,
    /// Keep a residency set.
    pub residency: bool,
    /// Lock what is in the residency set into memory, where the device is the CPU.
    pub lock_memory: bool,
    /// The device's own pool.
    pub pool: PoolOptions,
    /// Keep a trace.
    pub trace: Option<TraceOptions>,
}

impl DeviceOptions {
    /// A device of a family, with defaults.
    pub fn new(backend: BackendKind) -> Self {
        Self {
            backend,
            ordinal: 0,
            threads: None,
            memory_limit: u64::MAX,
            residency: true,
            lock_memory: false,
            pool: PoolOptions::default(),
            trace: None,
        }
    }

    /// The CPU.
    pub fn cpu() -> Self {
        Self::new(BackendKind::Cpu)
    }

    /// The first NVIDIA card.
    pub fn cuda() -> Self {
        Self::new(BackendKind::Cuda)
    }

    /// The GPU of a Mac.
    pub fn metal() -> Self {
        Self::new(BackendKind::Metal)
    }

    /// The device without kernels.
    pub fn null() -> Self {
        Self::new(BackendKind::Null)
    }

    /// Which one of the family, from 0 on.
    #[must_use]
    pub fn ordinal(mut self, ordinal: usize) -> Self {
        self.ordinal = ordinal;
        self
    }

    /// Workers of the CPU.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The most that all pools together take from the driver.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Whether a residency set is kept.
    #[must_use]
    pub fn residency(mut self, on: bool) -> Self {
        self.residency = on;
        self
    }

    /// Whether members of the residency set are locked into memory. The system limits how much that may be.
    #[must_use]
    pub fn lock_memory(mut self, on: bool) -> Self {
        self.lock_memory = on;
        self
    }

    /// Options of the device's own pool.
    #[must_use]
    pub fn pool(mut self, options: PoolOptions) -> Self {
        self.pool = options;
        self
    }

    /// Keeps a trace of memory and submissions.
    #[must_use]
    pub fn trace(mut self, options: TraceOptions) -> Self {
        self.trace = Some(options);
        self
    }
}

/// A device: where bytes live and work runs.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// println!("{} with {} workers", device.caps().name, device.caps().workers);
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
}

struct Shared {
    queues: Queues,
    kernels: Mutex<HashMap<Arc<str>, Kernel>>,
    names: Arc<KernelNames>,
    signatures: Mutex<Vec<Arc<Signature>>>,
    pool: Pool,
    home: Arc<Home>,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// `Unavailable` if this machine or build has none of that kind; `Option` if an option has a value that cannot be;
    /// `Io` if a trace is wanted that cannot be written.
    pub fn open(options: &DeviceOptions) -> Result<Self> {
        let backend: Box<dyn Backend> = match options.backend {
            BackendKind::Cpu => Box::new(CpuDevice::open(options.threads, options.lock_memory)?),
            BackendKind::Null => Box::new(NullDevice::open(&NullOptions::default())?.0),
            #[cfg(feature = "cuda")]
            BackendKind::Cuda => Box::new(CudaDevice::open(options.ordinal)?),
            #[cfg(not(feature = "cuda"))]
            BackendKind::Cuda => {
                let why =
                    "this build has no CUDA backend; build with the feature `cuda`, or use the cpu device"
                        .into();
                return Err(Error::Unavailable { backend: "cuda", why });
            }
            #[cfg(any(target_os = "macos", metal_emulated))]
            BackendKind::Metal => Box::new(MetalDevice::open()?),
            #[cfg(not(any(target_os = "macos", metal_emulated)))]
            BackendKind::Metal => {
                let why = "Metal is there on macOS only; use the cpu device".into();
                return Err(Error::Unavailable { backend: "metal", why });
            }
        };
        if options.ordinal > 0 && options.backend != BackendKind::Cuda {
            let why = format!("there is no number {}; the only one is 0", options.ordinal);
            return Err(Error::Unavailable { backend: options.backend.name(), why });
        }
        Self::with(backend, options)
    }

    fn with(backend: Box<dyn Backend>, options: &DeviceOptions) -> Result<Self> {
        let home =
            Arc::new(Home::new(backend, options.memory_limit, options.residency, options.trace.as_ref())?);
        let pool = Pool::at(home.clone(), options.pool.clone())?;
        let shared = Shared {
            queues: Queues::default(),
            kernels: Mutex::new(HashMap::new()),
            names: Arc::default(),
            signatures: Mutex::new(Vec::new()),
            pool,
            home,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the device is and can do.
    pub fn caps(&self) -> &Caps {
        self.shared.home.caps()
    }

    /// The family.
    pub fn kind(&self) -> BackendKind {
        self.caps().backend
    }

    /// The device's own pool.
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// A buffer from the device's own pool.
    ///
    /// # Errors
    /// As [`Pool::alloc`].
    pub fn alloc(&self, request: impl Into<Request>) -> Result<Buffer> {
        self.shared.pool.alloc(request)
    }

    /// A buffer with these elements.
    ///
    /// # Errors
    /// As [`Pool::alloc`].
    pub fn upload<T: bytemuck::Pod>(&self, elements: &[T]) -> Result<Buffer> {
        let buffer = self.alloc(Request::elements::<T>(elements.len()))?;
        buffer.copy_from(elements)?;
        Ok(buffer)
    }

    /// The first queue of a kind.
    ///
    /// # Errors
    /// What the driver says.
    pub fn queue(&self, kind: QueueKind) -> Result<Queue> {
        self.shared.queues.first(self.home(), kind)
    }

    /// One more queue of a kind.
    ///
    /// # Errors
    /// `Option` if there are too many, or what the driver says.
    pub fn open_queue(&self, kind: QueueKind) -> Result<Queue> {
        self.shared.queues.another(self.home(), kind)
    }

    /// A session on the first compute queue.
    ///
    /// # Errors
    /// What the driver says.
    pub fn session(&self) -> Result<Session> {
        self.session_on(self.queue(QueueKind::Compute)?)
    }

    /// A session on a queue of this device.
    ///
    /// # Errors
    /// `ForeignDevice` if the queue belongs to another device.
    pub fn session_on(&self, queue: Queue) -> Result<Session> {
        if !self.shared.queues.has(queue) {
            let theirs = "that the queue was opened on".to_owned();
            return Err(Error::ForeignDevice { what: "queue", theirs, ours: self.home().name() });
        }
        Ok(Session::new(self.clone(), queue))
    }

    /// Loads a kernel, or finds it if one of its name was loaded before. A card's driver may let that wait for work under
    /// way: load before the work begins.
    ///
    /// # Errors
    /// `Module` if it has no code for this device, takes more arguments than a launch has, or its code is refused.
    pub fn load(&self, def: &KernelDef) -> Result<Kernel> {
        let mut kernels = lock(&self.shared.kernels);
        if let Some(kernel) = kernels.get(&def.name) {
            if *kernel.signature() != *def.signature {
                let detail = "another kernel of this name, with another signature, is loaded".into();
                return Err(Error::Module { name: def.name.to_string(), detail });
            }
            return Ok(kernel.clone());
        }
        let asked = def.signature.params().len();
        if asked > MAX_ARGUMENTS {
            let detail = format!("it takes {asked} arguments, and a launch has at most {MAX_ARGUMENTS}");
            return Err(Error::Module { name: def.name.to_string(), detail });
        }
        let id = self.home().backend.kernel_load(def)?;
        let kernel = Kernel::new(def, id, self.home().clone());
        self.shared.names.set(id, def.name.clone());
        let mut signatures = lock(&self.shared.signatures);
        let len = signatures.len().max(id as usize + 1);
        signatures.resize(len, def.signature.clone());
        signatures[id as usize] = def.signature.clone();
        kernels.insert(def.name.clone(), kernel.clone());
        Ok(kernel)
    }

    /// A kernel that was loaded.
    ///
    /// # Errors
    /// `UnknownKernel` with the names that look like it.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let kernels = lock(&self.shared.kernels);
        kernels.get(name).cloned().ok_or_else(|| {
            let mut near: Vec<_> =
                kernels.keys().map(|known| (kernel::distance(known, name), known.to_string())).collect();
            near.sort();
            near.retain(|(distance, _)| *distance <= name.len().div_ceil(2).max(2));
            let near = near.into_iter().take(3).map(|(_, name)| name).collect();
            Error::UnknownKernel { name: name.to_owned(), near }
        })
    }

    /// The trace, if the device was opened with one.
    pub fn trace(&self) -> Option<Trace> {
        self.home().trace.handle()
    }

    /// The residency set.
    pub fn residency(&self) -> Residency<'_> {
        Residency { device: self }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.shared.home
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.shared.queues
    }

    pub(crate) fn kernel_names(&self) -> &Arc<KernelNames> {
        &self.shared.names
    }

    pub(crate) fn signature(&self, kernel: u32) -> Option<Arc<Signature>> {
        lock(&self.shared.signatures).get(kernel as usize).cloned()
    }
}

impl Pool {
    /// A pool of the device's memory.
    ///
    /// # Errors
    /// `Option` if an option has a value that cannot be.
    pub fn new(device: &Device, options: PoolOptions) -> Result<Self> {
        Self::at(device.home().clone(), options)
    }
}

impl NullOptions {
    /// Opens a null device and what a test steers it with.
    ///
    /// # Errors
    /// `Option` if an option has a value that cannot be.
    pub fn open(&self, options: &DeviceOptions) -> Result<(Device, NullControl)> {
        let (backend, control) = NullDevice::open(self)?;
        Ok((Device::with(Box::new(backend), options)?, control))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.home().name()).finish_non_exhaustive()
    }
}
