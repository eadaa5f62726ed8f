#![allow(unsafe_code, reason = "methods are called by objc2")]
//! The device, and the function by which a program finds it.

use std::{
    ffi::c_void,
    ptr,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    command, control,
    foundation::{self, OBJECT},
    library, memory,
    runtime::{Class, Id, Method, Selector, contents, make},
};

static DEVICE: Class = Class::new(
    c"SoftDevice",
    Some(&OBJECT),
    &[
        Method::new(c"name", c"@@:", name as *const ()),
        Method::new(c"hasUnifiedMemory", c"C@:", unified as *const ()),
        Method::new(c"supportsFamily:", c"C@:q", supports as *const ()),
        Method::new(c"maxBufferLength", c"Q@:", largest as *const ()),
        Method::new(c"recommendedMaxWorkingSetSize", c"Q@:", all as *const ()),
        Method::new(c"maxThreadgroupMemoryLength", c"Q@:", shared as *const ()),
        Method::new(c"newCommandQueueWithMaxCommandBufferCount:", c"@@:Q", queue as *const ()),
        Method::new(c"newSharedEvent", c"@@:", event as *const ()),
        Method::new(c"newBufferWithLength:options:", c"@@:QQ", buffer as *const ()),
        Method::new(
            c"newBufferWithBytesNoCopy:length:options:deallocator:",
            c"@@:^vQQ@?",
            wrapped as *const (),
        ),
        Method::new(c"newResidencySetWithDescriptor:error:", c"@@:@^@", set as *const ()).since(15),
        Method::new(c"newLibraryWithSource:options:error:", c"@@:@@^@", compile as *const ()),
        Method::new(c"newComputePipelineStateWithFunction:error:", c"@@:@^@", pipeline as *const ()),
    ],
);

/// A device, and whether it was taken away.
#[derive(Default)]
struct Device {
    removed: Arc<AtomicBool>,
}

/// The family of the first Apple GPU of Macs, and what macOS 13 calls all since then.
const APPLE7: isize = 1007;
const METAL3: isize = 5001;

// SAFETY: S4.
#[unsafe(no_mangle)]
extern "C-unwind" fn MTLCreateSystemDefaultDevice() -> Id {
    make(&DEVICE, Device::default())
}

extern "C-unwind" fn name(_: Id, _: Selector) -> Id {
    foundation::string("software Metal device")
}

extern "C-unwind" fn unified(object: Id, _: Selector) -> bool {
    contents::<Device>(object);
    true
}

extern "C-unwind" fn supports(_: Id, _: Selector, family: isize) -> bool {
    match family {
        METAL3 => control::macos() >= 13,
        family => family <= APPLE7,
    }
}

extern "C-unwind" fn largest(_: Id, _: Selector) -> usize {
    memory::LARGEST as usize
}

extern "C-unwind" fn all(_: Id, _: Selector) -> u64 {
    memory::ALL
}

extern "C-unwind" fn shared(_: Id, _: Selector) -> usize {
    msl::SHARED
}

extern "C-unwind" fn queue(object: Id, _: Selector, allowed: usize) -> Id {
    command::queue(allowed, contents::<Device>(object).removed.clone())
}

extern "C-unwind" fn event(_: Id, _: Selector) -> Id {
    command::event()
}

extern "C-unwind" fn buffer(_: Id, _: Selector, len: usize, options: usize) -> Id {
    memory::buffer(len, options)
}

extern "C-unwind" fn wrapped(
    _: Id,
    _: Selector,
    start: *mut c_void,
    len: usize,
    options: usize,
    deallocator: *const c_void,
) -> Id {
    assert_eq!(deallocator, ptr::null(), "the backend hands over no memory");
    memory::wrapped(start, len, options)
}

extern "C-unwind" fn set(_: Id, _: Selector, _descriptor: Id, _: *mut Id) -> Id {
    memory::set()
}

extern "C-unwind" fn compile(_: Id, _: Selector, source: Id, options: Id, error: *mut Id) -> Id {
    library::library(source, options, error)
}

extern "C-unwind" fn pipeline(_: Id, _: Selector, function: Id, _: *mut Id) -> Id {
    library::pipeline(function)
}
