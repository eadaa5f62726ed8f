//! How far each queue has come, told by backends and waited for by everybody else.
//!
//! One counter a queue, which only rises; a waiting host spins briefly, then sleeps. Failures are kept by tick, so
//! that every wait for that tick reports the same error. This file knows nothing of memory or of who waits.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{MAX_QUEUES, QueueId};
use crate::{
    error::{Error, Result},
    sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, Ordering, fence, lock, spin_loop},
};

/// How long a waiting host spins before it sleeps.
const SPINS: u32 = if cfg!(loom) { 1 } else { 2_000 };

/// How long a host that reads a device's own words looks at them without a pause, and how long its pauses are then.
const STARES: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_micros(50);
/// Looks from one look at the clock to the next.
const STARE: u32 = 100;
/// How often such a host asks whether the device is still well.
const CHECKS: Duration = Duration::from_millis(1);

/// A device that writes how far it is where the host can read it, so that nobody has to be told.
pub(crate) trait Progress: Send + Sync + std::fmt::Debug {
    /// The last tick of a queue whose work is done.
    fn completed(&self, queue: QueueId) -> u64;
    /// An error if the device will not get any further. Slow: asked now and then by whoever waits.
    fn check(&self) -> Result<()>;
}

/// The progress of all queues of a device.
#[derive(Debug)]
pub(crate) struct Timeline {
    completed: [Counter; MAX_QUEUES],
    /// Where the device writes its progress itself; `advance` is not used then.
    written: Option<Arc<dyn Progress>>,
    sleepers: AtomicU32,
    failed_any: AtomicBool,
    state: Mutex<Failures>,
    woken: Condvar,
}

/// On its own cache line, because the device writes it while hosts of other queues read theirs.
#[derive(Debug)]
#[repr(align(64))]
struct Counter(AtomicU64);

#[derive(Debug, Default)]
struct Failures {
    ticks: HashMap<(QueueId, u64), Error>,
    lost: Option<Error>,
}

/// Ends waits before their time, from another thread.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }
    /// Makes every wait that was given this token return `Cancelled` within a few milliseconds.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
    /// Whether `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// When a wait gives up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: Option<&'a CancelToken>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            completed: std::array::from_fn(|_| Counter(AtomicU64::new(0))),
            written: None,
            sleepers: AtomicU32::new(0),
            failed_any: AtomicBool::new(false),
            state: Mutex::new(Failures::default()),
            woken: Condvar::new(),
        }
    }
}

impl Timeline {
    /// The timeline of a device that writes its progress itself.
    #[cfg(feature = "cuda")]
    pub(crate) fn written_by(progress: Arc<dyn Progress>) -> Self {
        Self { written: Some(progress), ..Self::default() }
    }

    /// The last tick of a queue whose work is done.
    pub(crate) fn completed(&self, queue: QueueId) -> u64 {
        match &self.written {
            None => self.completed[queue as usize].0.load(Ordering::Acquire),
            Some(written) => written.completed(queue),
        }
    }

    /// As `is_done`, for a host that may ask again and again: it also learns of a loss that nobody has noticed.
    pub(crate) fn poll(&self, queue: QueueId, tick: u64) -> bool {
        if let Some(written) = self.written.as_ref().filter(|_| !self.is_done(queue, tick)) {
            self.look_after(written.as_ref());
        }
        self.is_done(queue, tick)
    }

    fn look_after(&self, written: &dyn Progress) {
        if let Err(error) = written.check() {
            self.lose(error);
        }
    }

    /// Whether a tick is done, well or not.
    pub(crate) fn is_done(&self, queue: QueueId, tick: u64) -> bool {
        self.completed(queue) >= tick || self.is_lost()
    }

    /// The error that a finished tick ended with.
    pub(crate) fn outcome(&self, queue: QueueId, tick: u64) -> Result<()> {
        if !self.failed_any.load(Ordering::Acquire) {
            return Ok(());
        }
        let state = lock(&self.state);
        // A tick that failed by itself tells more than the loss that followed it.
        match state.ticks.get(&(queue, tick)) {
            Some(error) => Err(error.clone()),
            None => match &state.lost {
                Some(error) if self.completed(queue) < tick => Err(error.clone()),
                _ => Ok(()),
            },
        }
    }

    /// Told by the backend, before the tick is done, how it will end.
    pub(crate) fn fail(&self, queue: QueueId, tick: u64, error: Error) {
        lock(&self.state).ticks.insert((queue, tick), error);
        self.failed_any.store(true, Ordering::Release);
    }

