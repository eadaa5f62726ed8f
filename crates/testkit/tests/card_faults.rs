//! What becomes of a program when a kernel breaks the card's context, when the card is full, and when others use it too.
//!
//! A broken context ends a process's use of the card for good, so each case runs in a process of its own: this program
//! starts itself with the name of the case.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test that cannot go on fails")]

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use forebay_device::{
    Buffer, Device, DeviceOptions, Error, Grid, ImageFormat, Kernel, KernelDef, Param, Request, Signature,
};
use testkit::{BLOCK, Kernels, Setup, Test, tests};

const TESTS: &[Test] = tests! {
    Driven:
        a_trap_ends_every_wait,
        a_write_far_outside_ends_every_wait,
        a_full_card_is_exhausted_and_usable_afterwards,
        two_processes_share_a_card;
};

/// The cases, by the name that a child is started with.
const CASES: &[(&str, fn())] = &[("trap", trap), ("outside", outside), ("full", full), ("sums", sums)];

/// A child that is not done after this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--case") {
        let name = args.next().unwrap_or_default();
        CASES.iter().find(|(case, _)| *case == name).unwrap().1();
        return ExitCode::SUCCESS;
    }
    testkit::run("", &[TESTS])
}

/// Runs cases at the same time, each in a process, and fails if one of them does or does not end.
fn children(cases: &[&str]) {
    let start =
        |case: &&str| Command::new(std::env::current_exe().unwrap()).args(["--case", case]).spawn().unwrap();
    let mut running: Vec<_> = cases.iter().map(start).collect();
    let begun = Instant::now();
    for child in &mut running {
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begun.elapsed() > PATIENCE => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
        }
        assert!(status.is_some_and(|status| status.success()), "{cases:?}: {status:?}");
    }
}

fn a_trap_ends_every_wait(_: &Setup) {
    children(&["trap"]);
}

fn a_write_far_outside_ends_every_wait(_: &Setup) {
    children(&["outside"]);
}

fn a_full_card_is_exhausted_and_usable_afterwards(_: &Setup) {
    children(&["full"]);
}

fn two_processes_share_a_card(_: &Setup) {
    children(&["sums", "sums", "sums"]);
}

fn trap() {
    const TRAP: &str = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry fall() { trap; }\n";
    let device = Device::open(&DeviceOptions::cuda()).unwrap();
    let def = KernelDef::new("fall", Signature::new([])).image(ImageFormat::Ptx, TRAP.as_bytes(), "fall");
    let kernel = device.load(&def).unwrap();
    let buffer = device.upload(&[1u32; 64]).unwrap();
    loses(&device, &kernel, 1, &[], &buffer);
}

fn outside() {
    let device = Device::open(&DeviceOptions::cuda()).unwrap();
    let signature = Signature::new([Param::write::<u32>(), Param::u32(), Param::u32()]);
    // The kernel writes as many elements as it is told, and there are only so many.
    let kernel = Kernels::load(&device).unwrap().fill;
    assert_eq!(kernel.signature().params().len(), signature.params().len());
    let buffer = device.upload(&[1u32; 64]).unwrap();
    loses(&device, &kernel, 1 << 23, &[buffer.arg(), 7u32.into(), u32::MAX.into()], &buffer);
}

/// Submits a launch that breaks the context, and waits for it in every way there is.
fn loses(device: &Device, kernel: &Kernel, groups: u32, args: &[forebay_device::Arg<'_>], buffer: &Buffer) {
    let is_lost =
        |outcome: Result<(), Error>| assert!(matches!(outcome, Err(Error::Lost { .. })), "{outcome:?}");
    let mut session = device.session().unwrap();
    let mut other =
        device.session_on(device.open_queue(forebay_device::QueueKind::Compute).unwrap()).unwrap();
    let before = other.stage("before").fence().unwrap();
    before.wait().unwrap();
    let mut stage = session.stage("falls");
    stage.launch(kernel, Grid::linear(groups, BLOCK), args).unwrap();
    stage.fill(buffer, 3).unwrap();
    let fence = stage.fence().unwrap();
    let waiting = fence.clone();
    let waiter = std::thread::spawn(move || waiting.wait());
    // Whoever only asks finds out as well.
    while !fence.is_done() {
        std::thread::yield_now();
    }
    is_lost(fence.wait());
    is_lost(fence.wait_for(Duration::from_secs(1)));
    is_lost(waiter.join().unwrap());
    is_lost(buffer.read::<u32>().map(drop));
    is_lost(session.stage("after").submit());
    is_lost(other.stage("on another queue").submit());
    before.wait().unwrap();
    let text = fence.wait().unwrap_err().to_string();
    assert!(text.contains("CUDA_ERROR"), "{text}");
}

fn full() {
    const STEP: u64 = 4 << 30;
    let device = Device::open(&DeviceOptions::cuda()).unwrap();
    let mut held = Vec::new();
    let refused = loop {
        match device.alloc(Request::new(STEP).label("fills the card")) {
            Ok(buffer) => held.push(buffer),
            Err(error) => break error,
        }
    };
    let Error::Exhausted(report) = &refused else { panic!("{refused}") };
    assert_eq!((report.asked, report.live), (STEP, STEP * held.len() as u64), "{refused}");
    assert!(STEP * held.len() as u64 > device.caps().memory / 2, "{} of {STEP}", held.len());
    // What is held is whole, to its last byte, and what is given back serves the next.
    let last = held.last().unwrap().slice(STEP - 4096..).unwrap();
    last.copy_from(&[7u8; 4096]).unwrap();
    assert_eq!(last.to_vec::<u8>().unwrap(), [7; 4096]);
    drop(last);
    held.pop();
    let again = device.alloc(Request::new(STEP)).unwrap();
    again.slice(..64).unwrap().copy_from(&[1u8; 64]).unwrap();
    drop((again, held));
    assert_eq!(device.pool().stats().in_use, 0);
    device.pool().trim(0).unwrap();
    assert_eq!(device.pool().stats().reserved, 0);
}

fn sums() {
    let device = Device::open(&DeviceOptions::cuda()).unwrap();
    let kernels = Kernels::load(&device).unwrap();
    let mine = std::process::id();
    let (from, sum) = (device.upload(&vec![mine; 100_003]).unwrap(), device.upload(&[0u32]).unwrap());
    let mut session = device.session().unwrap();
    for _ in 0..300 {
        let mut stage = session.stage("sum");
        kernels.fill(&mut stage, &sum, 0).unwrap();
        kernels.reduce_sum(&mut stage, &from, &sum).unwrap();
        stage.fence().unwrap().wait().unwrap();
        assert_eq!(sum.to_vec::<u32>().unwrap(), [mine.wrapping_mul(100_003)]);
    }
}
