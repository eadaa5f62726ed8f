#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
//! Clauses S and K: sessions, stages and fences, kernels and recordings, on every device.
//!
//! `stages` counts and labels, `order` looks at data that slow work wrote, `waits` at hosts that wait, `kernels` at
//! launches and `recordings` at replays. What must not compile (S7) is in `forebay-device/tests/ui`.

mod kernels;
mod order;
mod recordings;
mod stages;
mod waits;

use std::process::ExitCode;

use forebay_device::{Buffer, Kernel, KernelDef, Param, Signature};
use testkit::Bed;

/// A length that fills no block and no vector register evenly.
const ODD: usize = 1001;

fn main() -> ExitCode {
    testkit::run("SK", &[stages::TESTS, order::TESTS, waits::TESTS, kernels::TESTS, recordings::TESTS])
}

/// A buffer of `ODD` elements, all of a value.
fn filled(bed: &Bed, value: u32) -> Buffer {
    let buffer = empty(bed);
    if bed.setup.bytes {
        buffer.write::<u32>().unwrap().fill(value);
    }
    buffer
}

/// A buffer of `ODD` elements.
fn empty(bed: &Bed) -> Buffer {
    bed.device.alloc(4 * ODD as u64).unwrap()
}

/// A kernel that fails whenever its argument is not 0.
fn faulty(bed: &Bed) -> Kernel {
    let code = |group: &forebay_device::Group<'_>| assert_eq!(group.u32(0), 0, "planted");
    bed.device.load(&KernelDef::new("faulty", Signature::new([Param::u32()])).cpu(code)).unwrap()
}
