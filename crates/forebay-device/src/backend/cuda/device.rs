//! Opens a card, and carries out the backend contract on it.

use std::{ops::Range, sync::Arc};

use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::{
    driver::{self, Context},
    fence::Words,
    graph::CudaGraph,
    memory::Regions,
    module::Kernels,
    queue::{self, Stream},
    ranges::Profilers,
    staging::Staging,
};
use crate::{
    backend::{
        Backend, Graph, MAX_QUEUES, QueueId, Region, ResidencyChange, Submission, cpu::device::Recycler,
        timeline::Timeline,
    },
    caps::{BackendKind, Caps, MemoryKind, QueueKind},
    error::{Error, Result},
    kernel::KernelDef,
    launch::{CommandList, KernelId, RegionId},
    sync::{Mutex, lock},
};

/// A card. The fields go in this order: what uses memory before the memory, all before the context.
#[derive(Debug)]
pub(crate) struct CudaDevice {
    caps: Caps,
    pub(crate) timeline: Timeline,
    pub(crate) recycler: Recycler,
    pub(crate) kernels: Mutex<Kernels>,
    pub(super) profilers: Profilers,
    queues: Mutex<Vec<Arc<Stream>>>,
    /// What recordings are captured from.
    capture: Mutex<Stream>,
    staging: Staging,
    regions: Regions,
    pub(crate) words: Arc<Words>,
    pub(crate) context: Arc<Context>,
}

impl CudaDevice {
    /// Opens the card of a number.
    pub(crate) fn open(ordinal: usize) -> Result<Self> {
        let version = driver::load()?;
        let context = Arc::new(Context::open(version, ordinal)?);
        let name = context.name()?;
        if context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS)? == 0 {
            let why = format!("{name} cannot write words from a stream; a Volta card or a newer one can");
            return Err(Error::Unavailable { backend: "cuda", why });
        }
        let major = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let architecture = major * 10 + minor;
        let regions = Regions::new(&context)?;
        let memory = context.memory()?;
        let caps = Caps {
            backend: BackendKind::Cuda,
            name,
            memory,
            unified: false,
            page: regions.page(),
            max_buffer: memory,
            workers: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize,
            concurrent_queues: true,
            architecture,
        };
        let words = Arc::new(Words::new(&context)?);
        Ok(Self {
            caps,
            timeline: Timeline::written_by(words.clone()),
            recycler: Recycler::default(),
            kernels: Mutex::new(Kernels::new(&context, architecture)?),
            profilers: Profilers::look(),
            queues: Mutex::new(Vec::new()),
            capture: Mutex::new(Stream::new(&context)?),
            staging: Staging::new(&context)?,
            regions,
            words,
            context,
        })
    }
}

impl Backend for CudaDevice {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn region_reserve(&self, kind: MemoryKind, bytes: u64) -> Result<Region> {
        self.regions.reserve(kind, bytes)
    }

    fn region_map(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.regions.map(region, range)
    }

    fn region_unmap(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.regions.unmap(region, range)
    }

    fn region_release(&self, region: RegionId) -> Result<()> {
        self.regions.release(region)
    }

    fn region_import(&self, address: u64, host: usize, bytes: u64) -> Result<Region> {
        Ok(self.regions.import(address, host, bytes))
    }

    fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()> {
        self.staging.read(self.regions.place(region, offset)?, to)
    }

    fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()> {
        self.staging.write(self.regions.place(region, offset)?, from)
    }

    fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()> {
        self.staging.fill(self.regions.place(region, offset)?, bytes, byte)
    }

    fn residency(&self, _changes: &[ResidencyChange]) -> Result<()> {
        // What is mapped on the card stays there.
        Ok(())
    }

    fn queue_open(&self, _kind: QueueKind) -> Result<QueueId> {
        let mut queues = lock(&self.queues);
        if queues.len() == MAX_QUEUES {
            return Err(Error::Option { name: "queues", wanted: format!("at most {MAX_QUEUES}") });
        }
        let stream = Arc::new(Stream::new(&self.context)?);
        self.words.watch(&stream);
        queues.push(stream);
        Ok(queues.len() as QueueId - 1)
    }

    fn submit(&self, submission: Submission) -> std::result::Result<(), (Error, Box<Submission>)> {
        let stream = lock(&self.queues)[submission.queue as usize].clone();
        queue::submit(self, &stream, submission)
    }

    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn recycle(&self) -> CommandList {
        self.recycler.take()
    }

    fn kernel_load(&self, def: &KernelDef) -> Result<KernelId> {
        lock(&self.kernels).load(def)
    }

    fn graph(&self, list: CommandList) -> Result<Arc<dyn Graph>> {
        let (stream, kernels) = (lock(&self.capture), lock(&self.kernels));
        Ok(Arc::new(CudaGraph::capture(list, &stream, kernels.functions())?))
    }

    fn close(&self) {
        for stream in lock(&self.queues).iter() {
            // A lost device has nothing left to finish.
            let _ = stream.drain();
        }
    }
}
