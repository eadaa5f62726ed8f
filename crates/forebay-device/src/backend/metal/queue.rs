#![allow(unsafe_code, reason = "completion handlers are handed to the framework by pointer")]
//! A queue on Metal: submissions wait in line for a command buffer, fly in it, and are told as done in their order.
//!
//! So few command buffers fly at once that the framework never makes the host wait for one; whatever comes beyond that
//! stays in the backlog, which completion handlers feed from. A profiled submission is split into one command buffer a
//! command, each after the other, because the framework tells times of whole command buffers only.
//!
//! What is committed cannot be called back: a submission that follows a failed one and was committed before the failure
//! was known still runs, and ends with that failure all the same.
//!
//! Rule for the unsafe code: Q1, a handler block holds what it uses by count, and runs once, on any thread; the command
//! buffer that it is given is valid for that call.
//! Next room: `fence`, what orders command buffers; `module`, what goes into them.

use std::{collections::VecDeque, ops::Range, ptr::NonNull, sync::Arc, thread, time::Duration};

use block2::RcBlock;
use objc2::{rc::autoreleasepool, runtime::ProtocolObject};
use objc2_foundation::NSString;
use objc2_metal::{
    MTLCommandBuffer, MTLCommandBufferError, MTLCommandBufferStatus, MTLCommandEncoder, MTLCommandQueue,
    MTLDevice, MTLDispatchType,
};

use super::{
    Object,
    device::Shared,
    fence::{Event, PARTS, Value},
    nothing, words,
};
use crate::{
    backend::{QueueId, Submission, Work, timeline::Timeline},
    error::{Error, MemoryReport, Result},
    launch::{Command, CommandList, KernelId},
    sync::{Condvar, Mutex, lock},
    timing::{Timing, Timings},
};

/// Command buffers of a queue that fly at once.
const FLYING: usize = 24;
/// Command buffers that a queue may have before the framework makes the host wait.
const ALLOWED: usize = 64;
const _: () = assert!(FLYING < ALLOWED, "the framework would make the host wait");
/// How long the last command buffers of a lost device are waited for, and how often they are looked at.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
const LAST_STEP: Duration = Duration::from_millis(1);
/// Kernels of a failed submission that its error names.
const NAMED: usize = 4;

/// One queue.
#[derive(Debug)]
pub(super) struct Line {
    id: QueueId,
    raw: Object<dyn MTLCommandQueue>,
    event: Event,
    state: Mutex<State>,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    backlog: VecDeque<Pending>,
    flying: VecDeque<Flight>,
    /// What the landed parts of the oldest flying submission came to, and when the first of them started.
    fault: Option<Fault>,
    origin: Option<f64>,
}

/// A submission that is not wholly committed.
#[derive(Debug)]
struct Pending {
    submission: Submission,
    /// Why nothing of it runs.
    refused: Option<Error>,
    /// What the next part is; none before the first was looked for.
    next: Option<Part>,
}

/// A piece of a submission that fills one command buffer.
#[derive(Clone, Debug)]
struct Part {
    commands: Range<usize>,
    /// How many parts come after it.
    left: u64,
}

/// A command buffer that was committed, or that could not be made.
#[derive(Debug)]
struct Flight {
    value: Value,
    end: Option<End>,
    /// The queue's event has come to the value.
    reached: bool,
    /// Where the time of a profiled command goes.
    timed: Option<(Arc<Timings>, Option<KernelId>)>,
    /// The submission, with its last part.
    last: Option<Pending>,
}

/// How a command buffer ended.
#[derive(Debug)]
struct End {
    fault: Option<Fault>,
    start: f64,
    end: f64,
}

/// What the framework says of a command buffer that failed.
#[derive(Debug)]
struct Fault {
    code: isize,
    detail: String,
}

impl Line {
    pub(super) fn open(shared: &Shared, device: &ProtocolObject<dyn MTLDevice>, id: QueueId) -> Result<Self> {
        let raw = device.newCommandQueueWithMaxCommandBufferCount(ALLOWED);
        let raw = raw.ok_or_else(|| nothing("newCommandQueue"))?;
        shared.regions.attach(&raw);
        let event = Event::new(device)?;
        Ok(Self { id, raw, event, state: Mutex::default(), drained: Condvar::new() })
    }

    /// Takes a submission. It is committed now, or as soon as fewer command buffers fly.
    pub(super) fn submit(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        submission: Submission,
    ) -> std::result::Result<(), (Error, Box<Submission>)> {
        if let Some(error) = shared.timeline.lost() {
            return Err((error, Box::new(submission)));
        }
        let mut state = lock(&self.state);
        state.backlog.push_back(Pending { submission, refused: None, next: None });
        self.feed(shared, &mut state);
        let over = state.flying.front().is_some_and(|flight| flight.end.is_some());
        drop(state);
        if over {
            shared.settle();
        }
        Ok(())
    }

