//! What memory gives here: how fast it is read by as many threads as work, or copied by a device with memory of its own.

use std::{hint::black_box, thread, time::Instant};

use forebay_device::{Device, Request};

/// Bytes that each thread reads: more than caches keep.
const BYTES: usize = 96 << 20;
/// The best of so many rounds counts, because others only ever slow it down.
const ROUNDS: usize = 4;

/// Bytes that a device copies at a time, where it has room for them twice; with less than the least, caches would do it.
const COPIED: std::ops::RangeInclusive<u64> = 64 << 20..=256 << 20;
/// Copies between two looks at the clock.
const COPIES: u64 = 64;

/// Bytes a second of the memory that weights lie in. A copy reads and writes each of its bytes.
pub(super) fn of(device: &Device) -> forebay_device::Result<f64> {
    match device.caps().unified {
        true => Ok(read(device.caps().workers)),
        false => copy(device, *COPIED.end()),
    }
}

/// Bytes a second, read and written, between two places of the device.
fn copy(device: &Device, mut bytes: u64) -> forebay_device::Result<f64> {
    let room = |bytes| device.alloc(Request::new(bytes).zeroed());
    let (a, b) = loop {
        match room(bytes).and_then(|a| Ok((a, room(bytes)?))) {
            Ok(rooms) => break rooms,
            Err(_) if bytes > *COPIED.start() => bytes /= 2,
            Err(error) => return Err(error),
        }
    };
    let mut session = device.session()?;
    let mut best = 0f64;
    for _ in 0..=ROUNDS {
        let begun = Instant::now();
        let mut stage = session.stage("copy");
        for _ in 0..COPIES / 2 {
            stage.copy(&a, &b)?;
            stage.copy(&b, &a)?;
        }
        stage.fence()?.wait()?;
        best = best.max((2 * COPIES * bytes) as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Bytes a second.
fn read(threads: usize) -> f64 {
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
    use forebay_device::DeviceOptions;

    #[test]
    fn a_device_copies_what_it_has_room_for() {
        let open = |limit| Device::open(&DeviceOptions::cpu().threads(1).memory_limit(limit)).unwrap();
        assert!(copy(&open(40 << 20), 16 << 20).unwrap() > 1e6);
        assert!(copy(&open(160 << 20), 128 << 20).unwrap() > 1e6);
        assert!(copy(&open(16 << 20), 128 << 20).is_err());
    }

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
