#![allow(unsafe_code, reason = "calls the instruction whose rate is the peak")]
//! What the machine can do: bytes read a second, and products of bytes a second.
//!
//! Never: anything of forebay. Rule P1: a function compiled for a feature is called only where it was detected.
//! Next room: `cpu`, which sets kernels against these.

use std::{hint::black_box, sync::Barrier, thread, time::Instant};

/// Bytes that each thread reads once.
const READ: usize = 192 << 20;
/// Rounds of products.
const ROUNDS: u64 = 40_000_000;
/// Sums that run side by side, enough to hide how long a product takes.
const SUMS: usize = 16;

/// Seconds between the first thread that starts and the last one that ends, and what they did.
fn together<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> f64 {
    let start = Barrier::new(threads);
    let run = |i: usize| {
        start.wait();
        let begun = Instant::now();
        black_box(work(i));
        (begun, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|i| scope.spawn(move || run(i))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let begun = times.iter().map(|(begun, _)| *begun).min();
    let ended = times.iter().map(|(_, ended)| *ended).max();
    begun.zip(ended).map_or(f64::NAN, |(begun, ended)| (ended - begun).as_secs_f64())
}

/// Memory to be read, in large pages where the system has them.
pub(crate) struct Memory(Vec<Vec<u64>>);

impl Memory {
    /// Memory for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|i| vec![i as u64 + 1; READ / 8]).collect())
    }

    /// GB read a second by so many threads, each in two streams.
    pub(crate) fn bandwidth(&self, threads: usize) -> f64 {
        let seconds = together(threads, |i| {
            let (first, second) = self.0[i].split_at(READ / 16);
            let mut sums = [0u64; 16];
            for (a, b) in first.as_chunks::<8>().0.iter().zip(second.as_chunks::<8>().0) {
                for lane in 0..8 {
                    sums[lane] ^= a[lane];
                    sums[8 + lane] ^= b[lane];
                }
            }
            sums
        });
        (threads * READ) as f64 / seconds / 1e9
    }
}

/// Operations a second, in thousands of millions, of products of bytes; none where the machine has no such instruction.
pub(crate) fn products(threads: usize) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vnni") {
        // SAFETY: P1.
        let seconds = together(threads, |_| unsafe { spin() });
        let products = threads as u64 * ROUNDS * SUMS as u64 * 64;
        return Some(2.0 * products as f64 / seconds / 1e9);
    }
    let _ = (threads, ROUNDS, SUMS);
    None
}

/// Products and nothing else.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn spin() -> i32 {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8,
        _mm512_setzero_si512,
    };
    let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-2)));
    let mut sums = [_mm512_setzero_si512(); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
        // What is the same in every round could be taken out of the loop.
        sums = black_box_registers(sums);
    }
    _mm512_reduce_add_epi32(sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b)))
}

/// Lets nobody know what the sums are, and leaves them in registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn black_box_registers(mut sums: [std::arch::x86_64::__m512i; SUMS]) -> [std::arch::x86_64::__m512i; SUMS] {
    for sum in &mut sums {
        // SAFETY: no instruction at all, which touches nothing.
        unsafe {
            std::arch::asm!("/* {0} */", inout(zmm_reg) * sum, options(nomem, nostack, preserves_flags))
        };
    }
    sums
}
