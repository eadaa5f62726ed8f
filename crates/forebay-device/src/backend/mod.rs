//! The contract that every backend fulfils, rule by rule, and the one place that opens them.
//!
//! A backend trusts its caller: arguments are checked, ranges are in bounds and mapped, and memory stays until its
//! last use has completed. It owns driver objects and nothing else: which bytes are free, who holds them and what
//! orders what is decided above, in `memory` and `command`.
//!
//! Rules:
//! - B1 A queue runs its submissions in the order of their ticks, and `Timeline::advance` reaches a tick only after
//!   all effects of that submission are visible to the host and to every other queue.
//! - B2 Inside a submission, commands between two barriers may overlap; a barrier separates them wholly.
//! - B3 `submit` does not wait for the device. When it returns an error, nothing was queued and the tick is unused.
//! - B4 A submission whose `after`, or whose wait with `cascade`, failed, fails with the same error and runs nothing.
//! - B5 A failed command fails its submission: the tick still completes, with the error, and the queue goes on.
//! - B6 A lost device completes every tick with `Lost`; no wait hangs.
//! - B7 `region_release` is called when no submitted work uses the region. `close` finishes queued work; afterwards
//!   nothing is submitted.
//! - B8 `residency` is one driver call for any number of changes.
//!
//! Next room: `memory`, which decides what the bytes of a region are used for.

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod host_region;
#[cfg(any(target_os = "macos", metal_emulated))]
pub(crate) mod metal;
pub(crate) mod null;
pub(crate) mod timeline;
pub(crate) mod waits;

use std::{ops::Range, sync::Arc};

use self::{timeline::Timeline, waits::Waits};
use crate::{
    caps::{Caps, MemoryKind, QueueKind},
    error::{Error, Result},
    kernel::KernelDef,
    label::Label,
    launch::{CommandList, KernelId, RegionId},
};

/// A queue of one device, by number.
pub(crate) type QueueId = u32;

/// The most queues one device opens.
pub(crate) const MAX_QUEUES: usize = 16;

/// Address space that a backend gave out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    /// Its first byte as the device sees it.
    pub(crate) address: u64,
    /// Its first byte as the host sees it; 0 when the host does not.
    pub(crate) host: usize,
    pub(crate) bytes: u64,
    /// Memory is behind all of it from the start.
    pub(crate) mapped: bool,
    /// Bytes that were never written read as zero.
    pub(crate) zeroed: bool,
}

/// A wait that the device does before a submission starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceWait {
    pub(crate) queue: QueueId,
    pub(crate) tick: u64,
    /// The submission needs the result, so it fails if that failed; otherwise only the order matters.
    pub(crate) cascade: bool,
}

/// What a submission runs.
#[derive(Debug)]
pub(crate) enum Work {
    /// Runs once; goes back to the recycler when done.
    Once(CommandList),
    /// Prepared by `graph`, runs as often as it is submitted.
    Graph(Arc<dyn Graph>),
}

/// A prepared command list in whatever form suits the backend.
pub(crate) trait Graph: Send + Sync + std::fmt::Debug + std::any::Any {
    /// The list it was made of.
    fn list(&self) -> &CommandList;
}

/// One submission.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) queue: QueueId,
    pub(crate) tick: u64,
    pub(crate) label: Label,
    /// The tick of the same session's last submission: if that failed, this fails too.
    pub(crate) after: Option<u64>,
    pub(crate) waits: Waits,
    pub(crate) work: Work,
    pub(crate) profile: Option<Arc<crate::timing::Timings>>,
}

/// A change of the set of memory that the device keeps at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResidencyChange {
    pub(crate) region: RegionId,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) add: bool,
}

/// What a backend does. See the rules above.
pub(crate) trait Backend: Send + Sync + std::fmt::Debug {
    fn caps(&self) -> &Caps;

    /// Takes address space; memory comes with it unless `caps().page_of(kind)` says that it is mapped
    /// page by page.
    fn region_reserve(&self, kind: MemoryKind, bytes: u64) -> Result<Region>;
    /// Puts memory behind a range of whole pages.
    fn region_map(&self, region: RegionId, range: Range<u64>) -> Result<()>;
    /// Takes memory away from a range of whole pages; its bytes are gone.
    fn region_unmap(&self, region: RegionId, range: Range<u64>) -> Result<()>;
    /// Gives a region back.
    fn region_release(&self, region: RegionId) -> Result<()>;
    /// Makes memory of somebody else known as a region. Nothing is owned by that.
    fn region_import(&self, address: u64, host: usize, bytes: u64) -> Result<Region>;
    /// Copies bytes of a region to the host, when the host does not see them.
    fn read(&self, region: RegionId, offset: u64, to: &mut [u8]) -> Result<()>;
    /// Copies bytes of the host to a region, when the host does not see them.
    fn write(&self, region: RegionId, offset: u64, from: &[u8]) -> Result<()>;
    /// Sets bytes of a region that nothing uses.
    fn fill(&self, region: RegionId, offset: u64, bytes: u64, byte: u8) -> Result<()>;
    /// Tells the driver which memory to keep at hand.
    fn residency(&self, changes: &[ResidencyChange]) -> Result<()>;

    fn queue_open(&self, kind: QueueKind) -> Result<QueueId>;
    /// Queues work. On an error the submission comes back.
    fn submit(&self, submission: Submission) -> std::result::Result<(), (Error, Box<Submission>)>;
    /// Where completion is told and waited for.
    fn timeline(&self) -> &Timeline;
    /// A command list to record into, emptied; used ones come back here.
    fn recycle(&self) -> CommandList;

    fn kernel_load(&self, def: &KernelDef) -> Result<KernelId>;
    fn graph(&self, list: CommandList) -> Result<Arc<dyn Graph>>;

    /// Finishes queued work. Called once, by the last who uses the device.
    fn close(&self);
}
