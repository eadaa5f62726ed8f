#![allow(unsafe_code, reason = "an allocator that counts has to be one")]
//! Clause K2 with an allocator that counts: recording takes no memory from the host, nor does a warm submission.
//!
//! A program of its own, because an allocator belongs to a whole program. It counts what the calling thread does.
//!
//! Rule for the unsafe code: C1, every call goes on to the system's allocator with what it was given.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use forebay_device::{Device, DeviceOptions, Grid};
use testkit::Kernels;

struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter any more, and nobody asks for it.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
}

// SAFETY: C1.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: C1.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: C1.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: C1.
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: C1.
        unsafe { System.dealloc(start, layout) }
    }

    // SAFETY: C1.
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: C1.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often something takes memory on this thread.
fn taken(work: impl FnOnce()) -> u64 {
    let before = TAKEN.get();
    work();
    TAKEN.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(taken(|| drop(vec![1u8; 100])), 1);
    assert_eq!(taken(|| drop(std::hint::black_box(String::from("a")) + "bc")), 2);
    assert_eq!(taken(|| ()), 0);
}

#[test]
fn k2_recording_a_thousand_launches_takes_no_memory() {
    let device = Device::open(&DeviceOptions::cpu()).unwrap();
    let kernels = Kernels::load(&device).unwrap();
    let buffers: Vec<_> = (0..200).map(|_| device.alloc(1024).unwrap()).collect();
    let mut session = device.session().unwrap();
    for round in 0..4 {
        let mut stage = session.stage("many");
        let recorded = taken(|| {
            for i in 0..1000 {
                let [a, b, out] = [i, i + 1, i + 2].map(|i| &buffers[i % buffers.len()]);
                let args = [a.arg(), b.arg(), out.arg(), 256u32.into()];
                stage.launch(&kernels.add, Grid::linear(1, 256), &args).unwrap();
            }
        });
        assert_eq!(stage.len(), 1000);
        stage.fence().unwrap().wait().unwrap();
        assert!(round < 2 || recorded == 0, "round {round}: {recorded} allocations");
    }
}

#[test]
fn k2_a_warm_stage_is_submitted_and_waited_for_without_memory() {
    let device = Device::open(&DeviceOptions::cpu()).unwrap();
    let kernels = Kernels::load(&device).unwrap();
    let (a, b) = (device.alloc(1024).unwrap(), device.alloc(1024).unwrap());
    let mut session = device.session().unwrap();
    let mut stage = session.stage("kept");
    kernels.copy(&mut stage, &a, &b).unwrap();
    let recording = stage.record().unwrap();
    for round in 0..50 {
        let direct = taken(|| {
            let mut stage = session.stage("warm");
            kernels.copy(&mut stage, &a, &b).unwrap();
            stage.fence().unwrap().wait().unwrap();
        });
        let replayed = taken(|| session.replay(&recording).unwrap().wait().unwrap());
        assert!(
            round < 8 || (direct, replayed) == (0, 0),
            "round {round}: {direct} and {replayed} allocations"
        );
    }
}
