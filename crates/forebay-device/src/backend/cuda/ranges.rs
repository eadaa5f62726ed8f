#![allow(unsafe_code, reason = "the profilers' library is a C library")]
//! Labels for NVIDIA's profilers: while a submission is laid into its stream, its label is an NVTX range of the thread.
//!
//! The ranges go to `libnvToolsExt`, as CUDA 12 and PyPI have it; where it is not installed there are none, and nothing is
//! lost but names. Rule:
//! - R1 The library is called only after a look that it is there.

use cudarc::nvtx::sys;

use crate::label::Label;

/// Bytes of a name that a profiler is told, with the zero behind them.
const MOST: usize = 64;

/// Whether the library is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profilers {
    present: bool,
}

impl Profilers {
    /// Looks for the library.
    pub(super) fn look() -> Self {
        // SAFETY: looks for a library of that name and calls nothing in it.
        Self { present: unsafe { sys::is_culib_present() } }
    }

    /// Begins a range, if anybody can be told of it.
    pub(super) fn begin(self, label: &Label) -> Option<Range> {
        self.present.then(|| {
            let name = zero_ended(label.as_str());
            // SAFETY: R1; the name ends in a zero, and the library copies it.
            unsafe { sys::nvtxRangePushA(name.as_ptr().cast()) };
            Range(())
        })
    }
}

/// A range of this thread, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Range(());

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: R1; ends the range that `Profilers::begin` began, as ranges of a thread end in turn.
        unsafe { sys::nvtxRangePop() };
    }
}

/// The start of a text, with a zero behind it.
fn zero_ended(text: &str) -> [u8; MOST] {
    let mut name = [0; MOST];
    let text = text.split('\0').next().unwrap_or_default().as_bytes();
    let len = text.len().min(MOST - 1);
    name[..len].copy_from_slice(&text[..len]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_end_in_a_zero() {
        assert_eq!(&zero_ended("step")[..5], b"step\0");
        assert_eq!(&zero_ended("a\0b")[..3], b"a\0\0");
        let long = zero_ended(&"x".repeat(100));
        assert_eq!((long[MOST - 2], long[MOST - 1]), (b'x', 0));
    }
}