    /// Commits what the backlog holds, as far as it may fly.
    fn feed(self: &Arc<Self>, shared: &Arc<Shared>, state: &mut State) {
        // Nothing is handed to a device that is gone.
        while state.flying.len() < FLYING && shared.timeline.lost().is_none() {
            let Some(pending) = state.backlog.front_mut() else { return };
            let first = pending.next.is_none();
            let part = pending.take_part(shared);
            let value = Value::of_part(pending.submission.tick, part.left);
            let before = state.flying.back().map(|flight| flight.value);
            let timings = pending.submission.profile.as_ref().filter(|_| !part.commands.is_empty());
            let timed = timings.map(|timings| (timings.clone(), pending.kernel_of(&part)));
            let end = self.commit(shared, &pending.submission, &part, first, before, value).err();
            let end = end.map(|error| {
                let fault = Fault { code: 0, detail: error.to_string() };
                End { fault: Some(fault), start: 0.0, end: 0.0 }
            });
            let last = if part.left == 0 { state.backlog.pop_front() } else { None };
            state.flying.push_back(Flight { value, end, reached: false, timed, last });
        }
    }

    /// Fills a command buffer and hands it over.
    fn commit(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        submission: &Submission,
        part: &Part,
        first: bool,
        before: Option<Value>,
        value: Value,
    ) -> Result<()> {
        // O3: unretained, since everything that is bound stays.
        let buffer =
            self.raw.commandBufferWithUnretainedReferences().ok_or_else(|| nothing("commandBuffer"))?;
        if !submission.label.as_str().is_empty() {
            buffer.setLabel(Some(&NSString::from_str(submission.label.as_str())));
        }
        if let Some(before) = before {
            self.event.encode_wait(&buffer, before);
        }
        if first {
            for wait in submission.waits.iter().filter(|wait| wait.queue != self.id) {
                if !shared.timeline.is_done(wait.queue, wait.tick) {
                    shared.line(wait.queue).event.encode_wait(&buffer, Value::of_tick(wait.tick));
                }
            }
        }
        let list = list_of(&submission.work);
        let encoded = if part.commands.is_empty() {
            Ok(())
        } else {
            let encoder = buffer.computeCommandEncoderWithDispatchType(MTLDispatchType::Concurrent);
            let encoder = encoder.ok_or_else(|| nothing("computeCommandEncoder"))?;
            let commands = &list.commands[part.commands.clone()];
            let encoded = shared.kernels.encode(list, commands, &shared.regions.hold(), &encoder);
            // An encoder has to end, whatever it holds.
            encoder.endEncoding();
            encoded
        };
        encoded?;
        self.event.encode_signal(&buffer, value);
        let (shared, line) = (shared.clone(), self.clone());
        let handler = RcBlock::new(move |buffer: NonNull<ProtocolObject<dyn MTLCommandBuffer>>| {
            autoreleasepool(|_| {
                // SAFETY: Q1.
                let end = End::of(unsafe { buffer.as_ref() });
                line.ended(value, end);
                shared.settle();
            });
        });
        // SAFETY: Q1; the framework copies the block before the call returns.
        unsafe { buffer.addCompletedHandler(RcBlock::as_ptr(&handler)) };
        buffer.commit();
        Ok(())
    }

    /// Notes how a command buffer ended.
    fn ended(&self, value: Value, end: End) {
        let mut state = lock(&self.state);
        if let Some(flight) = state.flying.iter_mut().find(|flight| flight.value == value) {
            flight.end = Some(end);
        }
    }

    /// Tells what is over, in its order, and commits what comes next. True if a tick was done.
    pub(super) fn settle(self: &Arc<Self>, shared: &Arc<Shared>) -> bool {
        let mut state = lock(&self.state);
        let mut moved = false;
        for flight in state.flying.iter_mut() {
            let Some(end) = &flight.end else { break };
            if end.fault.is_some() && !flight.reached {
                self.event.reach(flight.value);
                flight.reached = true;
            }
        }
        while state.flying.front().is_some_and(|flight| flight.has_landed(&shared.timeline)) {
            let Some(flight) = state.flying.pop_front() else { break };
            moved |= self.land(shared, &mut state, flight);
        }
        self.feed(shared, &mut state);
        if (state.flying.is_empty() && state.backlog.is_empty()) || shared.timeline.lost().is_some() {
            self.drained.notify_all();
        }
        moved
    }

    /// Takes in how a part ended. True if it was the last of its tick.
    fn land(&self, shared: &Shared, state: &mut State, flight: Flight) -> bool {
        let Some(End { fault, start, end }) = flight.end else { return false };
        let origin = *state.origin.get_or_insert(start);
        if state.fault.is_none() {
            state.fault = fault;
        }
        if let Some((timings, kernel)) = flight.timed.filter(|_| state.fault.is_none()) {
            let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
            timings.push(Timing { kernel, start: time(start - origin), took: time(end - start) });
        }
        let Some(pending) = flight.last else { return false };
        state.origin = None;
        let tick = pending.submission.tick;
        let outcome = pending.refused.clone().map_or(Ok(()), Err);
        let outcome = outcome.and_then(|()| inherited(&shared.timeline, &pending.submission));
        let outcome =
            outcome.and(state.fault.take().map_or(Ok(()), |fault| Err(fault.told(shared, &pending))));
        if let Err(lost @ Error::Lost { .. }) = &outcome {
            shared.timeline.lose(lost.clone());
        }
        if let Work::Once(list) = pending.submission.work {
            shared.recycler.give(list);
        }
        shared.timeline.advance(self.id, tick, outcome);
        true
    }

