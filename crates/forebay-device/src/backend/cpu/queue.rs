//! A queue of the CPU device: one thread that takes submissions in order and runs them with its team.
//!
//! The thread is worker 0 of the team. Helpers are started at the first launch that has work for them, and woken
//! only by submissions that do.

use std::{collections::VecDeque, time::Instant};

use super::{
    fence,
    gate::Gate,
    module::{self, BYTES_WORTH_SHARING, Loaded},
    team::{self, Job, Team, Workers},
};
use crate::{
    backend::{QueueId, Submission, Work, cpu::device::Shared},
    error::{Error, Result},
    label::Label,
    launch::{Command, CommandList},
    sync::{Arc, AtomicBool, Mutex, Ordering, lock},
    timing::{Timing, Timings},
};

/// Rounds the queue's thread spins for the next submission before it sleeps.
const SPINS: u32 = 6_000;

/// Where a host leaves submissions.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<VecDeque<Submission>>,
    arrivals: Gate,
    closed: AtomicBool,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::new(VecDeque::with_capacity(64)),
            arrivals: Gate::new(SPINS),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn push(&self, submission: Submission) {
        lock(&self.waiting).push_back(submission);
        self.arrivals.raise();
    }

    /// What was left is still run; then the thread ends.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrivals.raise();
    }

    fn next(&self) -> Option<Submission> {
        loop {
            let seen = self.arrivals.value();
            // Looked at first: what was left before closing is then found below.
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(submission) = lock(&self.waiting).pop_front() {
                return Some(submission);
            }
            if closed {
                return None;
            }
            self.arrivals.wait_past(seen);
        }
    }
}

/// The life of a queue's thread.
pub(crate) fn serve(shared: &Arc<Shared>, queue: QueueId, inbox: &Inbox, workers: usize) {
    team::become_worker();
    let solo = Arc::new(Workers::new(1));
    let mut team = Crew::NotYet;
    let mut run = Arc::new(Run::new(solo.clone()));
    while let Some(submission) = inbox.next() {
        let Submission { tick, label, waits, after, work, profile, .. } = submission;
        let earlier = after.map_or(Ok(()), |tick| shared.timeline.outcome(queue, tick));
        let mut outcome = earlier.and_then(|()| fence::wait_all(&shared.timeline, &waits));
        let mut spent = Some(work);
        if outcome.is_ok() {
            let kernels = shared.kernels.snapshot();
            let wants_help =
                workers > 1 && list_of(&spent).commands.iter().any(|command| is_shareable(command, &kernels));
            let team = if wants_help { team.get(workers, queue) } else { None };
            if Arc::get_mut(&mut run).is_none() {
                run = Arc::new(Run::new(solo.clone()));
            }
            if let Some(run) = Arc::get_mut(&mut run) {
                run.begin(spent.take(), profile, kernels, team.map_or(&solo, Team::workers));
            }
            match team {
                Some(team) => team.run(&run),
                None => run.run(0),
            }
            (outcome, spent) = Arc::get_mut(&mut run).map_or((Ok(()), None), |run| run.end(&label));
        }
        if let Some(Work::Once(list)) = spent {
            shared.recycler.give(list);
        }
        shared.timeline.advance(queue, tick, outcome);
    }
}

/// The helpers of a queue: started when first wanted, done without where the system has no threads left.
enum Crew {
    NotYet,
    None,
    Some(Team<Run>),
}

impl Crew {
    fn get(&mut self, workers: usize, queue: QueueId) -> Option<&Team<Run>> {
        if matches!(self, Self::NotYet) {
            let team = Team::start(Arc::new(Workers::new(workers)), &format!("forebay-cpu-{queue}"));
            *self = team.map_or(Self::None, Self::Some);
        }
        match self {
            Self::Some(team) => Some(team),
            _ => None,
        }
    }
}

fn list_of(work: &Option<Work>) -> &CommandList {
    const EMPTY: &CommandList = &CommandList { commands: Vec::new(), arguments: Vec::new() };
    match work {
        Some(Work::Once(list)) => list,
        Some(Work::Graph(graph)) => graph.list(),
        None => EMPTY,
    }
}

fn is_shareable(command: &Command, kernels: &[Loaded]) -> bool {
    match *command {
        Command::Launch { kernel, grid, .. } => !kernels[kernel as usize].is_serial(grid.count()),
        Command::Copy { to, .. } | Command::Fill { to, .. } => to.len >= BYTES_WORTH_SHARING,
        Command::Barrier => false,
    }
}

/// One submission while it runs.
struct Run {
    work: Option<Work>,
    profile: Option<Arc<Timings>>,
    kernels: Arc<Vec<Loaded>>,
    workers: Arc<Workers<Self>>,
    start: Instant,
    failed: AtomicBool,
    fault: Mutex<Option<(Arc<str>, Arc<str>)>>,
}

