#![allow(unsafe_code, reason = "work is handed to the driver")]
//! A queue of a card: a stream, into which a submission is laid command by command, or as a graph.
//!
//! A stream runs one thing after the other, so barriers are free. Rules:
//! - Q1 Addresses of a command are mapped memory of this card, and stay until the submission has completed (backend
//!   contract).
//! - Q2 Values of a launch are in the order and of the types of its signature (`launch::check`). That the kernel takes
//!   just these is its author's word: the driver is given nothing to check them by.

use std::{ffi::c_void, sync::Arc};

use cudarc::driver::sys::{self, CUresult};

use super::{
    device::CudaDevice,
    driver::{Context, call},
    graph::CudaGraph,
    module::Function,
    timing::Marks,
};
use crate::{
    backend::{Submission, Work},
    error::{Error, Result},
    label::Label,
    launch::{ArgumentValue, Command, CommandList, Grid, MAX_ARGUMENTS},
    sync::lock,
};

/// A stream of the driver that waits for no other.
#[derive(Debug)]
pub(crate) struct Stream {
    raw: sys::CUstream,
    context: Arc<Context>,
}

// SAFETY: C3.
unsafe impl Send for Stream {}
// SAFETY: C3.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        context.bind()?;
        let mut raw = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: C1, C2 and C4; given up by `drop`.
        call("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut raw, flags) })?;
        Ok(Self { raw, context: context.clone() })
    }

    pub(crate) fn raw(&self) -> sys::CUstream {
        self.raw
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Returns when all that was laid into it is done.
    pub(crate) fn drain(&self) -> Result<()> {
        self.context.bind()?;
        // SAFETY: C3 and C4.
        call("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })
    }

    /// An error, if the work in it cannot go on.
    pub(crate) fn check(&self) -> Result<()> {
        // SAFETY: C3; the caller has bound the context (C4).
        match unsafe { sys::cuStreamQuery(self.raw) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(()),
            code => call("cuStreamQuery", code),
        }
    }

    /// Has the card write a word when all before is done and visible everywhere.
    fn tell(&self, address: u64, tick: u64) -> Result<()> {
        // SAFETY: C3 and C4; C2: the word stays until the stream is drained.
        let code = unsafe { sys::cuStreamWriteValue64_v2(self.raw, address, tick, 0) };
        call("cuStreamWriteValue64", code)
    }

    /// Has the card wait until a word has come so far.
    fn await_word(&self, address: u64, tick: u64) -> Result<()> {
        let reached = sys::CUstreamWaitValue_flags_enum::CU_STREAM_WAIT_VALUE_GEQ as u32;
        // SAFETY: as for `tell`.
        let code = unsafe { sys::cuStreamWaitValue64_v2(self.raw, address, tick, reached) };
        call("cuStreamWaitValue64", code)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: C3: made by `new`, given up exactly here.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }
}

/// Lays a submission into its stream, as the contract of `backend` says.
pub(crate) fn submit(
    device: &CudaDevice,
    stream: &Stream,
    submission: Submission,
) -> std::result::Result<(), (Error, Box<Submission>)> {
    let timeline = &device.timeline;
    let (queue, tick) = (submission.queue, submission.tick);
    // Nothing is laid in before all waits are: until then an error leaves the queue as it was.
    let waits = || -> Result<Result<()>> {
        timeline.lost().map_or(Ok(()), Err)?;
        device.context.bind()?;
        let earlier = submission.after.map_or(Ok(()), |tick| timeline.outcome(queue, tick));
        let needed = submission.waits.iter().filter(|wait| wait.cascade);
        let inherited = earlier
            .and_then(|()| needed.into_iter().try_for_each(|wait| timeline.outcome(wait.queue, wait.tick)));
        if inherited.is_ok() {
            for wait in submission.waits.iter().filter(|wait| wait.queue != queue) {
                if !timeline.is_done(wait.queue, wait.tick) {
                    stream.await_word(device.words.address(wait.queue), wait.tick)?;
                }
            }
        }
        Ok(inherited)
    };
    let inherited = match waits() {
        Ok(inherited) => inherited,
        Err(error) => return Err((error, Box::new(submission))),
    };
    let outcome = inherited.and_then(|()| run(device, stream, &submission));
    if let Err(error) = outcome {
        match error {
            lost @ Error::Lost { .. } => timeline.lose(lost),
            error => timeline.fail(queue, tick, error),
        }
    }
    if let Err(error) = stream.tell(device.words.address(queue), tick) {
        // The tick will never come: that is what a lost device is.
        timeline.lose(Error::Lost { reason: error.to_string().into() });
    }
    if let Work::Once(list) = submission.work {
        device.recycler.give(list);
    }
    Ok(())
}

fn run(device: &CudaDevice, stream: &Stream, submission: &Submission) -> Result<()> {
    let kernels = lock(&device.kernels);
    let label = &submission.label;
    let _range = device.profilers.begin(label);
    match (&submission.work, &submission.profile) {
        (Work::Once(list), None) => lay(list, stream, kernels.functions(), label, None),
        (Work::Once(list), Some(timings)) => {
            let mut marks = Marks::begin(stream)?;
            let laid = lay(list, stream, kernels.functions(), label, Some(&mut marks));
            marks.end(timings);
            laid
        }
        (Work::Graph(graph), None) => CudaGraph::of(graph.as_ref())?.launch(stream),
        (Work::Graph(graph), Some(timings)) => {
            // A graph has no seams between its commands: it is run command by command to be looked at.
            let mut marks = Marks::begin(stream)?;
            let laid = lay(graph.list(), stream, kernels.functions(), label, Some(&mut marks));
            marks.end(timings);
            laid
        }
    }
}

/// Lays the commands of a list into a stream, or into the graph that the stream is capturing.
pub(crate) fn lay(
    list: &CommandList,
    stream: &Stream,
    functions: &[Function],
    label: &Label,
    mut marks: Option<&mut Marks>,
) -> Result<()> {
    // Only a launch can end while the next one starts.
    let mut after_launch = false;
    for command in &list.commands {
        let early = std::mem::replace(&mut after_launch, matches!(command, Command::Launch { .. }));
        let kernel = match *command {
            Command::Launch { kernel, grid, first, count } => {
                let function = &functions[kernel as usize];
                let early = early && function.starts_early() && marks.is_none();
                launch(function, &grid, list.arguments_of(first, count), stream, early).map_err(|error| {
                    match error {
                        Error::Driver { detail, .. } => Error::KernelFault {
                            kernel: function.name.clone(),
                            stage: label.into(),
                            detail: format!("the driver refused the launch: {detail}").into(),
                        },
                        error => error,
                    }
                })?;
                Some(kernel)
            }
            Command::Copy { from, to } => {
                // SAFETY: Q1; C3 and C4.
                let code =
                    unsafe { sys::cuMemcpyAsync(to.address, from.address, to.len as usize, stream.raw) };
                call("cuMemcpyAsync", code)?;
                None
            }
            Command::Fill { to, byte } => {
                // SAFETY: as above.
                let code = unsafe { sys::cuMemsetD8Async(to.address, byte, to.len as usize, stream.raw) };
                call("cuMemsetD8Async", code)?;
                None
            }
            Command::Barrier => {
                after_launch = early;
                continue;
            }
        };
        if let Some(marks) = marks.as_deref_mut() {
            marks.mark(stream, kernel)?;
        }
    }
    Ok(())
}

/// Lays one launch into a stream, which may start while the one before it ends if it is `early`. The driver copies the values
/// before it returns.
fn launch(
    function: &Function,
    grid: &Grid,
    values: &[ArgumentValue],
    stream: &Stream,
    early: bool,
) -> Result<()> {
    let mut bytes = [0u64; MAX_ARGUMENTS];
    let mut places = [std::ptr::null_mut::<c_void>(); MAX_ARGUMENTS];
    for ((value, bytes), place) in values.iter().zip(&mut bytes).zip(&mut places) {
        // Shorter values lie at the start of their eight bytes, as the machine is little-endian.
        *bytes = match *value {
            ArgumentValue::Buffer(buffer) => buffer.address,
            ArgumentValue::U64(value) => value,
            ArgumentValue::U32(value) => value.into(),
            ArgumentValue::I32(value) => u64::from(value.cast_unsigned()),
            ArgumentValue::F32(value) => value.to_bits().into(),
        };
        *place = std::ptr::from_mut(bytes).cast();
    }
    let ([x, y, z], [a, b, c]) = (grid.groups, grid.threads);
    let mut attribute = sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let config = sys::CUlaunchConfig {
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: a,
        blockDimY: b,
        blockDimZ: c,
        sharedMemBytes: grid.shared_bytes,
        hStream: stream.raw,
        attrs: &mut attribute,
        numAttrs: early.into(),
    };
    function.widen(grid.shared_bytes)?;
    let (places, none) = (places.as_mut_ptr(), std::ptr::null_mut());
    // SAFETY: Q1, Q2; C3 and C4; C2: the values and the attribute live until the call returns.
    let code = unsafe { sys::cuLaunchKernelEx(&config, function.raw(), places, none) };
    call("cuLaunchKernelEx", code)
}
