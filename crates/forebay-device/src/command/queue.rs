//! The queues of a device: opened when first asked for, and the next tick of each.

use crate::{
    backend::MAX_QUEUES,
    caps::QueueKind,
    error::Result,
    memory::home::Home,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// A queue of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    pub(crate) id: u32,
    pub(crate) kind: QueueKind,
    /// Tells the queues of one device from those of another. Never followed.
    home: usize,
}

impl Queue {
    /// The number of the queue, as requests and traces name it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it is for.
    pub fn kind(&self) -> QueueKind {
        self.kind
    }
}

/// All queues of a device.
#[derive(Debug)]
pub(crate) struct Queues {
    open: Mutex<Vec<Queue>>,
    ticks: [AtomicU64; MAX_QUEUES],
}

impl Default for Queues {
    fn default() -> Self {
        Self { open: Mutex::new(Vec::new()), ticks: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Queues {
    /// The first queue of a kind, opened if there is none yet.
    pub(crate) fn first(&self, home: &Home, kind: QueueKind) -> Result<Queue> {
        let mut open = lock(&self.open);
        match open.iter().find(|queue| queue.kind == kind) {
            Some(queue) => Ok(*queue),
            None => Self::push(&mut open, home, kind),
        }
    }

    /// One more queue.
    pub(crate) fn another(&self, home: &Home, kind: QueueKind) -> Result<Queue> {
        Self::push(&mut lock(&self.open), home, kind)
    }

    fn push(open: &mut Vec<Queue>, home: &Home, kind: QueueKind) -> Result<Queue> {
        let queue = Queue { id: home.backend.queue_open(kind)?, kind, home: std::ptr::from_ref(home).addr() };
        open.push(queue);
        Ok(queue)
    }

    /// Whether a queue is one of these.
    pub(crate) fn has(&self, queue: Queue) -> bool {
        lock(&self.open).contains(&queue)
    }

    /// The tick that the next submission gets. Called, and made to count, under the access lock.
    pub(crate) fn next_tick(&self, queue: u32) -> u64 {
        self.ticks[queue as usize].load(Ordering::Relaxed) + 1
    }

    pub(crate) fn take_tick(&self, queue: u32, tick: u64) {
        self.ticks[queue as usize].store(tick, Ordering::Relaxed);
    }
}