    /// Returns when nothing is in line any more. On a lost device that may never come, so it is waited for in vain only
    /// so long.
    pub(super) fn drain(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        let mut patience = LAST_PATIENCE;
        while !(patience.is_zero() || state.flying.is_empty() && state.backlog.is_empty()) {
            if shared.timeline.lost().is_none() {
                state = self.drained.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            }
            state.backlog.clear();
            drop(state);
            thread::sleep(LAST_STEP);
            patience = patience.saturating_sub(LAST_STEP);
            state = lock(&self.state);
        }
    }
}

impl Pending {
    /// The next part, and what is refused before the first.
    fn take_part(&mut self, shared: &Shared) -> Part {
        let submission = &self.submission;
        let list = list_of(&submission.work);
        let Some(at) = self.next.as_ref().map(|part| part.commands.end) else {
            let known = inherited(&shared.timeline, submission);
            self.refused = known.and_then(|()| shared.kernels.check(list, &submission.label)).err();
            let commands =
                list.commands.iter().filter(|command| **command != Command::Barrier).count() as u64;
            let whole = submission.profile.is_none() || !(2..=PARTS).contains(&commands);
            let part = match (&self.refused, whole) {
                (Some(_), _) => Part { commands: 0..0, left: 0 },
                (None, true) => Part { commands: 0..list.commands.len(), left: 0 },
                (None, false) => Part { commands: single(list, 0), left: commands - 1 },
            };
            return self.next.insert(part).clone();
        };
        let left = self.next.as_ref().map_or(0, |part| part.left.saturating_sub(1));
        self.next.insert(Part { commands: single(list, at), left }).clone()
    }

    /// The kernel of a part that is one launch.
    fn kernel_of(&self, part: &Part) -> Option<KernelId> {
        match list_of(&self.submission.work).commands[part.commands.clone()] {
            [Command::Launch { kernel, .. }] => Some(kernel),
            _ => None,
        }
    }
}

/// The first command from a place on that is no barrier: parts come one after the other anyway.
fn single(list: &CommandList, at: usize) -> Range<usize> {
    let barriers = list.commands[at..].iter().take_while(|command| **command == Command::Barrier).count();
    let start = at + barriers;
    start..(start + 1).min(list.commands.len())
}

impl Flight {
    /// Whether it is over, and the end is known of all that its submission needs.
    fn has_landed(&self, timeline: &Timeline) -> bool {
        let waits = self.last.iter().flat_map(|pending| pending.submission.waits.iter());
        self.end.is_some()
            && waits
                .into_iter()
                .filter(|wait| wait.cascade)
                .all(|wait| timeline.is_done(wait.queue, wait.tick))
    }
}

impl End {
    fn of(buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> Self {
        let failed = buffer.status() == MTLCommandBufferStatus::Error;
        let fault = failed.then(|| match buffer.error() {
            Some(error) => Fault { code: error.code(), detail: words(&error) },
            None => Fault { code: 0, detail: "the command buffer failed without an error".into() },
        });
        Self { fault, start: buffer.GPUStartTime(), end: buffer.GPUEndTime() }
    }
}

impl Fault {
    /// The fault as an error of the submission that it struck.
    fn told(self, shared: &Shared, pending: &Pending) -> Error {
        let code = MTLCommandBufferError(self.code.cast_unsigned());
        if code == MTLCommandBufferError::DeviceRemoved || code == MTLCommandBufferError::AccessRevoked {
            return Error::Lost { reason: self.detail.into() };
        }
        if code == MTLCommandBufferError::OutOfMemory {
            return Error::Exhausted(Box::<MemoryReport>::default());
        }
        let list = list_of(&pending.submission.work);
        let mut names: Vec<Arc<str>> = Vec::new();
        for command in &list.commands {
            if let Command::Launch { kernel, .. } = command {
                let name = shared.kernels.name(*kernel);
                if !names.contains(&name) && names.len() < NAMED {
                    names.push(name);
                }
            }
        }
        let detail: Arc<str> = format!("{} (code {})", self.detail, self.code).into();
        match &names[..] {
            [] => Error::Driver { call: "commit", code: self.code as i64, detail },
            names => Error::KernelFault {
                kernel: names.join(", ").into(),
                stage: (&pending.submission.label).into(),
                detail,
            },
        }
    }
}

/// How what a submission needs has ended, as far as that is known.
fn inherited(timeline: &Timeline, submission: &Submission) -> Result<()> {
    submission.after.map_or(Ok(()), |tick| timeline.outcome(submission.queue, tick))?;
    let needed = submission.waits.iter().filter(|wait| wait.cascade);
    needed.into_iter().try_for_each(|wait| timeline.outcome(wait.queue, wait.tick))
}

fn list_of(work: &Work) -> &CommandList {
    match work {
        Work::Once(list) => list,
        Work::Graph(graph) => graph.list(),
    }
}
