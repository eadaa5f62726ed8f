#![allow(unsafe_code, reason = "a framework is linked")]
//! Opens the GPU of a Mac, and carries out the backend contract on it.

use std::{ops::Range, sync::Arc};

use objc2::rc::autoreleasepool;
use objc2_metal::{MTLCreateSystemDefaultDevice, MTLDevice, MTLGPUFamily};

use super::{Object, graph::KeptList, memory::Regions, module::Kernels, probe, queue::Line};
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

// A program without windows is shown the system's device only when this framework is linked.
// SAFETY: O1: nothing of it is declared or called.
#[cfg(target_os = "macos")]
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}

/// A GPU.
#[derive(Debug)]
pub(crate) struct MetalDevice {
    caps: Caps,
    raw: Object<dyn MTLDevice>,
    shared: Arc<Shared>,
}

/// What the device shares with the completion handlers of its queues.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) timeline: Timeline,
    pub(super) recycler: Recycler,
    pub(super) kernels: Arc<Kernels>,
    pub(super) regions: Regions,
    lines: Mutex<Vec<Arc<Line>>>,
}

impl Shared {
    pub(super) fn line(&self, queue: QueueId) -> Arc<Line> {
        lock(&self.lines)[queue as usize].clone()
    }

    /// Tells what is over on all queues. What ends on one may be what another one's result hangs on.
    pub(super) fn settle(self: &Arc<Self>) {
        let lines = lock(&self.lines).clone();
        while lines.iter().fold(false, |moved, line| line.settle(self) | moved) {}
    }
}

impl MetalDevice {
    /// Opens the system's GPU, after it has shown that it works.
    pub(crate) fn open() -> Result<Self> {
        autoreleasepool(|_| {
            let unavailable = |why: &str| Error::Unavailable { backend: "metal", why: why.into() };
            let raw = MTLCreateSystemDefaultDevice()
                .ok_or_else(|| unavailable("the system shows no Metal device; use the cpu device"))?;
            let name = raw.name();
            if !raw.hasUnifiedMemory() || !raw.supportsFamily(MTLGPUFamily::Apple7) {
                let why = format!("{name} is no Apple GPU of the M1 or later; use the cpu device");
                return Err(unavailable(&why));
            }
            // O4: asked for by what the GPU can do with it, which macOS 13 is the first to know of.
            if !raw.supportsFamily(MTLGPUFamily::Metal3) {
                let why =
                    format!("{name} can be used from macOS 13 on; update the system, or use the cpu device");
                return Err(unavailable(&why));
            }
            let kernels = Arc::new(Kernels::new(&raw)?);
            // A device of its own, so that the one that is opened has no past.
            probe::run(&Self::with(raw.clone(), kernels.clone())?)?;
            Self::with(raw, kernels)
        })
    }

    fn with(raw: Object<dyn MTLDevice>, kernels: Arc<Kernels>) -> Result<Self> {
        let caps = Caps {
            backend: BackendKind::Metal,
            name: raw.name().to_string(),
            memory: raw.recommendedMaxWorkingSetSize(),
            unified: true,
            page: 0,
            max_buffer: raw.maxBufferLength() as u64,
            workers: 1,
            concurrent_queues: true,
            architecture: 0,
        };
        let shared = Shared {
            timeline: Timeline::default(),
            recycler: Recycler::default(),
            kernels,
            regions: Regions::new(&raw)?,
            lines: Mutex::default(),
        };
        Ok(Self { caps, raw, shared: Arc::new(shared) })
    }
}

impl Backend for MetalDevice {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn region_reserve(&self, _kind: MemoryKind, bytes: u64) -> Result<Region> {
        autoreleasepool(|_| self.shared.regions.reserve(bytes))
    }

    fn region_map(&self, _region: RegionId, _range: Range<u64>) -> Result<()> {
        Err(Error::Unsupported { what: "map memory page by page", backend: "metal" })
    }

    fn region_unmap(&self, _region: RegionId, _range: Range<u64>) -> Result<()> {
        Err(Error::Unsupported { what: "map memory page by page", backend: "metal" })
    }

    fn region_release(&self, region: RegionId) -> Result<()> {
        autoreleasepool(|_| self.shared.regions.release(region))
    }

    fn region_import(&self, _address: u64, host: usize, bytes: u64) -> Result<Region> {
        autoreleasepool(|_| self.shared.regions.import(host, bytes))
    }

    fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()> {
        self.shared.regions.read(region, offset, to)
    }

    fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()> {
        self.shared.regions.write(region, offset, from)
    }

    fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()> {
        self.shared.regions.fill(region, offset, bytes, byte)
    }

    fn residency(&self, changes: &[ResidencyChange]) -> Result<()> {
        autoreleasepool(|_| self.shared.regions.residency(changes));
        Ok(())
    }

    fn queue_open(&self, _kind: QueueKind) -> Result<QueueId> {
        autoreleasepool(|_| {
            let mut lines = lock(&self.shared.lines);
            if lines.len() == MAX_QUEUES {
                return Err(Error::Option { name: "queues", wanted: format!("at most {MAX_QUEUES}") });
            }
            let id = lines.len() as QueueId;
            lines.push(Arc::new(Line::open(&self.shared, &self.raw, id)?));
            Ok(id)
        })
    }

    fn submit(&self, submission: Submission) -> std::result::Result<(), (Error, Box<Submission>)> {
        autoreleasepool(|_| self.shared.line(submission.queue).submit(&self.shared, submission))
    }

    fn timeline(&self) -> &Timeline {
        &self.shared.timeline
    }

    fn recycle(&self) -> CommandList {
        self.shared.recycler.take()
    }

    fn kernel_load(&self, def: &KernelDef) -> Result<KernelId> {
        autoreleasepool(|_| self.shared.kernels.load(def))
    }

    fn graph(&self, list: CommandList) -> Result<Arc<dyn Graph>> {
        Ok(Arc::new(KeptList(list)))
    }

    fn close(&self) {
        let lines = lock(&self.shared.lines).clone();
        lines.iter().for_each(|line| line.drain(&self.shared));
    }
}

impl Drop for MetalDevice {
    /// Objects that go may leave others to the pool.
    fn drop(&mut self) {
        autoreleasepool(|_| std::mem::take(&mut *lock(&self.shared.lines)));
    }
}
