#![allow(unsafe_code, reason = "kernels are run on what was bound")]
//! What runs command buffers: a few threads that take, of all steps that nothing holds back, whichever they like.
//!
//! Nothing is ordered but what was asked for: a step waits for the events that its command buffer was told to wait for,
//! and for the barriers of its encoder; a signal waits for all before it. Command buffers of one queue have no order of
//! their own. A step is started a little late, so that there is something to choose from, and handlers a little later.
//! Rule for the unsafe code: G1, what a launch binds is as long as its kernel reads and writes; that is what the
//! suites test, with pages behind every buffer that fault.

use std::{
    ffi::c_void,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use msl::{Kernel, Order};

use crate::{
    command::{self, Finished},
    control::Ending,
    fault::{become_device, fault},
    memory::{Buffer, Set},
    runtime::{Id, contents, is_alive, name_of, release},
};

/// Threads that run steps. More than there are queues in most tests, so that one slow kernel holds up no other queue.
const THREADS: usize = 6;
/// The longest that a command buffer waits before it may start.
const LATE: Duration = Duration::from_micros(150);

/// A value that only rises.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) value: AtomicU64,
}

/// One step of a command buffer.
#[derive(Debug)]
pub(crate) enum Step {
    Wait(Arc<Event>, u64),
    Signal(Arc<Event>, u64),
    Launch(Arc<Launch>),
    Barrier,
}

/// A launch with all that was bound when it was encoded.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) kernel: Kernel,
    pub(crate) bound: Vec<Bound>,
    pub(crate) shared: Vec<usize>,
    pub(crate) groups: [u32; 3],
    pub(crate) threads: [u32; 3],
}

/// What an index of a launch is bound to.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Nothing,
    /// A buffer and an offset; nobody counts on its being there.
    Buffer(Shell, usize),
    Bytes(Vec<u128>),
}

/// An object that others may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shell(pub(crate) Id);

// SAFETY: S1 and S3.
unsafe impl Send for Shell {}
// SAFETY: as above.
unsafe impl Sync for Shell {}

/// A command buffer that was committed.
#[derive(Debug)]
pub(crate) struct Job {
    buffer: Shell,
    /// Residency sets of its queue.
    sets: Vec<Shell>,
    steps: Vec<Queued>,
    ending: Option<Ending>,
    /// Whether the device was taken away: nothing starts any more then.
    removed: Arc<AtomicBool>,
    id: u64,
    due: Instant,
    /// When the first launch started, and when the last that ended did.
    times: Option<(Instant, Instant)>,
    failed: Option<(isize, String)>,
}

/// A step, and how far it is.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) step: Step,
    /// The encoder that it came from, by number; launches of several are ordered by nothing.
    pub(crate) encoder: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
}

impl Queued {
    pub(crate) fn new(step: Step, encoder: usize) -> Self {
        Self { step, encoder, state: State::Waiting }
    }
}

#[derive(Debug, Default)]
struct Gpu {
    jobs: Mutex<Vec<Job>>,
    wake: Condvar,
}

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    static BEGUN: OnceLock<()> = OnceLock::new();
    let gpu = GPU.get_or_init(Gpu::default);
    BEGUN.get_or_init(|| {
        for number in 0..THREADS {
            let name = format!("softmetal-{number}");
            let _ = thread::Builder::new().name(name).spawn(move || serve(gpu, number as u64));
        }
    });
    gpu
}

fn lock(gpu: &Gpu) -> MutexGuard<'_, Vec<Job>> {
    gpu.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Has something looked at that may hold steps back no longer.
pub(crate) fn poke() {
    drop(lock(gpu()));
    gpu().wake.notify_all();
}

/// Takes a command buffer, which was counted for this.
pub(crate) fn commit(
    buffer: Id,
    sets: Vec<Shell>,
    removed: Arc<AtomicBool>,
    steps: Vec<Queued>,
    ending: Option<Ending>,
) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let due = Instant::now()
        + LATE.mul_f64((id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64);
    let job = Job { buffer: Shell(buffer), sets, steps, ending, removed, id, due, times: None, failed: None };
    lock(gpu()).push(job);
    gpu().wake.notify_all();
}

/// What a thread does next.
enum Choice {
    Launch(u64, usize, Arc<Launch>, Vec<Shell>),
    End(Job),
    Again,
    /// Nothing is ready before some time has passed, or somebody pokes.
    Idle(Option<Duration>),
}

