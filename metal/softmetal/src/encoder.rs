#![allow(unsafe_code, reason = "methods are called by objc2")]
//! Compute encoders: what is bound, checked as Metal's validation would, and the launches that come of it.

use std::sync::{Arc, Mutex, MutexGuard};

use msl::{Kernel, MOST_THREADS, SHARED};

use crate::{
    command::CommandBuffer,
    fault::fault,
    foundation::OBJECT,
    gpu::{Bound, Launch, Shell, Step},
    memory::Buffer,
    runtime::{Class, Id, Method, Selector, autorelease, contents, make, release, retain},
};

static ENCODER: Class = Class::new(
    c"SoftComputeEncoder",
    Some(&OBJECT),
    &[
        Method::new(c"setComputePipelineState:", c"v@:@", set_pipeline as *const ()),
        Method::new(c"setBuffer:offset:atIndex:", c"v@:@QQ", set_buffer as *const ()),
        Method::new(c"setBytes:length:atIndex:", c"v@:^vQQ", set_bytes as *const ()),
        Method::new(c"setThreadgroupMemoryLength:atIndex:", c"v@:QQ", set_shared as *const ()),
        Method::new(
            c"dispatchThreadgroups:threadsPerThreadgroup:",
            c"v@:{?=QQQ}{?=QQQ}",
            dispatch as *const (),
        ),
        Method::new(c"memoryBarrierWithScope:", c"v@:Q", barrier as *const ()),
        Method::new(c"endEncoding", c"v@:", end as *const ()),
    ],
);

/// Indices that a launch has for buffers.
const INDICES: usize = 31;
/// The most bytes that `setBytes` takes.
const MOST_BYTES: usize = 4096;
/// What the length of shared memory is a multiple of.
const SHARED_UNIT: usize = 16;
/// The scope of barriers between launches that use buffers.
const BUFFERS: usize = 1;

#[repr(C)]
#[derive(Clone, Copy)]
struct Size {
    width: usize,
    height: usize,
    depth: usize,
}

/// An encoder, which counts on its command buffer until it ends.
struct Encoder {
    buffer: Shell,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pipeline: Option<Kernel>,
    bound: Vec<Bound>,
    shared: Vec<usize>,
    ended: bool,
}

/// An autoreleased encoder for a command buffer.
pub(crate) fn open(buffer: Id) -> Id {
    retain(buffer);
    autorelease(make(&ENCODER, Encoder { buffer: Shell(buffer), state: Mutex::default() }))
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if !self.state.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).ended {
            fault("an encoder goes that was not ended");
        }
        release(self.buffer.0);
    }
}

fn state<'a>(object: Id, what: &str) -> (MutexGuard<'a, State>, &'a CommandBuffer) {
    let encoder = contents::<Encoder>(object);
    let state = encoder.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if state.ended {
        fault(&format!("{what} on an encoder that was ended"));
    }
    (state, contents(encoder.buffer.0))
}

fn slot(bound: &mut Vec<Bound>, index: usize) -> &mut Bound {
    if index >= INDICES {
        fault(&format!("buffer index {index}; there are {INDICES}"));
    }
    if bound.len() <= index {
        bound.resize(index + 1, Bound::Nothing);
    }
    &mut bound[index]
}

extern "C-unwind" fn set_pipeline(object: Id, _: Selector, pipeline: Id) {
    state(object, "setComputePipelineState").0.pipeline = Some(contents::<Kernel>(pipeline).clone());
}

extern "C-unwind" fn set_buffer(object: Id, _: Selector, buffer: Id, offset: usize, index: usize) {
    let len = contents::<Buffer>(buffer).len;
    if offset >= len {
        fault(&format!("offset {offset} in a buffer of {len} bytes"));
    }
    *slot(&mut state(object, "setBuffer").0.bound, index) = Bound::Buffer(Shell(buffer), offset);
}

extern "C-unwind" fn set_bytes(object: Id, _: Selector, start: *const u8, len: usize, index: usize) {
    if len == 0 || len > MOST_BYTES {
        fault(&format!("setBytes of {len} bytes; it takes 1 to {MOST_BYTES}"));
    }
    let mut bytes = vec![0u128; len.div_ceil(16)];
    // SAFETY: the caller hands over so many bytes; the copy has room for them.
    unsafe { std::ptr::copy_nonoverlapping(start, bytes.as_mut_ptr().cast(), len) };
    *slot(&mut state(object, "setBytes").0.bound, index) = Bound::Bytes(bytes);
}

extern "C-unwind" fn set_shared(object: Id, _: Selector, len: usize, index: usize) {
    if !len.is_multiple_of(SHARED_UNIT) || len > SHARED || index >= INDICES {
        fault(&format!("shared memory {index} of {len} bytes"));
    }
    let (mut state, _) = state(object, "setThreadgroupMemoryLength");
    if state.shared.len() <= index {
        state.shared.resize(index + 1, 0);
    }
    state.shared[index] = len;
}

extern "C-unwind" fn dispatch(object: Id, _: Selector, groups: Size, threads: Size) {
    let (state, buffer) = state(object, "dispatchThreadgroups");
    let Some(kernel) = &state.pipeline else { fault("a launch without a pipeline") };
    let count = |size: Size| size.width * size.height * size.depth;
    if count(groups) == 0 || count(threads) == 0 || count(threads) > MOST_THREADS {
        fault(&format!("a launch of {} groups of {} threads", count(groups), count(threads)));
    }
    if state.shared.iter().sum::<usize>() > SHARED {
        fault(&format!("a launch with more than {SHARED} shared bytes"));
    }
    for index in kernel.buffers() {
        if matches!(state.bound.get(index), None | Some(Bound::Nothing)) {
            fault(&format!("a launch with nothing bound as buffer {index}"));
        }
    }
    let three = |size: Size| [size.width, size.height, size.depth].map(|n| n as u32);
    buffer.encode(Step::Launch(Arc::new(Launch {
        kernel: kernel.clone(),
        bound: state.bound.clone(),
        shared: state.shared.clone(),
        groups: three(groups),
        threads: three(threads),
    })));
}

extern "C-unwind" fn barrier(object: Id, _: Selector, scope: usize) {
    if scope != BUFFERS {
        fault(&format!("a barrier of scope {scope}: buffers are what launches share"));
    }
    state(object, "memoryBarrier").1.encode(Step::Barrier);
}

extern "C-unwind" fn end(object: Id, _: Selector) {
    let (mut state, buffer) = state(object, "endEncoding");
    state.ended = true;
    buffer.end_encoding();
}
