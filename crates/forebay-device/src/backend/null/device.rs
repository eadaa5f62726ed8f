//! Opens a null device, and carries out the backend contract on it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{
    control::{NullCall, NullControl, SubmissionRecord},
    graph::KeptList,
    memory::Capacity,
    module::Names,
    queue::{self, Line},
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
    sync::{Mutex, MutexGuard, lock},
};

/// What a null device pretends to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NullOptions {
    /// Bytes of memory it has.
    pub memory: u64,
    /// The unit of mapping; 0 makes regions come with their memory, as on Metal.
    pub page: u64,
    /// Real bytes are behind the addresses. Without, only sizes are counted.
    pub backed: bool,
}

impl Default for NullOptions {
    fn default() -> Self {
        Self { memory: 64 << 30, page: 2 << 20, backed: true }
    }
}

impl NullOptions {
    /// A device of so many bytes.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Maps in pages of so many bytes, a power of two of at least 64 KiB; 0 maps regions as wholes.
    #[must_use]
    pub fn page(mut self, bytes: u64) -> Self {
        self.page = bytes;
        self
    }

    /// Whether real bytes are behind the addresses.
    #[must_use]
    pub fn backed(mut self, backed: bool) -> Self {
        self.backed = backed;
        self
    }
}

/// What device and control share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) timeline: Timeline,
    pub(crate) memory: Capacity,
    pub(crate) names: Names,
    pub(crate) recycler: Recycler,
    pub(crate) lines: Mutex<Vec<Line>>,
    pub(crate) faults: Mutex<Vec<(NullCall, u64, Error)>>,
    pub(crate) counts: Mutex<HashMap<NullCall, u64>>,
    pub(crate) log: Mutex<Vec<SubmissionRecord>>,
}

impl Shared {
    /// Counts a call, and fails it if a test wants that.
    fn enter(&self, call: NullCall) -> Result<()> {
        *lock(&self.counts).entry(call).or_default() += 1;
        let mut faults = lock(&self.faults);
        let mut due = None;
        faults.retain_mut(|(kind, left, error)| {
            if *kind != call {
                return true;
            }
            *left -= 1;
            if *left == 0 {
                due.get_or_insert_with(|| error.clone());
            }
            *left > 0
        });
        match due {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(crate) fn ensure_line(&self, lines: &mut MutexGuard<'_, Vec<Line>>, queue: QueueId) {
        while lines.len() <= queue as usize {
            lines.push(Line::default());
        }
    }
}

/// The null device.
#[derive(Debug)]
pub(crate) struct NullDevice {
    caps: Caps,
    shared: Arc<Shared>,
    opened: Mutex<u32>,
}

impl NullDevice {
    pub(crate) fn open(options: &NullOptions) -> Result<(Self, NullControl)> {
        if options.page != 0 && (!options.page.is_power_of_two() || options.page < 64 << 10) {
            return Err(Error::Option {
                name: "page",
                wanted: "0 or a power of two of at least 65536".into(),
            });
        }
        let caps = Caps {
            backend: BackendKind::Null,
            name: "null".into(),
            memory: options.memory,
            unified: options.backed,
            page: options.page,
            max_buffer: options.memory,
            workers: 1,
            concurrent_queues: true,
            architecture: 0,
        };
        let shared = Arc::new(Shared {
            timeline: Timeline::default(),
            memory: Capacity::new(options.memory, options.page, options.backed),
            names: Names::default(),
            recycler: Recycler::default(),
            lines: Mutex::new(Vec::new()),
            faults: Mutex::new(Vec::new()),
            counts: Mutex::new(HashMap::new()),
            log: Mutex::new(Vec::new()),
        });
        let control = NullControl { shared: shared.clone() };
        Ok((Self { caps, shared, opened: Mutex::new(0) }, control))
    }
}

impl Backend for NullDevice {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn region_reserve(&self, _kind: MemoryKind, bytes: u64) -> Result<Region> {
        self.shared.enter(NullCall::RegionReserve)?;
        self.shared.memory.reserve(bytes)
    }

    fn region_map(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.shared.enter(NullCall::RegionMap)?;
        self.shared.memory.map(region, range)
    }

    fn region_unmap(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        self.shared.enter(NullCall::RegionUnmap)?;
        self.shared.memory.unmap(region, range)
    }

    fn region_release(&self, region: RegionId) -> Result<()> {
        self.shared.enter(NullCall::RegionRelease)?;
        self.shared.memory.release(region)
    }

    fn region_import(&self, address: u64, host: usize, bytes: u64) -> Result<Region> {
        self.shared.enter(NullCall::RegionImport)?;
        Ok(self.shared.memory.import(address, host, bytes))
    }

    fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()> {
        self.shared.enter(NullCall::Read)?;
        self.shared.memory.backing()?.read(region, offset, to)
    }

    fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()> {
        self.shared.enter(NullCall::Write)?;
        self.shared.memory.backing()?.write(region, offset, from)
    }

    fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()> {
        match self.shared.memory.backing() {
            Ok(backing) => backing.fill(region, offset, bytes, byte),
            // Bytes that are only counted need no contents.
            Err(_) => Ok(()),
        }
    }

    fn residency(&self, _changes: &[ResidencyChange]) -> Result<()> {
        self.shared.enter(NullCall::Residency)
    }

    fn queue_open(&self, _kind: QueueKind) -> Result<QueueId> {
        self.shared.enter(NullCall::QueueOpen)?;
        let mut opened = lock(&self.opened);
        if *opened as usize == MAX_QUEUES {
            return Err(Error::Option { name: "queues", wanted: format!("at most {MAX_QUEUES}") });
        }
        self.shared.ensure_line(&mut lock(&self.shared.lines), *opened);
        *opened += 1;
        Ok(*opened - 1)
    }

    fn submit(&self, submission: Submission) -> std::result::Result<(), (Error, Box<Submission>)> {
        let mut lines = lock(&self.shared.lines);
        let entered = self.shared.timeline.lost().map_or(Ok(()), Err);
        if let Err(error) = entered.and_then(|()| self.shared.enter(NullCall::Submit)) {
            return Err((error, Box::new(submission)));
        }
        lock(&self.shared.log).push(queue::record(&self.shared, &submission));
        lines[submission.queue as usize].waiting.push_back(submission);
        queue::settle(&self.shared, &mut lines);
        Ok(())
    }

    fn timeline(&self) -> &Timeline {
        &self.shared.timeline
    }

    fn recycle(&self) -> CommandList {
        self.shared.recycler.take()
    }

    fn kernel_load(&self, def: &KernelDef) -> Result<KernelId> {
        self.shared.enter(NullCall::KernelLoad)?;
        Ok(self.shared.names.load(&def.name))
    }

    fn graph(&self, list: CommandList) -> Result<Arc<dyn Graph>> {
        self.shared.enter(NullCall::Graph)?;
        Ok(Arc::new(KeptList(list)))
    }

    fn close(&self) {
        // What is held completes, as on every backend: nothing may stay behind that somebody waits for.
        let mut lines = lock(&self.shared.lines);
        lines.iter_mut().for_each(|line| line.held = false);
        queue::settle(&self.shared, &mut lines);
    }
}