impl Run {
    fn new(workers: Arc<Workers<Self>>) -> Self {
        Self {
            work: None,
            profile: None,
            kernels: Arc::default(),
            workers,
            start: Instant::now(),
            failed: AtomicBool::new(false),
            fault: Mutex::new(None),
        }
    }

    fn begin(
        &mut self,
        work: Option<Work>,
        profile: Option<Arc<Timings>>,
        kernels: Arc<Vec<Loaded>>,
        workers: &Arc<Workers<Self>>,
    ) {
        self.work = work;
        self.kernels = kernels;
        self.workers.clone_from(workers);
        if profile.is_some() {
            self.start = Instant::now();
        }
        self.profile = profile;
    }

    fn end(&mut self, stage: &Label) -> (Result<()>, Option<Work>) {
        self.failed.store(false, Ordering::Relaxed);
        self.profile = None;
        let fault = lock(&self.fault).take();
        let outcome = match fault {
            None => Ok(()),
            Some((kernel, detail)) => Err(Error::KernelFault { kernel, stage: stage.into(), detail }),
        };
        (outcome, self.work.take())
    }

    fn launch(&self, command: &Command, list: &CommandList, worker: usize) {
        let count = self.workers.count();
        match *command {
            Command::Launch { kernel, grid, first, count: arguments } => {
                let kernel = &self.kernels[kernel as usize];
                if let Err(detail) = kernel.run(grid, list.arguments_of(first, arguments), worker, count) {
                    lock(&self.fault).get_or_insert((kernel.name.clone(), detail));
                    self.failed.store(true, Ordering::Release);
                }
            }
            Command::Copy { from, to } => module::copy(from, to, worker, count),
            Command::Fill { to, byte } => module::fill(to, byte, worker, count),
            Command::Barrier => self.workers.barrier(),
        }
    }
}

impl Job for Run {
    fn run(&self, worker: usize) {
        let list = list_of(&self.work);
        for command in &list.commands {
            // After a failure nothing more runs, but every worker still comes to every barrier.
            if self.failed.load(Ordering::Acquire) && *command != Command::Barrier {
                continue;
            }
            match &self.profile {
                Some(profile) if worker == 0 && *command != Command::Barrier => {
                    let start = self.start.elapsed();
                    self.launch(command, list, worker);
                    let kernel = match *command {
                        Command::Launch { kernel, .. } => Some(kernel),
                        _ => None,
                    };
                    profile.push(Timing { kernel, start, took: self.start.elapsed() - start });
                }
                _ => self.launch(command, list, worker),
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};

    use super::*;
    use crate::{
        backend::{
            DeviceWait,
            cpu::{device::Recycler, module::Kernels},
            timeline::{Patience, Timeline},
            waits::Waits,
        },
        error::Error,
    };

    fn submission(queue: QueueId, tick: u64, wait: Option<DeviceWait>) -> Submission {
        let mut waits = Waits::default();
        wait.into_iter().for_each(|wait| waits.push(wait));
        let work = Work::Once(CommandList::default());
        Submission { queue, tick, label: Label::default(), after: None, waits, work, profile: None }
    }

    fn shared() -> Arc<Shared> {
        let (timeline, kernels, recycler) = (Timeline::default(), Kernels::default(), Recycler::default());
        Arc::new(Shared { timeline, kernels, recycler })
    }

    #[test]
    fn what_was_left_before_closing_is_taken_in_order_and_then_the_end_is_told() {
        model(|| {
            let inbox = Arc::new(Inbox::new());
            let leaving = {
                let inbox = inbox.clone();
                thread::spawn(move || {
                    inbox.push(submission(0, 1, None));
                    inbox.push(submission(0, 2, None));
                    inbox.close();
                })
            };
            let taken: Vec<_> = std::iter::from_fn(|| inbox.next()).map(|s| s.tick).collect();
            assert_eq!(taken, [1, 2]);
            leaving.join().unwrap();
        });
    }

    #[test]
    fn two_threads_leave_submissions_and_none_is_overlooked() {
        model(|| {
            let inbox = Arc::new(Inbox::new());
            let leaving: Vec<_> = (1..3)
                .map(|tick| {
                    let inbox = inbox.clone();
                    thread::spawn(move || inbox.push(submission(0, tick, None)))
                })
                .collect();
            let sum: u64 = (0..2).map(|_| inbox.next().map_or(0, |s| s.tick)).sum();
            assert_eq!(sum, 3);
            leaving.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn a_queue_serves_what_waits_for_another_queue_and_tells_the_host() {
        model(|| {
            let (shared, inbox) = (shared(), Arc::new(Inbox::new()));
            let serving = {
                let (shared, inbox) = (shared.clone(), inbox.clone());
                thread::spawn(move || serve(&shared, 0, &inbox, 1))
            };
            inbox.push(submission(0, 1, Some(DeviceWait { queue: 1, tick: 1, cascade: true })));
            inbox.close();
            shared.timeline.advance(1, 1, Err(Error::Cancelled));
            let outcome = shared.timeline.wait(0, 1, Patience::default());
            assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
            serving.join().unwrap();
        });
    }
}
