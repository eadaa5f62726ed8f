#![allow(unsafe_code, reason = "switches stacks")]
//! Fibres: stacks of their own, switched to and from by hand, on one thread of the host.
//!
//! Rules for the unsafe code:
//! - F1 A stack is mapped from `Stack::map` to `drop`, and one page below it is never mapped, so that what overflows it
//!   faults.
//! - F2 `switch` is called on the thread that owns both stacks; what it saves is resumed once.
//!
//! Next room: `group`, which decides who runs.

use std::{arch::global_asm, ffi::c_void, ptr};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("kernels are run on x86_64 only: `switch` is written for it");

const BYTES: usize = 128 << 10;
const PAGE: usize = 4096;

/// A stack.
#[derive(Debug)]
pub(crate) struct Stack {
    base: *mut c_void,
}

impl Stack {
    pub(crate) fn map() -> Self {
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: F1: a fresh mapping touches nobody's memory.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), BYTES, protection, flags) }
            .expect("there is a stack left");
        // SAFETY: F1: the lowest page is ours.
        unsafe { mprotect(base, PAGE, MprotectFlags::empty()) }.expect("a page can be closed");
        Self { base }
    }

    /// Prepares the stack so that the first switch to it calls a function, which never returns.
    pub(crate) fn begin(&mut self, function: extern "C" fn() -> !) -> *mut c_void {
        let top = self.base.wrapping_byte_add(BYTES).cast::<usize>();
        // What `switch` takes off: six registers and the address to go on at, and above that none to return to, so that
        // the function finds its stack as after a call.
        let frame = top.wrapping_sub(8);
        // SAFETY: F1: the topmost words of the stack.
        unsafe {
            ptr::write_bytes(frame, 0, 8);
            frame.add(6).write(function as usize);
        }
        frame.cast()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: F1: mapped by `map`, given up exactly here.
        let _ = unsafe { munmap(self.base, BYTES) };
    }
}

// SAFETY: F2: defined below, with this type.
unsafe extern "C" {
    /// Saves the running stack and goes on with another (F2).
    pub(crate) fn msl_switch(save: &mut *mut c_void, to: *mut c_void);
}

global_asm!(
    ".globl msl_switch",
    "msl_switch:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi], rsp",
    "mov rsp, rsi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
);
