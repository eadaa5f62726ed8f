//! Time as the runners take it: of the thread where possible, so that other work on the machine is left out.
//!
//! Owns: batches, rounds and their order. Every contender runs once a round, so that drift hits all alike.
//! Next room: `record`.

use rustix::time::{ClockId, clock_gettime};

/// Time this thread has run, in nanoseconds.
pub fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One of the things compared: does its operation this many times.
pub struct Contender<'a> {
    /// What the record calls it.
    pub name: &'static str,
    /// The operation, so many times.
    pub run: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender that repeats one operation.
    pub fn new(name: &'static str, mut once: impl FnMut() + 'a) -> Self {
        let run = Box::new(move |count| (0..count).for_each(|_| once()));
        Self { name, run }
    }
}

/// Nanoseconds of thread time an operation, one sample a round, for each contender.
pub fn rounds(contenders: &mut [Contender<'_>], rounds: usize, batch_ns: u64) -> Vec<Vec<f64>> {
    let counts: Vec<u64> = contenders.iter_mut().map(|contender| calibrate(contender, batch_ns)).collect();
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for ((contender, &count), samples) in contenders.iter_mut().zip(&counts).zip(&mut samples) {
            let start = thread_ns();
            (contender.run)(count);
            samples.push((thread_ns() - start) as f64 / count as f64);
        }
    }
    samples
}

fn calibrate(contender: &mut Contender<'_>, batch_ns: u64) -> u64 {
    (contender.run)(3);
    let mut count = 1;
    loop {
        let start = thread_ns();
        (contender.run)(count);
        if thread_ns() - start > batch_ns / 2 || count > 1 << 26 {
            return count;
        }
        count *= 2;
    }
}
