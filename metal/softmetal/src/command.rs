#![allow(unsafe_code, reason = "methods are called by objc2")]
//! Queues, events and command buffers, from their making to their end.

use std::{
    ffi::c_void,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{
    block::Handler,
    control, encoder,
    fault::fault,
    foundation::{self, OBJECT},
    gpu::{self, Event, Queued, Shell, Step},
    runtime::{Class, Id, Method, Selector, autorelease, contents, make, retain},
};

static QUEUE: Class = Class::new(
    c"SoftCommandQueue",
    Some(&OBJECT),
    &[
        Method::new(c"addResidencySet:", c"v@:@", add_set as *const ()),
        Method::new(c"commandBufferWithUnretainedReferences", c"@@:", command_buffer as *const ()),
    ],
);

static EVENT: Class = Class::new(
    c"SoftSharedEvent",
    Some(&OBJECT),
    &[
        Method::new(c"signaledValue", c"Q@:", event_value as *const ()),
        Method::new(c"setSignaledValue:", c"v@:Q", set_event_value as *const ()),
    ],
);

static COMMAND_BUFFER: Class = Class::new(
    c"SoftCommandBuffer",
    Some(&OBJECT),
    &[
        Method::new(c"encodeWaitForEvent:value:", c"v@:@Q", encode_wait as *const ()),
        Method::new(c"encodeSignalEvent:value:", c"v@:@Q", encode_signal as *const ()),
        Method::new(c"computeCommandEncoderWithDispatchType:", c"@@:Q", compute_encoder as *const ()),
        Method::new(c"addCompletedHandler:", c"v@:@?", add_handler as *const ()),
        Method::new(c"commit", c"v@:", commit as *const ()),
        Method::new(c"status", c"Q@:", status as *const ()),
        Method::new(c"error", c"@@:", error as *const ()),
        Method::new(c"GPUStartTime", c"d@:", start_time as *const ()),
        Method::new(c"GPUEndTime", c"d@:", end_time as *const ()),
    ],
);

/// The status of a command buffer that ended well, or not.
const COMPLETED: usize = 4;
const FAILED: usize = 5;
/// Of one that was made and not committed, and of one that was.
const FILLING: usize = 0;
const COMMITTED: usize = 2;
/// An encoder whose launches order themselves by barriers only.
const CONCURRENT: usize = 1;

struct Queue {
    allowed: usize,
    /// Command buffers that were made and have not ended.
    out: Arc<AtomicUsize>,
    sets: Mutex<Vec<Shell>>,
    /// Whether the device was taken away.
    removed: Arc<AtomicBool>,
}

/// A command buffer.
pub(crate) struct CommandBuffer {
    state: Mutex<State>,
    sets: Vec<Shell>,
    removed: Arc<AtomicBool>,
    out: Arc<AtomicUsize>,
    finished: OnceLock<Finished>,
}

#[derive(Default)]
struct State {
    steps: Vec<Queued>,
    handlers: Vec<Handler>,
    encoders: usize,
    open: bool,
    committed: bool,
}

/// How a command buffer ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) failed: Option<(isize, String)>,
    pub(crate) times: (Instant, Instant),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(crate) fn queue(allowed: usize, removed: Arc<AtomicBool>) -> Id {
    make(&QUEUE, Queue { allowed, out: Arc::default(), sets: Mutex::default(), removed })
}

pub(crate) fn event() -> Id {
    make(&EVENT, Arc::new(Event::default()))
}

impl CommandBuffer {
    /// The state, while it may still be filled.
    fn filling(&self, what: &str) -> MutexGuard<'_, State> {
        let state = lock(&self.state);
        if state.committed {
            fault(&format!("{what} on a command buffer that was committed"));
        }
        state
    }

    fn push(&self, step: Step, what: &str) {
        let mut state = self.filling(what);
        if state.open {
            fault(&format!("{what} while an encoder is open"));
        }
        let encoder = state.encoders;
        state.encoders += 1;
        state.steps.push(Queued::new(step, encoder));
    }

    /// Adds a step of its open encoder.
    pub(crate) fn encode(&self, step: Step) {
        let mut state = self.filling("encoding");
        let encoder = state.encoders;
        state.steps.push(Queued::new(step, encoder));
    }

    /// Ends its open encoder.
    pub(crate) fn end_encoding(&self) {
        let mut state = self.filling("endEncoding");
        (state.open, state.encoders) = (false, state.encoders + 1);
    }
}