fn serve(gpu: &'static Gpu, number: u64) {
    become_device();
    let mut seed = number + 1;
    let mut jobs = lock(gpu);
    loop {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match choose(&mut jobs, seed) {
            Choice::Launch(id, step, launch, sets) => {
                drop(jobs);
                let outcome = run(&launch, &sets, seed);
                jobs = lock(gpu);
                if let Some(job) = jobs.iter_mut().find(|job| job.id == id) {
                    job.steps[step].state = State::Done;
                    job.times = job.times.map(|(start, _)| (start, Instant::now()));
                    if let Err(words) = outcome {
                        job.failed.get_or_insert((1, words));
                    }
                }
                gpu.wake.notify_all();
            }
            Choice::End(job) => {
                drop(jobs);
                // Others may end, and tell it, first.
                thread::sleep(LATE.mul_f64((seed >> 40) as f64 / (1u64 << 24) as f64));
                end(job);
                jobs = lock(gpu);
            }
            Choice::Again => gpu.wake.notify_all(),
            Choice::Idle(Some(time)) => {
                jobs = gpu.wake.wait_timeout(jobs, time).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
            }
            Choice::Idle(None) => {
                jobs = gpu.wake.wait(jobs).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }
}

fn choose(jobs: &mut Vec<Job>, seed: u64) -> Choice {
    let now = Instant::now();
    let mut ready = Vec::new();
    let mut soonest = None;
    for at in 0..jobs.len() {
        if jobs[at].due > now {
            let wait = jobs[at].due - now;
            soonest = Some(soonest.map_or(wait, |other: Duration| other.min(wait)));
            continue;
        }
        if jobs[at].is_over() {
            return Choice::End(jobs.swap_remove(at));
        }
        ready.extend(jobs[at].ready().into_iter().map(|step| (at, step)));
    }
    if ready.is_empty() {
        return Choice::Idle(soonest);
    }
    // As often the last one that could run as any.
    let pick = if seed >> 63 == 0 { ready.len() - 1 } else { (seed >> 33) as usize % ready.len() };
    let (at, step) = ready[pick];
    let job = &mut jobs[at];
    match &job.steps[step].step {
        Step::Launch(launch) => {
            let launch = launch.clone();
            job.times.get_or_insert((now, now));
            job.steps[step].state = State::Running;
            Choice::Launch(job.id, step, launch, job.sets.clone())
        }
        Step::Signal(event, value) => {
            if event.value.swap(*value, Ordering::SeqCst) >= *value {
                fault(&format!("an event that has come to {value} is signalled with that or less"));
            }
            job.steps[step].state = State::Done;
            Choice::Again
        }
        Step::Wait(..) | Step::Barrier => unreachable!("neither is ever ready to run"),
    }
}

impl Job {
    /// Whether nothing of it is left to do.
    fn is_over(&mut self) -> bool {
        let _ = self.ready();
        if self.steps.iter().any(|queued| queued.state == State::Running) {
            return false;
        }
        if self.failed.is_none() && self.ending.is_some() && self.has_begun() {
            let ending =
                self.ending.map_or((1, String::new()), |e| (e as isize, format!("{e:?}, for the test")));
            self.failed = Some(ending);
            if self.ending == Some(Ending::DeviceRemoved) {
                self.removed.store(true, Ordering::SeqCst);
            }
        }
        if self.failed.is_none() && self.removed.load(Ordering::SeqCst) {
            self.failed = Some((Ending::DeviceRemoved as isize, "the device is gone".to_owned()));
        }
        self.failed.is_some() || self.steps.iter().all(|queued| queued.state == State::Done)
    }

    /// Whether all that it waits for before its first launch has come.
    fn has_begun(&self) -> bool {
        let first = self.steps.iter().find(|queued| queued.state != State::Done);
        !matches!(first, Some(Queued { step: Step::Wait(..), .. }))
    }

    /// The steps that nothing holds back.
    fn ready(&mut self) -> Vec<usize> {
        let mut ready = Vec::new();
        let removed = self.removed.load(Ordering::SeqCst);
        if self.failed.is_some() || removed || (self.ending.is_some() && self.has_begun()) {
            return ready;
        }
        // Whether all before is done, and the encoder whose barrier is not passed.
        let (mut all_done, mut section_done, mut held) = (true, true, None);
        let mut encoder = usize::MAX;
        for at in 0..self.steps.len() {
            let queued = &mut self.steps[at];
            if queued.encoder != encoder {
                (encoder, section_done) = (queued.encoder, true);
            }
            if queued.state == State::Done {
                continue;
            }
            match &queued.step {
                Step::Wait(event, value) => {
                    if event.value.load(Ordering::SeqCst) < *value {
                        return ready;
                    }
                    queued.state = State::Done;
                }
                Step::Signal(..) => {
                    if all_done {
                        ready.push(at);
                    }
                    all_done = false;
                }
                Step::Barrier => {
                    if section_done {
                        queued.state = State::Done;
                    } else {
                        held = Some(encoder);
                        all_done = false;
                    }
                }
                Step::Launch(_) => {
                    (all_done, section_done) = (false, false);
                    if queued.state == State::Waiting && held != Some(encoder) {
                        ready.push(at);
                    }
                }
            }
        }
        ready
    }
}

/// Runs a launch on what is bound, if that is still there.
fn run(launch: &Launch, sets: &[Shell], seed: u64) -> Result<(), String> {
    for set in sets {
        contents::<Set>(set.0).check();
    }
    let mut starts: Vec<*mut c_void> = Vec::new();
    for bound in &launch.bound {
        starts.push(match bound {
            Bound::Nothing => std::ptr::null_mut(),
            Bound::Bytes(bytes) => bytes.as_ptr().cast_mut().cast(),
            Bound::Buffer(shell, offset) => {
                if !is_alive(shell.0) {
                    fault(&format!("a launch runs on a {} that is gone", name_of(shell.0)));
                }
                contents::<Buffer>(shell.0).at(*offset)
            }
        });
    }
    let Launch { kernel, shared, groups, threads, .. } = launch;
    // SAFETY: G1.
    unsafe { kernel.run(&starts, shared, *groups, *threads, Order::Shuffled(seed)) }
}

/// Tells that a command buffer is over.
fn end(job: Job) {
    let times = job.times.unwrap_or_else(|| (Instant::now(), Instant::now()));
    command::finish(job.buffer.0, Finished { failed: job.failed, times });
    release(job.buffer.0);
}
