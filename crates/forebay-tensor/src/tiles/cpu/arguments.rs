#![allow(unsafe_code, reason = "kernels work on slices of device memory")]
//! The arguments of a launch as slices, for kernels on the CPU.
//!
//! Rules, on which the kernels in `ops/*/cpu.rs` rely:
//! - A1 A buffer argument is mapped memory that stays until the launch is over, aligned for the element of its
//!   parameter and a whole number of elements long; the device has checked that.
//! - A2 What a parameter declares as only read, nobody writes while the launch runs; a written argument overlaps no other.
//! - A3 A worker takes for writing only elements that its own groups own. Which elements a group owns follows from the
//!   grid and the arguments alone, no element has two owners, and nothing is taken again while it is held.

use std::{ops::Range, slice};

use bytemuck::Pod;
use forebay_device::Share;

/// All elements of an argument.
///
/// # Safety
/// The parameter is declared as only read, with elements of `T`.
pub(crate) unsafe fn read<'a, T: Pod>(share: &Share<'a>, argument: usize) -> &'a [T] {
    let (first, bytes) = share.bytes(argument);
    if bytes == 0 {
        return &[];
    }
    // SAFETY: A1 for the bytes, A2 for who else touches them; the caller vouches for the declaration.
    unsafe { slice::from_raw_parts(first.cast(), bytes / size_of::<T>()) }
}

/// Some elements of an argument.
///
/// # Panics
/// If they reach past its end; the stage then fails.
///
/// # Safety
/// The parameter is declared as written, with elements of `T`, and the elements are this worker's by A3.
pub(crate) unsafe fn write<'a, T: Pod>(
    share: &Share<'a>,
    argument: usize,
    elements: Range<usize>,
) -> &'a mut [T] {
    let (first, bytes) = share.bytes(argument);
    let all = bytes / size_of::<T>();
    assert!(
        elements.start <= elements.end && elements.end <= all,
        "elements {elements:?} of argument {argument} are not in its {all}"
    );
    if elements.is_empty() {
        return &mut [];
    }
    // SAFETY: A1 for the bytes and the assertion for the range; A2 and the caller's A3 for who else touches them.
    unsafe { slice::from_raw_parts_mut(first.cast::<T>().add(elements.start), elements.len()) }
}

/// An `f32` argument.
pub(crate) fn float(share: &Share<'_>, argument: usize) -> f32 {
    f32::from_bits(share.word(argument))
}

/// A `u32` argument.
pub(crate) fn count(share: &Share<'_>, argument: usize) -> usize {
    share.word(argument) as usize
}