impl Drop for CommandBuffer {
    fn drop(&mut self) {
        if self.finished.get().is_none() {
            self.out.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Notes the end of a command buffer, and tells its handlers.
pub(crate) fn finish(object: Id, finished: Finished) {
    let buffer = contents::<CommandBuffer>(object);
    let _ = buffer.finished.set(finished);
    buffer.out.fetch_sub(1, Ordering::SeqCst);
    let handlers = std::mem::take(&mut lock(&buffer.state).handlers);
    handlers.iter().for_each(|handler| handler.call(object.cast()));
}

extern "C-unwind" fn add_set(object: Id, _: Selector, set: Id) {
    lock(&contents::<Queue>(object).sets).push(Shell(set));
}

extern "C-unwind" fn command_buffer(object: Id, _: Selector) -> Id {
    let queue = contents::<Queue>(object);
    if queue.out.fetch_add(1, Ordering::SeqCst) >= queue.allowed {
        fault(&format!("the host would wait: {} command buffers of one queue have not ended", queue.allowed));
    }
    let sets = lock(&queue.sets).clone();
    let state = Mutex::default();
    autorelease(make(
        &COMMAND_BUFFER,
        CommandBuffer {
            state,
            sets,
            out: queue.out.clone(),
            removed: queue.removed.clone(),
            finished: OnceLock::new(),
        },
    ))
}

extern "C-unwind" fn event_value(object: Id, _: Selector) -> u64 {
    contents::<Arc<Event>>(object).value.load(Ordering::SeqCst)
}

extern "C-unwind" fn set_event_value(object: Id, _: Selector, value: u64) {
    if contents::<Arc<Event>>(object).value.swap(value, Ordering::SeqCst) >= value {
        fault(&format!("the host sets an event to {value}, which had come so far"));
    }
    gpu::poke();
}

extern "C-unwind" fn encode_wait(object: Id, _: Selector, event: Id, value: u64) {
    let event = contents::<Arc<Event>>(event).clone();
    contents::<CommandBuffer>(object).push(Step::Wait(event, value), "encodeWaitForEvent");
}

extern "C-unwind" fn encode_signal(object: Id, _: Selector, event: Id, value: u64) {
    let event = contents::<Arc<Event>>(event).clone();
    contents::<CommandBuffer>(object).push(Step::Signal(event, value), "encodeSignalEvent");
}

extern "C-unwind" fn compute_encoder(object: Id, _: Selector, kind: usize) -> Id {
    if kind != CONCURRENT {
        fault("an encoder that is not concurrent: the backend derives its barriers");
    }
    let mut state = contents::<CommandBuffer>(object).filling("computeCommandEncoder");
    if std::mem::replace(&mut state.open, true) {
        fault("a second encoder is opened");
    }
    drop(state);
    encoder::open(object)
}

extern "C-unwind" fn add_handler(object: Id, _: Selector, block: *const c_void) {
    // SAFETY: the method takes a block that takes a command buffer.
    let handler = unsafe { Handler::copy(block) };
    contents::<CommandBuffer>(object).filling("addCompletedHandler").handlers.push(handler);
}

extern "C-unwind" fn commit(object: Id, _: Selector) {
    let buffer = contents::<CommandBuffer>(object);
    let mut state = buffer.filling("commit");
    if state.open {
        fault("commit while an encoder is open");
    }
    state.committed = true;
    let steps = std::mem::take(&mut state.steps);
    drop(state);
    retain(object);
    gpu::commit(object, buffer.sets.clone(), buffer.removed.clone(), steps, control::ending());
}

/// The end of a command buffer, which nobody may ask for before it has come.
fn finished<'a>(object: Id, what: &str) -> &'a Finished {
    match contents::<CommandBuffer>(object).finished.get() {
        Some(finished) => finished,
        None => fault(&format!("{what} of a command buffer that has not ended")),
    }
}

extern "C-unwind" fn status(object: Id, _: Selector) -> usize {
    let buffer = contents::<CommandBuffer>(object);
    match buffer.finished.get() {
        Some(Finished { failed: Some(_), .. }) => FAILED,
        Some(_) => COMPLETED,
        None if lock(&buffer.state).committed => COMMITTED,
        None => FILLING,
    }
}

extern "C-unwind" fn error(object: Id, _: Selector) -> Id {
    match &finished(object, "error").failed {
        Some((code, words)) => foundation::error(*code, words),
        None => ptr::null_mut(),
    }
}

fn seconds(at: Instant) -> f64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    at.saturating_duration_since(*ORIGIN.get_or_init(|| at)).as_secs_f64()
}

extern "C-unwind" fn start_time(object: Id, _: Selector) -> f64 {
    seconds(finished(object, "GPUStartTime").times.0)
}

extern "C-unwind" fn end_time(object: Id, _: Selector) -> f64 {
    seconds(finished(object, "GPUEndTime").times.1)
}
