//! The workers that share the launches of one queue: worker 0 is the queue's own thread, the others help.
//!
//! Every worker runs the same job with its own number; inside it `Workers::barrier` separates what has to be
//! separated. Which groups a worker takes is decided by its number alone, so results do not depend on timing.

use std::cell::Cell;

use super::gate::Gate;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock, thread};

/// Rounds a worker spins at the start of a job and at barriers before it sleeps: some tens of microseconds.
const SPINS: u32 = 3_000;

std::thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs kernels.
pub(crate) fn is_worker() -> bool {
    IS_WORKER.get()
}

/// Says that this thread runs kernels from now on.
pub(crate) fn become_worker() {
    IS_WORKER.set(true);
}

/// What all workers run together.
pub(crate) trait Job: Send + Sync + 'static {
    /// The part of one worker. Must not panic.
    fn run(&self, worker: usize);
}

/// Worker 0's view of its helpers.
#[derive(Debug)]
pub(crate) struct Team<J: Job> {
    workers: Arc<Workers<J>>,
    helpers: Vec<thread::JoinHandle<()>>,
}

/// What the workers of a team share.
pub(crate) struct Workers<J> {
    count: usize,
    job: Mutex<Option<Arc<J>>>,
    start: Gate,
    stop: AtomicBool,
    arrived: AtomicUsize,
    passed: Gate,
}

impl<J> std::fmt::Debug for Workers<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<J: Job> Workers<J> {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            count,
            job: Mutex::new(None),
            start: Gate::new(SPINS),
            stop: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            passed: Gate::new(SPINS),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns when all workers have come here; what they did before is visible to all afterwards.
    pub(crate) fn barrier(&self) {
        let seen = self.passed.value();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.count {
            self.arrived.store(0, Ordering::Relaxed);
            self.passed.raise();
        } else {
            self.passed.wait_past(seen);
        }
    }

    fn help(&self, worker: usize) {
        become_worker();
        let mut seen = 0;
        loop {
            self.start.wait_past(seen);
            seen += 1;
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let job = lock(&self.job).clone();
            if let Some(job) = job {
                job.run(worker);
            }
            // The job is given up before the barrier, so that worker 0 owns it alone afterwards.
            self.barrier();
        }
    }
}

impl<J: Job> Team<J> {
    /// Starts a team of `count` workers, this thread included.
    pub(crate) fn start(workers: Arc<Workers<J>>, name: &str) -> std::io::Result<Self> {
        let mut team = Self { workers, helpers: Vec::new() };
        for worker in 1..team.workers.count {
            let workers = team.workers.clone();
            team.helpers.push(
                thread::Builder::new()
                    .name(format!("{name}.{worker}"))
                    .spawn(move || workers.help(worker))?,
            );
        }
        Ok(team)
    }

    pub(crate) fn workers(&self) -> &Arc<Workers<J>> {
        &self.workers
    }

    /// Runs a job on all workers. When this returns, all are done and the caller holds the job alone.
    pub(crate) fn run(&self, job: &Arc<J>) {
        *lock(&self.workers.job) = Some(job.clone());
        self.workers.start.raise();
        job.run(0);
        self.workers.barrier();
        *lock(&self.workers.job) = None;
    }
}

impl<J: Job> Drop for Team<J> {
    fn drop(&mut self) {
        self.workers.stop.store(true, Ordering::Release);
        self.workers.start.raise();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::model;

    use super::*;

    type Cells = Arc<[AtomicUsize; 3]>;

    /// Every worker writes what is its own, and after a barrier reads what is another's. The writes and reads are
    /// relaxed, so that only the barrier puts them in order.
    struct Swap {
        workers: Arc<Workers<Self>>,
        rounds: std::ops::Range<usize>,
        own: Cells,
    }

    impl Job for Swap {
        fn run(&self, worker: usize) {
            let other = (worker + 1) % self.workers.count();
            for round in self.rounds.clone() {
                self.own[worker].store(round, Ordering::Relaxed);
                self.workers.barrier();
                assert_eq!(self.own[other].load(Ordering::Relaxed), round);
                if round + 1 < self.rounds.end {
                    self.workers.barrier();
                }
            }
        }
    }

    fn swap(workers: &Arc<Workers<Swap>>, own: &Cells, rounds: std::ops::Range<usize>) -> Arc<Swap> {
        Arc::new(Swap { workers: workers.clone(), rounds, own: own.clone() })
    }

    fn cells() -> Cells {
        Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)))
    }

    #[test]
    fn a_barrier_lets_nobody_through_before_all_are_there_round_after_round() {
        model(|| {
            let job = swap(&Arc::new(Workers::new(2)), &cells(), 1..3);
            let helper = {
                let job = job.clone();
                thread::spawn(move || job.run(1))
            };
            job.run(0);
            helper.join().unwrap();
        });
    }

    #[test]
    fn three_workers_meet_at_a_barrier() {
        model(|| {
            let job = swap(&Arc::new(Workers::new(3)), &cells(), 1..2);
            let helpers: Vec<_> = (1..3)
                .map(|worker| {
                    let job = job.clone();
                    thread::spawn(move || job.run(worker))
                })
                .collect();
            job.run(0);
            helpers.into_iter().for_each(|helper| helper.join().unwrap());
        });
    }

    #[test]
    fn after_a_job_its_owner_holds_it_alone_and_sees_all_writes() {
        model(|| {
            let own = cells();
            let team = Team::start(Arc::new(Workers::new(2)), "team").unwrap();
            for round in 1..3 {
                let mut job = swap(team.workers(), &own, round..round + 1);
                team.run(&job);
                assert!(Arc::get_mut(&mut job).is_some(), "a helper still holds the job");
                let seen: Vec<_> = own.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
                assert_eq!(seen, [round, round, 0]);
            }
        });
    }

    #[test]
    fn a_team_that_never_worked_stops() {
        model(|| drop(Team::<Swap>::start(Arc::new(Workers::new(3)), "team").unwrap()));
    }
}
