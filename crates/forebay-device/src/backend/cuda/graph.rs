#![allow(unsafe_code, reason = "recordings are objects of the driver")]
//! Recordings on a card: the list, captured once from a stream, and launched as one graph from then on.
//!
//! A graph that runs while it is given up is freed by the driver when it has finished.

use std::{any::Any, sync::Arc};

use cudarc::driver::sys;

use super::{
    driver::{Context, call},
    module::Function,
    queue::{self, Stream},
};
use crate::{
    backend::Graph,
    error::{Error, Result},
    label::Label,
    launch::CommandList,
};

/// A command list as the driver replays it.
#[derive(Debug)]
pub(crate) struct CudaGraph {
    list: CommandList,
    raw: sys::CUgraphExec,
    context: Arc<Context>,
}

// SAFETY: C3.
unsafe impl Send for CudaGraph {}
// SAFETY: C3.
unsafe impl Sync for CudaGraph {}

impl CudaGraph {
    /// Captures a list from a stream that nothing else uses meanwhile.
    pub(crate) fn capture(list: CommandList, stream: &Stream, functions: &[Function]) -> Result<Self> {
        stream.context().bind()?;
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: C1, C3 and C4.
        call("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) })?;
        let laid = queue::lay(&list, stream, functions, &Label::from("recording"), None);
        let mut graph = std::ptr::null_mut();
        // SAFETY: C2, C3 and C4. The capture ends here whatever was laid.
        let ended = call("cuStreamEndCapture", unsafe { sys::cuStreamEndCapture(stream.raw(), &mut graph) });
        let mut raw = std::ptr::null_mut();
        let made = laid.and(ended).and_then(|()| {
            // SAFETY: C2, C3 and C4; given up by `drop`.
            let code = unsafe { sys::cuGraphInstantiateWithFlags(&mut raw, graph, 0) };
            call("cuGraphInstantiate", code)
        });
        if !graph.is_null() {
            // SAFETY: C3: made by the capture; what was instantiated does not need it.
            let _ = unsafe { sys::cuGraphDestroy(graph) };
        }
        made?;
        Ok(Self { list, raw, context: stream.context().clone() })
    }

    /// The graph behind a recording of this backend.
    pub(crate) fn of(graph: &dyn Graph) -> Result<&Self> {
        let any: &dyn Any = graph;
        any.downcast_ref()
            .ok_or(Error::Unsupported { what: "replay another backend's recording", backend: "cuda" })
    }

    pub(crate) fn launch(&self, stream: &Stream) -> Result<()> {
        // SAFETY: C3; the caller has bound the context (C4) and submits from one thread at a time.
        call("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.raw, stream.raw()) })
    }
}

impl Graph for CudaGraph {
    fn list(&self) -> &CommandList {
        &self.list
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: C3: made by `capture`, given up exactly here.
        let _ = unsafe { sys::cuGraphExecDestroy(self.raw) };
    }
}
