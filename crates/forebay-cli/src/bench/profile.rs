//! Where the time of a step goes, kernel by kernel.

use std::{collections::HashMap, time::Duration};

use forebay::generate::{batch::Batch, step::Sequence};
use forebay_device::StageProfile;

use crate::cli::Failure;

/// Steps of which each launch counts by its quickest.
const STEPS: usize = 8;

/// Runs a few steps behind the text that there is, and tells on standard error how long each kernel took.
pub(super) fn tell(sequence: &mut Sequence) -> Result<(), Failure> {
    if sequence.len() + STEPS > sequence.context() {
        sequence.roll_back(sequence.reach(sequence.context().saturating_sub(STEPS)))?;
    }
    let steps = STEPS.min(sequence.context() - sequence.len());
    tell_of(steps, || sequence.feed_profiled(1))
}

/// The same of steps that go over all texts of a batch, of which each begins anew.
pub(super) fn tell_of_batch(batch: &mut Batch) -> Result<(), Failure> {
    let mut next = Vec::new();
    for place in 0..batch.places() {
        // Whoever was there before has left.
        let _ = batch.leave(place);
    }
    while let Some(place) = batch.join(&[1])? {
        next.push((place, 1));
    }
    tell_of(STEPS.min(batch.context() - 1), || batch.step_profiled(&next))
}

fn tell_of(steps: usize, mut step: impl FnMut() -> forebay::Result<StageProfile>) -> Result<(), Failure> {
    let mut quickest: Vec<(String, Duration)> = Vec::new();
    for _ in 0..steps {
        let profile = step()?;
        let launches = profile.launches.into_iter().map(|launch| (launch.kernel.to_string(), launch.took));
        match quickest.is_empty() {
            true => quickest.extend(launches),
            false => quickest.iter_mut().zip(launches).for_each(|(best, one)| best.1 = best.1.min(one.1)),
        }
    }
    let all: Duration = quickest.iter().map(|(_, took)| *took).sum();
    let share = |took: Duration| 100.0 * took.as_secs_f64() / all.as_secs_f64().max(1e-12);
    eprintln!("{:<40} {:>8} {:>12} {:>8}", "kernel", "launches", "time", "share");
    for (kernel, count, took) in by_kernel(quickest) {
        let micros = 1e6 * took.as_secs_f64();
        eprintln!("{kernel:<40} {count:>8} {micros:>9.1} us {:>6.1} %", share(took));
    }
    let micros = 1e6 * all.as_secs_f64();
    eprintln!(
        "{:<40} {:>8} {micros:>9.1} us; each with a look at the clock, which a replay does not take",
        "all", ""
    );
    Ok(())
}

/// How often each kernel was launched and how long that took, the longest first.
fn by_kernel(launches: impl IntoIterator<Item = (String, Duration)>) -> Vec<(String, usize, Duration)> {
    let mut found: HashMap<String, (usize, Duration)> = HashMap::new();
    for (kernel, took) in launches {
        let entry = found.entry(kernel).or_default();
        *entry = (entry.0 + 1, entry.1 + took);
    }
    let mut found: Vec<_> = found.into_iter().map(|(kernel, (count, took))| (kernel, count, took)).collect();
    found.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_added_by_kernel_and_the_longest_comes_first() {
        let launches = [("b", 3), ("a", 1), ("b", 4), ("c", 7), ("a", 1)];
        let launches = launches.map(|(kernel, took)| (kernel.to_owned(), Duration::from_micros(took)));
        let found =
            by_kernel(launches).into_iter().map(|(kernel, count, took)| (kernel, count, took.as_micros()));
        let wanted = [("b".to_owned(), 2, 7), ("c".to_owned(), 1, 7), ("a".to_owned(), 2, 2)];
        assert_eq!(found.collect::<Vec<_>>(), wanted);
    }
}
