#![allow(unsafe_code, reason = "maps memory, and methods are called by objc2")]
//! Buffers and residency sets.
//!
//! A buffer has pages of its own, with one that is closed behind them; when it goes they are closed, too, for good, so
//! that whatever touches them later faults. Fresh bytes hold a pattern. Rule for the unsafe code: M1, the pages of a
//! buffer that owns some are ours for ever.

use std::{
    ffi::c_void,
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::{
    control,
    fault::fault,
    foundation::OBJECT,
    runtime::{Class, Id, Method, Selector, contents, is_alive, make, name_of},
};

pub(crate) static CLASSES: &[&Class] = &[&SET_DESCRIPTOR];

/// The largest buffer, and what all together may have.
pub(crate) const LARGEST: u64 = 4 << 30;
pub(crate) const ALL: u64 = 6 << 30;
/// Shared between host and device, hazards not tracked: what the backend promises to use.
const SHARED_UNTRACKED: usize = 0x100;
const PATTERN: u8 = 0xA5;
/// Bytes at both ends of a fresh buffer that get the pattern; what is between is zero, to be quick.
const MARKED: usize = 1 << 20;

static BUFFER: Class = Class::new(
    c"SoftBuffer",
    Some(&OBJECT),
    &[
        Method::new(c"length", c"Q@:", length as *const ()),
        Method::new(c"contents", c"^v@:", start as *const ()),
    ],
);

static SET: Class = Class::new(
    c"SoftResidencySet",
    Some(&OBJECT),
    &[
        Method::new(c"addAllocation:", c"v@:@", set_add as *const ()),
        Method::new(c"removeAllocation:", c"v@:@", set_remove as *const ()),
        Method::new(c"commit", c"v@:", set_commit as *const ()),
    ],
);

// SAFETY: S4.
#[unsafe(export_name = "._OBJC_CLASS_MTLResidencySetDescriptor")]
static SET_DESCRIPTOR: Class = Class::new(c"MTLResidencySetDescriptor", Some(&OBJECT), &[]).since(15);

/// Bytes of all buffers that own theirs.
static USED: AtomicU64 = AtomicU64::new(0);

/// A buffer.
pub(crate) struct Buffer {
    start: usize,
    pub(crate) len: usize,
    owned: bool,
}

impl Buffer {
    pub(crate) fn at(&self, offset: usize) -> *mut c_void {
        ptr::with_exposed_provenance_mut(self.start + offset)
    }
}

fn page() -> usize {
    rustix::param::page_size()
}

/// A buffer of so many bytes; nil where there is no memory.
pub(crate) fn buffer(len: usize, options: usize) -> Id {
    if len == 0 || len as u64 > LARGEST {
        fault(&format!("a buffer of {len} bytes"));
    }
    if options != SHARED_UNTRACKED {
        fault(&format!("resource options {options:#x}: the backend uses shared, untracked buffers only"));
    }
    if control::refuses_buffers() || USED.fetch_add(len as u64, Ordering::SeqCst) + len as u64 > ALL {
        USED.fetch_sub(if control::refuses_buffers() { 0 } else { len as u64 }, Ordering::SeqCst);
        return ptr::null_mut();
    }
    let whole = len.next_multiple_of(page()) + page();
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
    // SAFETY: M1: a fresh mapping.
    let Ok(start) = (unsafe { mmap_anonymous(ptr::null_mut(), whole, protection, flags) }) else {
        return ptr::null_mut();
    };
    let (first, last) = (len.min(MARKED), len - len.min(MARKED));
    // SAFETY: M1: inside what was mapped.
    unsafe {
        ptr::write_bytes(start.cast::<u8>(), PATTERN, first);
        ptr::write_bytes(start.cast::<u8>().add(last), PATTERN, first);
        let _ = mprotect(start.byte_add(whole - page()), page(), MprotectFlags::empty());
    }
    make(&BUFFER, Buffer { start: start.expose_provenance(), len, owned: true })
}

/// A buffer on memory of somebody else.
pub(crate) fn wrapped(start: *mut c_void, len: usize, options: usize) -> Id {
    let address = start.expose_provenance();
    if address == 0 || len == 0 || !address.is_multiple_of(page()) || !len.is_multiple_of(page()) {
        fault(&format!("memory at {address:#x} of {len} bytes does not consist of whole pages"));
    }
    if options != SHARED_UNTRACKED {
        fault(&format!("resource options {options:#x}"));
    }
    make(&BUFFER, Buffer { start: address, len, owned: false })
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.owned {
            USED.fetch_sub(self.len as u64, Ordering::SeqCst);
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
            // SAFETY: M1: closed for good.
            let _ = unsafe {
                mmap_anonymous(self.at(0), self.len.next_multiple_of(page()), ProtFlags::empty(), flags)
            };
        }
    }
}

/// A residency set: what is staged, and what was committed. It keeps nothing alive.
#[derive(Default)]
pub(crate) struct Set {
    staged: Mutex<Vec<usize>>,
    committed: Mutex<Vec<usize>>,
}

pub(crate) fn set() -> Id {
    make(&SET, Set::default())
}

impl Set {
    /// Faults if a member is gone: the device would keep memory resident that belongs to nobody.
    pub(crate) fn check(&self) {
        let committed = self.committed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for member in committed.iter() {
            let member: Id = ptr::with_exposed_provenance_mut(*member);
            if !is_alive(member) {
                fault(&format!("the residency set holds a {} that is gone", name_of(member)));
            }
        }
    }

    fn change(&self, member: Id, add: bool) {
        contents::<Buffer>(member);
        let member = member.expose_provenance();
        let mut staged = self.staged.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match (add, staged.iter().position(|other| *other == member)) {
            (true, None) => staged.push(member),
            (false, Some(at)) => _ = staged.swap_remove(at),
            (true, Some(_)) => fault("a member is added to the residency set again"),
            (false, None) => fault("what is no member is removed from the residency set"),
        }
    }
}

extern "C-unwind" fn length(object: Id, _: Selector) -> usize {
    contents::<Buffer>(object).len
}

extern "C-unwind" fn start(object: Id, _: Selector) -> *mut c_void {
    contents::<Buffer>(object).at(0)
}

extern "C-unwind" fn set_add(object: Id, _: Selector, member: Id) {
    contents::<Set>(object).change(member, true);
}

extern "C-unwind" fn set_remove(object: Id, _: Selector, member: Id) {
    contents::<Set>(object).change(member, false);
}

extern "C-unwind" fn set_commit(object: Id, _: Selector) {
    let set = contents::<Set>(object);
    let staged = set.staged.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    *set.committed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = staged;
    set.check();
}
