//! The clauses of the contract that say something of tensors (B), on every backend.
//!
//! Those of the bytes beneath are in `contract_memory`; here it is about types, shapes and strides. Tests look at data,
//! and at the words of errors where those carry values.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod access;
mod launches;
mod views;

use std::{fmt::Debug, process::ExitCode};

use forebay_device::Device;
use forebay_tensor::{DType, Error, Tensor};

fn main() -> ExitCode {
    testkit::run_clauses(testkit::TENSOR_CLAUSES, &[views::TESTS, access::TESTS, launches::TESTS])
}

/// A tensor of which nobody looks at the elements.
fn blank(device: &Device, shape: &[usize]) -> Tensor {
    let buffer = device.alloc(Tensor::request(DType::U32, shape).unwrap()).unwrap();
    Tensor::of(DType::U32, shape, buffer).unwrap()
}

/// A tensor whose elements count up from 0.
fn counted(device: &Device, shape: &[usize]) -> Tensor {
    let elements: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
    Tensor::from_slice(device, shape, &elements).unwrap()
}

/// The error of something that has to fail.
fn refused<T: Debug>(result: Result<T, Error>) -> Error {
    match result {
        Err(error) => error,
        Ok(value) => panic!("it was not refused: {value:?}"),
    }
}

/// The error of the device of something that has to fail.
fn refused_by_device<T: Debug>(result: Result<T, Error>) -> forebay_device::Error {
    match refused(result) {
        Error::Device(error) => error.0,
        other => panic!("{other}"),
    }
}
