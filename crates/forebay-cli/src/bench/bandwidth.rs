//! How fast memory is read here, by as many threads as work.

use std::{hint::black_box, thread, time::Instant};

/// Bytes that each thread reads: more than caches keep.
const BYTES: usize = 96 << 20;
/// The best of so many rounds counts, because others only ever slow it down.
const ROUNDS: usize = 4;

/// Bytes a second.
pub(super) fn read(threads: usize) -> f64 {
    let memory: Vec<Vec<u64>> = (0..threads).map(|i| vec![i as u64 + 1; BYTES / 8]).collect();
    let round = |_| {
        let begun = Instant::now();
        thread::scope(|scope| {
            for part in &memory {
                scope.spawn(move || black_box(mixed(part)));
            }
        });
        (threads * BYTES) as f64 / begun.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}

/// All of it in two streams, by sums that do not wait for each other.
fn mixed(memory: &[u64]) -> [u64; 16] {
    let (first, second) = memory.split_at(memory.len() / 2);
    let mut sums = [0u64; 16];
    for (a, b) in first.as_chunks::<8>().0.iter().zip(second.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] ^= a[lane];
            sums[8 + lane] ^= b[lane];
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_memory_is_read() {
        let mut memory = vec![0u64; 64];
        for at in 0..64 {
            memory[at] = 1;
            assert_eq!(mixed(&memory).iter().sum::<u64>(), 1, "{at}");
            memory[at] = 0;
        }
    }
}
