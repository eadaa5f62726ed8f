//! cubecl's memory management on a storage that only counts bytes, so that its bookkeeping alone is timed.
//!
//! Next room: `device_pool`, which plays it.

use std::sync::Arc;

use cubecl_ir::MemoryDeviceProperties;
use cubecl_server::{
    logging::ServerLogger,
    memory_management::{
        ErrorGraph, ManagedMemoryHandle, MemoryConfiguration, MemoryManagement, MemoryManagementOptions,
        PageUpdate,
    },
    server::IoError,
    storage::{ComputeStorage, StorageHandle, StorageId, StorageUtilization},
};

/// A buffer of it.
pub type Held = ManagedMemoryHandle;

/// The largest page, as in cubecl's own benchmark of its pools.
const LARGEST_PAGE: u64 = 2 << 30;

/// Hands out numbers with nothing behind them.
#[derive(Default)]
struct Counted {
    pages: std::collections::HashMap<StorageId, u64>,
    bytes: u64,
}

impl ComputeStorage for Counted {
    type Resource = ();

    fn alignment(&self) -> usize {
        256
    }

    fn get(&mut self, _: &StorageHandle) -> Result<(), IoError> {
        Ok(())
    }

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        let id = StorageId::new();
        self.bytes += size;
        self.pages.insert(id, size);
        Ok(StorageHandle { id, utilization: StorageUtilization { offset: 0, size } })
    }

    fn dealloc(&mut self, id: StorageId) {
        self.bytes -= self.pages.remove(&id).unwrap_or(0);
    }

    fn flush(&mut self) {}

    fn bytes_allocated(&self) -> u64 {
        self.bytes
    }
}

pub struct Cubecl {
    memory: MemoryManagement<Counted>,
    failures: ErrorGraph,
}

impl Cubecl {
    pub fn adaptive() -> Self {
        Self::with(MemoryConfiguration::Adaptive)
    }

    pub fn exclusive() -> Self {
        Self::with(MemoryConfiguration::ExclusivePages)
    }

    fn with(configuration: MemoryConfiguration) -> Self {
        let memory = MemoryManagement::from_configuration(
            Counted::default(),
            &MemoryDeviceProperties::new(LARGEST_PAGE, 256),
            configuration,
            Arc::new(ServerLogger::default()),
            MemoryManagementOptions::new("peers"),
        );
        Self { memory, failures: ErrorGraph::default() }
    }

    pub fn reserve(&mut self, bytes: u64) -> Option<Held> {
        self.memory.reserve(bytes, PageUpdate::Allow, &mut self.failures).ok()
    }
}
