//! What a test may change in the software device, and ask of it. All of it concerns the whole process.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

/// How a command buffer ends that a test wants to end badly. The numbers are the framework's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It touched memory that is not there.
    PageFault = 3,
    /// There was no memory to run it.
    OutOfMemory = 8,
    /// The device is gone.
    DeviceRemoved = 11,
}

static MACOS: AtomicU32 = AtomicU32::new(15);
static WITHOUT_POOL: AtomicUsize = AtomicUsize::new(0);
static REFUSE_BUFFERS: AtomicBool = AtomicBool::new(false);
static LIVE: Mutex<BTreeMap<&CStr, isize>> = Mutex::new(BTreeMap::new());
static ENDINGS: Mutex<Vec<(u32, Ending)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Plays an older system: what came later is not there.
pub fn set_macos(version: u32) {
    MACOS.store(version, Ordering::SeqCst);
}

/// Objects that are alive, by class. Classes without any are left out.
pub fn live() -> Vec<(String, isize)> {
    let live = lock(&LIVE);
    let alive = live.iter().filter(|(_, count)| **count != 0);
    alive.map(|(class, count)| (class.to_string_lossy().into_owned(), *count)).collect()
}

/// How often something was autoreleased where there was no pool.
pub fn autoreleased_without_pool() -> usize {
    WITHOUT_POOL.load(Ordering::SeqCst)
}

/// Ends the command buffer that is committed after so many others, in a bad way: nothing of it runs, and it signals nothing.
pub fn end_next(after: u32, ending: Ending) {
    lock(&ENDINGS).push((after, ending));
}

/// Whether the device has no memory for buffers.
pub fn refuse_buffers(refuse: bool) {
    REFUSE_BUFFERS.store(refuse, Ordering::SeqCst);
}

pub(crate) fn macos() -> u32 {
    MACOS.load(Ordering::SeqCst)
}

pub(crate) fn count(class: &'static CStr, step: isize) {
    *lock(&LIVE).entry(class).or_default() += step;
}

pub(crate) fn note_without_pool() {
    WITHOUT_POOL.fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn refuses_buffers() -> bool {
    REFUSE_BUFFERS.load(Ordering::SeqCst)
}

/// How the command buffer ends that is committed now, if a test has a say in it.
pub(crate) fn ending() -> Option<Ending> {
    let mut endings = lock(&ENDINGS);
    let due = endings.iter().position(|(after, _)| *after == 0).map(|at| endings.remove(at).1);
    endings.iter_mut().for_each(|(after, _)| *after -= 1);
    due
}