    /// Told by the backend when a tick is done. Ticks of a queue arrive in order.
    pub(crate) fn advance(&self, queue: QueueId, tick: u64, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.fail(queue, tick, error);
        }
        self.completed[queue as usize].0.store(tick, Ordering::Release);
        self.wake();
    }

    /// Told by the backend when the device is gone: every wait returns this from now on.
    pub(crate) fn lose(&self, error: Error) {
        let mut state = lock(&self.state);
        state.lost.get_or_insert(error);
        // Still under the lock: whoever is woken by the loss also finds that something failed.
        self.failed_any.store(true, Ordering::Release);
        drop(state);
        self.wake();
    }

    /// The error of a lost device.
    pub(crate) fn lost(&self) -> Option<Error> {
        if !self.failed_any.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.state).lost.clone()
    }

    fn is_lost(&self) -> bool {
        self.failed_any.load(Ordering::Acquire) && lock(&self.state).lost.is_some()
    }

    fn wake(&self) {
        // With the fence in `sleep`: either the sleeper sees what was told, or this sees the sleeper.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            drop(lock(&self.state));
            self.woken.notify_all();
        }
    }

    /// Waits until a tick is done and returns how it ended.
    ///
    /// # Errors
    /// The error of the tick, `Lost`, `Timeout` or `Cancelled`.
    pub(crate) fn wait(&self, queue: QueueId, tick: u64, patience: Patience<'_>) -> Result<()> {
        self.wait_done(queue, tick, patience)?;
        self.outcome(queue, tick)
    }

    /// Waits until a tick is done, well or not.
    pub(crate) fn wait_done(&self, queue: QueueId, tick: u64, patience: Patience<'_>) -> Result<()> {
        for _ in 0..SPINS {
            if self.completed(queue) >= tick {
                return Ok(());
            }
            spin_loop();
        }
        self.settle(|| self.completed(queue) >= tick, patience)
    }

    /// Waits until one of these ticks is done, well or not.
    pub(crate) fn wait_any(&self, ticks: &[(QueueId, u64)], patience: Patience<'_>) -> Result<()> {
        self.settle(|| ticks.iter().any(|&(queue, tick)| self.completed(queue) >= tick), patience)
    }

    /// Waits until something is so, or the device is lost.
    fn settle(&self, done: impl Fn() -> bool, patience: Patience<'_>) -> Result<()> {
        match &self.written {
            None => self.sleep(done, patience),
            Some(written) => self.stare(written.as_ref(), done, patience),
        }
    }

    /// Waits for a device that writes its progress itself: looks without a pause first, then now and then.
    #[cold]
    fn stare(&self, written: &dyn Progress, done: impl Fn() -> bool, patience: Patience<'_>) -> Result<()> {
        let start = Instant::now();
        let mut checked = Duration::ZERO;
        loop {
            for _ in 0..STARE {
                if done() {
                    return Ok(());
                }
                spin_loop();
            }
            if self.is_lost() {
                return Ok(());
            }
            if patience.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            let waited = start.elapsed();
            if let Some(timeout) = patience.timeout.filter(|timeout| *timeout <= waited) {
                return Err(Error::Timeout { after: timeout });
            }
            if waited - checked >= CHECKS {
                self.look_after(written);
                checked = waited;
            }
            if waited >= STARES {
                std::thread::sleep(PAUSE);
            }
        }
    }

    #[cold]
    fn sleep(&self, done: impl Fn() -> bool, patience: Patience<'_>) -> Result<()> {
        let start = Instant::now();
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut state = lock(&self.state);
        let result = loop {
            if done() || state.lost.is_some() {
                break Ok(());
            }
            if patience.cancel.is_some_and(CancelToken::is_cancelled) {
                break Err(Error::Cancelled);
            }
            let left = match patience.timeout {
                Some(timeout) => match timeout.checked_sub(start.elapsed()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => break Err(Error::Timeout { after: timeout }),
                },
                None => None,
            };
            state = self.doze(state, left, patience.cancel.is_some());
        };
        drop(state);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Sleeps until woken, the time is up, or it is time to look at the cancel token again.
    #[cfg(not(loom))]
    fn doze<'a>(
        &self,
        state: crate::sync::MutexGuard<'a, Failures>,
        left: Option<Duration>,
        cancellable: bool,
    ) -> crate::sync::MutexGuard<'a, Failures> {
        const LOOK: Duration = Duration::from_millis(2);
        let nap = match (left, cancellable) {
            (Some(left), true) => Some(left.min(LOOK)),
            (None, true) => Some(LOOK),
            (left, false) => left,
        };
        match nap {
            Some(nap) => {
                self.woken.wait_timeout(state, nap).unwrap_or_else(|poisoned| poisoned.into_inner()).0
            }
            None => self.woken.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }

    #[cfg(loom)]
    fn doze<'a>(
        &self,
        state: crate::sync::MutexGuard<'a, Failures>,
        _left: Option<Duration>,
        _cancellable: bool,
    ) -> crate::sync::MutexGuard<'a, Failures> {
        self.woken.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};

    use super::*;

    /// A relaxed write and read show what the timeline alone puts in order.
    struct Told {
        timeline: Timeline,
        bytes: AtomicU32,
    }

    fn told() -> Arc<Told> {
        Arc::new(Told { timeline: Timeline::default(), bytes: AtomicU32::new(0) })
    }

    fn fault() -> Error {
        Error::Driver { call: "launch", code: 7, detail: "broken".into() }
    }

    fn lost() -> Error {
        Error::Lost { reason: "unplugged".into() }
    }

    #[test]
    fn two_hosts_are_woken_and_see_what_the_device_wrote() {
        model(|| {
            let told = told();
            let hosts: Vec<_> = (0..2)
                .map(|_| {
                    let told = told.clone();
                    thread::spawn(move || {
                        told.timeline.wait(3, 1, Patience::default()).unwrap();
                        assert_eq!(told.bytes.load(Ordering::Relaxed), 1);
                    })
                })
                .collect();
            told.bytes.store(1, Ordering::Relaxed);
            told.timeline.advance(3, 1, Ok(()));
            hosts.into_iter().for_each(|host| host.join().unwrap());
        });
    }

    #[test]
    fn a_failure_is_reported_at_every_wait_for_its_tick_and_at_no_other() {
        model(|| {
            let told = told();
            let device = {
                let told = told.clone();
                thread::spawn(move || {
                    told.timeline.advance(0, 1, Err(fault()));
                    told.timeline.advance(0, 2, Ok(()));
                })
            };
            for _ in 0..2 {
                let outcome = told.timeline.wait(0, 1, Patience::default());
                assert!(matches!(outcome, Err(Error::Driver { code: 7, .. })), "{outcome:?}");
            }
            told.timeline.wait(0, 2, Patience::default()).unwrap();
            device.join().unwrap();
        });
    }

    #[test]
    fn a_lost_device_wakes_who_waits_for_any_queue() {
        model(|| {
            let told = told();
            let hosts: Vec<_> = (0..2)
                .map(|queue| {
                    let told = told.clone();
                    thread::spawn(move || {
                        let outcome = told.timeline.wait(queue, 1, Patience::default());
                        assert!(matches!(outcome, Err(Error::Lost { .. })), "{outcome:?}");
                        assert!(told.timeline.is_done(queue, 1));
                    })
                })
                .collect();
            told.timeline.lose(lost());
            hosts.into_iter().for_each(|host| host.join().unwrap());
        });
    }

    #[test]
    fn a_tick_that_races_with_the_loss_ends_in_one_of_both() {
        model(|| {
            let told = told();
            let device = {
                let told = told.clone();
                thread::spawn(move || told.timeline.advance(0, 1, Err(fault())))
            };
            let losing = {
                let told = told.clone();
                thread::spawn(move || told.timeline.lose(lost()))
            };
            let outcome = told.timeline.wait(0, 1, Patience::default());
            assert!(matches!(outcome, Err(Error::Lost { .. } | Error::Driver { .. })), "{outcome:?}");
            device.join().unwrap();
            losing.join().unwrap();
            assert!(matches!(told.timeline.outcome(0, 1), Err(Error::Driver { .. })), "the tick's own error");
            assert!(matches!(told.timeline.lost(), Some(Error::Lost { .. })));
        });
    }

    #[test]
    fn a_wait_for_any_tick_ends_with_the_first_that_is_done() {
        model(|| {
            let told = told();
            let device = {
                let told = told.clone();
                thread::spawn(move || {
                    told.bytes.store(1, Ordering::Relaxed);
                    told.timeline.advance(1, 1, Err(fault()));
                })
            };
            told.timeline.wait_any(&[(0, 1), (1, 1)], Patience::default()).unwrap();
            assert_eq!(told.bytes.load(Ordering::Relaxed), 1);
            device.join().unwrap();
        });
    }

    #[test]
    fn waits_for_two_queues_do_not_take_each_others_wake_up() {
        model(|| {
            let told = told();
            let host = {
                let told = told.clone();
                thread::spawn(move || told.timeline.wait(1, 2, Patience::default()).unwrap())
            };
            let device = {
                let told = told.clone();
                thread::spawn(move || {
                    told.timeline.advance(1, 1, Ok(()));
                    told.timeline.advance(1, 2, Ok(()));
                })
            };
            told.timeline.advance(0, 1, Ok(()));
            told.timeline.wait(1, 1, Patience::default()).unwrap();
            host.join().unwrap();
            device.join().unwrap();
        });
    }
}
