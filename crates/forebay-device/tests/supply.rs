//! When a pool asks its driver for memory and when it gives memory back, on a device that only counts bytes.

use forebay_device::{Buffer, DeviceOptions, NullOptions, Pool, PoolOptions, Request, Tag};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[allow(clippy::unwrap_used, reason = "a pool that a test cannot open is a failed test")]
fn pool(options: PoolOptions) -> Pool {
    let (device, _) = NullOptions::default().backed(false).open(&DeviceOptions::null()).unwrap();
    Pool::new(&device, options).unwrap()
}

#[test]
fn a_large_step_that_repeats_needs_the_driver_only_once() {
    let pool = pool(PoolOptions::default());
    let mut calls = Vec::new();
    for _ in 0..6 {
        let step: Vec<Buffer> = (1..60).map(|i| pool.alloc(i * MIB + 300).unwrap()).collect();
        drop(step);
        calls.push(pool.stats().driver_calls);
    }
    assert!(calls[0] > 0);
    assert_eq!(calls[1..], [calls[0]; 5], "nothing is given back that the next step needs");
    assert!(pool.stats().reserved <= 59 * 60 / 2 * MIB * 103 / 100 + 8 * MIB, "{:?}", pool.stats());
}

#[test]
fn what_was_there_to_stay_is_not_kept_for_long() {
    for (tag, most) in [(Tag::Weights, GIB + 256 * MIB), (Tag::Activations, 5 * GIB)] {
        let pool = pool(PoolOptions::default());
        let request = || Request::new(128 * MIB).tag(tag);
        let model: Vec<Buffer> = (0..32).map(|_| pool.alloc(request()).unwrap()).collect();
        assert_eq!(pool.stats().live, 4 * GIB);
        drop(model);
        let free = pool.stats().free;
        assert!(free <= most && free >= most / 2, "{tag}: {free} bytes are free");
    }
}

#[test]
fn a_pool_stays_dense_while_sizes_vary() {
    let pool = pool(PoolOptions::default());
    let mut dice = 7u64;
    let mut below = |n: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % n
    };
    let mut held: Vec<Buffer> = Vec::new();
    for _ in 0..20_000 {
        let bytes = (1 + below(8)) * MIB + below(MIB);
        if pool.stats().live + bytes > GIB {
            let at = below(held.len() as u64) as usize;
            held.swap_remove(at);
        } else {
            held.push(pool.alloc(bytes).unwrap());
        }
    }
    let stats = pool.stats();
    let loose = stats.peak_reserved as f64 / stats.peak_live as f64;
    assert!(loose < 1.2, "{loose}");
    assert!(stats.driver_calls < 20_000, "{}", stats.driver_calls);
}
