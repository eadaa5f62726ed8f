//! Opens the CPU as a device, and holds what its queues share.

use std::{ops::Range, sync::Arc};

use super::{graph::KeptList, memory::Regions, module::Kernels, queue, team};
use crate::{
    backend::{
        Backend, Graph, MAX_QUEUES, QueueId, Region, ResidencyChange, Submission, host_region,
        timeline::Timeline,
    },
    caps::{BackendKind, Caps, MemoryKind, QueueKind},
    error::{Error, Result},
    kernel::KernelDef,
    launch::{CommandList, KernelId, RegionId},
    sync::{Arc as SharedArc, Mutex, lock, thread},
};

/// What the threads of all queues share with the device.
pub(crate) struct Shared {
    pub(crate) timeline: Timeline,
    pub(crate) kernels: Kernels,
    pub(crate) recycler: Recycler,
}

/// Command lists that were run, for the next stages.
#[derive(Debug, Default)]
pub(crate) struct Recycler {
    lists: Mutex<Vec<CommandList>>,
}

impl Recycler {
    const KEEP: usize = 16;

    pub(crate) fn give(&self, mut list: CommandList) {
        list.clear();
        let mut lists = lock(&self.lists);
        if lists.len() < Self::KEEP {
            lists.push(list);
        }
    }

    pub(crate) fn take(&self) -> CommandList {
        lock(&self.lists).pop().unwrap_or_default()
    }
}

/// The CPU.
pub(crate) struct CpuDevice {
    caps: Caps,
    workers: usize,
    locks: bool,
    regions: Regions,
    shared: SharedArc<Shared>,
    queues: Mutex<Vec<Lane>>,
}

struct Lane {
    inbox: SharedArc<queue::Inbox>,
    thread: Option<thread::JoinHandle<()>>,
}

impl CpuDevice {
    /// Opens the CPU with so many workers a compute queue; none means one for each physical core.
    /// `locks`: what is a member of the residency set cannot be swapped out.
    pub(crate) fn open(threads: Option<usize>, locks: bool) -> Result<Self> {
        let workers = threads.unwrap_or_else(physical_cores);
        if workers == 0 || workers > 1024 {
            return Err(Error::Option { name: "threads", wanted: "between 1 and 1024".into() });
        }
        let memory = physical_memory();
        let caps = Caps {
            backend: BackendKind::Cpu,
            name: processor_name(),
            memory,
            unified: true,
            page: host_region::PAGE,
            max_buffer: memory,
            workers,
            concurrent_queues: workers > 1,
            architecture: 0,
        };
        let shared = Shared {
            timeline: Timeline::default(),
            kernels: Kernels::default(),
            recycler: Recycler::default(),
        };
        Ok(Self {
            caps,
            workers,
            locks,
            regions: Regions::new(memory),
            shared: SharedArc::new(shared),
            queues: Mutex::new(Vec::new()),
        })
    }
}

impl Backend for CpuDevice {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn region_reserve(&self, _kind: MemoryKind, bytes: u64) -> Result<Region> {
        self.regions.reserve(bytes)
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

    fn region_import(&self, _address: u64, host: usize, bytes: u64) -> Result<Region> {
        Ok(self.regions.import(host, bytes))
    }

    fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()> {
        self.regions.read(region, offset, to)
    }

    fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()> {
        self.regions.write(region, offset, from)
    }

    fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()> {
        self.regions.fill(region, offset, bytes, byte)
    }

    fn residency(&self, changes: &[ResidencyChange]) -> Result<()> {
        // The pages of a mapped file are read now and not in the middle of a step. Anonymous memory is there once it was
        // touched. What the system may swap out is its own decision, unless the program asked for locking.
        changes.iter().try_for_each(|change| self.regions.keep_at_hand(change, self.locks))
    }

    fn queue_open(&self, kind: QueueKind) -> Result<QueueId> {
        let mut queues = lock(&self.queues);
        if queues.len() == MAX_QUEUES {
            return Err(Error::Option { name: "queues", wanted: format!("at most {MAX_QUEUES}") });
        }
        let id = queues.len() as QueueId;
        let inbox = SharedArc::new(queue::Inbox::new());
        let workers = if kind == QueueKind::Compute { self.workers } else { 1 };
        let (shared, own) = (self.shared.clone(), inbox.clone());
        let thread = thread::Builder::new()
            .name(format!("forebay-cpu-{id}.0"))
            .spawn(move || queue::serve(&shared, id, &own, workers))
            .map_err(|error| Error::Driver {
                call: "thread spawn",
                code: error.raw_os_error().unwrap_or(0).into(),
                detail: error.to_string().into(),
            })?;
        queues.push(Lane { inbox, thread: Some(thread) });
        Ok(id)
    }

    fn submit(&self, submission: Submission) -> std::result::Result<(), (Error, Box<Submission>)> {
        if let Some(error) = self.shared.timeline.lost() {
            return Err((error, Box::new(submission)));
        }
        let inbox = lock(&self.queues)[submission.queue as usize].inbox.clone();
        inbox.push(submission);
        Ok(())
    }

    fn timeline(&self) -> &Timeline {
        &self.shared.timeline
    }

    fn recycle(&self) -> CommandList {
        self.shared.recycler.take()
    }

    fn kernel_load(&self, def: &KernelDef) -> Result<KernelId> {
        self.shared.kernels.load(def)
    }

    fn graph(&self, list: CommandList) -> Result<Arc<dyn Graph>> {
        Ok(Arc::new(KeptList(list)))
    }

    fn close(&self) {
        let mut queues = std::mem::take(&mut *lock(&self.queues));
        queues.iter().for_each(|lane| lane.inbox.close());
        if team::is_worker() {
            // A kernel drops the last handle on a device: it cannot wait for itself, and may use the memory still.
            self.regions.abandon();
            return;
        }
        for lane in &mut queues {
            if let Some(thread) = lane.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl std::fmt::Debug for CpuDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuDevice").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Cores that are not the second thread of another core, as far as the system tells and allows.
fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cores = std::collections::HashSet::new();
    for cpu in 0..1024 {
        let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
        match std::fs::read_to_string(format!("{topology}/thread_siblings_list")) {
            Ok(siblings) => _ = cores.insert(siblings),
            Err(_) => break,
        }
    }
    if cores.is_empty() { allowed } else { allowed.min(cores.len()) }
}

/// Memory that this process may fill: all there is, or what its control group allows.
#[cfg(target_os = "linux")]
fn physical_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let all = info.totalram as u64 * u64::from(info.mem_unit.max(1));
    let allowed = |path| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(allowed)
        .fold(all, u64::min)
}

/// Where nobody says how much memory there is, address space is the bound.
#[cfg(not(target_os = "linux"))]
fn physical_memory() -> u64 {
    isize::MAX as u64
}

fn processor_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}
