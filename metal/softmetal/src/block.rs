#![allow(unsafe_code, reason = "blocks are laid out by the compiler's rules")]
//! Blocks: copied from the stack to the heap once, counted from then on.
//!
//! Rule for the unsafe code: X1, a block begins with the fields of `Layout`, and its descriptor with those of
//! `Descriptor`, as the rules for blocks have it; helpers are there when the flag says so.

use std::{
    alloc::{self, Layout as Memory},
    ffi::{c_int, c_void},
    ptr,
    sync::atomic::{AtomicI32, Ordering},
};

use crate::fault::fault;

const ON_HEAP: i32 = 1 << 24;
const WITH_COPIER: i32 = 1 << 25;
const GLOBAL: i32 = 1 << 28;
const COUNT: i32 = 0x00ff_ffff;

#[repr(C)]
struct Layout {
    isa: *const c_void,
    flags: AtomicI32,
    reserved: c_int,
    invoke: Option<unsafe extern "C-unwind" fn()>,
    descriptor: *const Descriptor,
}

#[repr(C)]
struct Descriptor {
    reserved: usize,
    size: usize,
    copy: Option<unsafe extern "C-unwind" fn(*mut c_void, *const c_void)>,
    dispose: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
}

/// The classes of blocks; nothing looks at them.
// SAFETY: S4.
#[unsafe(export_name = "_NSConcreteGlobalBlock")]
static GLOBAL_CLASS: [usize; 32] = [0; 32];
// SAFETY: S4.
#[unsafe(export_name = "_NSConcreteStackBlock")]
static STACK_CLASS: [usize; 32] = [0; 32];

/// Copies a block, or counts it once more.
// SAFETY: S4.
#[unsafe(no_mangle)]
pub(crate) extern "C-unwind" fn _Block_copy(block: *const c_void) -> *mut c_void {
    let whole = block.cast::<Layout>();
    // SAFETY: X1.
    let (flags, descriptor) = unsafe { (&(*whole).flags, &*(*whole).descriptor) };
    let now = flags.load(Ordering::SeqCst);
    if now & GLOBAL != 0 {
        return block.cast_mut();
    }
    if now & ON_HEAP != 0 {
        flags.fetch_add(1, Ordering::SeqCst);
        return block.cast_mut();
    }
    // SAFETY: X1: blocks have a size.
    let copy = unsafe { alloc::alloc(memory(descriptor)) }.cast::<c_void>();
    // SAFETY: X1: both are of that size.
    unsafe { ptr::copy_nonoverlapping(block.cast::<u8>(), copy.cast::<u8>(), descriptor.size) };
    // SAFETY: X1.
    unsafe { (*copy.cast::<Layout>()).flags.store(now & !COUNT | ON_HEAP | 1, Ordering::SeqCst) };
    if let (true, Some(helper)) = (now & WITH_COPIER != 0, descriptor.copy) {
        // SAFETY: X1.
        unsafe { helper(copy, block) };
    }
    copy
}

/// Gives a count back, and the block with the last one.
// SAFETY: S4.
#[unsafe(no_mangle)]
pub(crate) extern "C-unwind" fn _Block_release(block: *const c_void) {
    let whole = block.cast::<Layout>();
    // SAFETY: X1.
    let (flags, descriptor) = unsafe { (&(*whole).flags, &*(*whole).descriptor) };
    let now = flags.load(Ordering::SeqCst);
    if now & ON_HEAP == 0 {
        return;
    }
    match flags.fetch_sub(1, Ordering::SeqCst) & COUNT {
        0 => fault("a block is released once too often"),
        1 => {
            if let (true, Some(helper)) = (now & WITH_COPIER != 0, descriptor.dispose) {
                // SAFETY: X1: the last count is gone.
                unsafe { helper(block.cast_mut()) };
            }
            // SAFETY: made by `_Block_copy` with this size.
            unsafe { alloc::dealloc(block.cast_mut().cast(), memory(descriptor)) };
        }
        _ => {}
    }
}

fn memory(descriptor: &Descriptor) -> Memory {
    match Memory::from_size_align(descriptor.size, 16) {
        Ok(memory) => memory,
        Err(_) => fault("a block has no size"),
    }
}

/// A block that the device keeps, and calls with one object.
pub(crate) struct Handler(*mut c_void);

// SAFETY: blocks for handlers may be called on any thread; that is what the framework asks of them.
unsafe impl Send for Handler {}
// SAFETY: as above.
unsafe impl Sync for Handler {}

impl Handler {
    /// # Safety
    /// The pointer is that of a block which takes one object.
    pub(crate) unsafe fn copy(block: *const c_void) -> Self {
        Self(_Block_copy(block))
    }

    pub(crate) fn call(&self, object: *mut c_void) {
        type Invoke = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void);
        // SAFETY: X1.
        let Some(invoke) = (unsafe { (*self.0.cast::<Layout>()).invoke }) else {
            fault("a block without code")
        };
        // SAFETY: `copy`'s caller promised the type.
        let invoke = unsafe { std::mem::transmute::<unsafe extern "C-unwind" fn(), Invoke>(invoke) };
        // SAFETY: as above.
        unsafe { invoke(self.0, object) };
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        _Block_release(self.0);
    }
}
