//! The clauses of the contract on memory: the pool (P), buffers (B) and residency (R), on every backend.
//!
//! Tests look at data: memory that is used again too early shows as wrong bytes, not only as wrong counts. Work is held
//! back by gates, so that a test sees the moment it means and no test guesses how long something takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod arena;
mod buffers;
mod guards;
mod limits;
mod outside;
mod pool;
mod residency;
mod reuse;

use std::process::ExitCode;

use forebay_device::Buffer;

fn main() -> ExitCode {
    let files = [
        arena::TESTS,
        buffers::TESTS,
        guards::TESTS,
        limits::TESTS,
        outside::TESTS,
        pool::TESTS,
        residency::TESTS,
        reuse::TESTS,
    ];
    testkit::run("PBR", &files)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes that no other seed gives, at no shift.
fn pattern(seed: u64, len: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Whether a buffer holds just these bytes, without printing megabytes when it does not.
fn holds(buffer: &Buffer, wanted: &[u8]) {
    let got = buffer.read::<u8>().unwrap();
    assert_eq!(got.len(), wanted.len());
    let first = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    if let Some(at) = first {
        panic!("byte {at} of {} in {buffer:?} is {:#x}, not {:#x}", wanted.len(), got[at], wanted[at]);
    }
}

/// Whether every byte of a buffer is this one.
fn is_filled(buffer: &Buffer, byte: u8) {
    let got = buffer.read::<u8>().unwrap();
    if let Some(at) = got.iter().position(|&got| got != byte) {
        panic!("byte {at} of {} in {buffer:?} is {:#x}, not {byte:#x}", got.len(), got[at]);
    }
}

/// The bytes of two buffers as addresses.
fn overlap(a: &Buffer, b: &Buffer) -> bool {
    a.address() < b.address() + b.len() && b.address() < a.address() + a.len()
}
