#![allow(unsafe_code, reason = "the driver's events say when commands ended")]
//! How long the commands of a profiled submission took: an event after each, read when somebody asks.

use std::{sync::Arc, time::Duration};

use cudarc::driver::sys::{self, CUresult};

use super::{
    driver::{Context, call},
    queue::Stream,
};
use crate::{
    error::Result,
    launch::KernelId,
    timing::{Timing, Timings},
};

/// The first driver that measures between events by the call that is used here.
const MEASURES: i32 = 12_080;

/// An event of the driver.
#[derive(Debug)]
struct Event {
    raw: sys::CUevent,
}

/// Events between the commands of a submission: one before all, one after each.
#[derive(Debug)]
pub(crate) struct Marks {
    events: Vec<Event>,
    kernels: Vec<Option<KernelId>>,
    context: Arc<Context>,
}

// SAFETY: C3.
unsafe impl Send for Marks {}
// SAFETY: C3.
unsafe impl Sync for Marks {}

impl Marks {
    pub(crate) fn begin(stream: &Stream) -> Result<Self> {
        let context = stream.context().clone();
        let mut marks = Self { events: Vec::new(), kernels: Vec::new(), context };
        marks.record(stream)?;
        Ok(marks)
    }

    /// Marks the end of a command.
    pub(crate) fn mark(&mut self, stream: &Stream, kernel: Option<KernelId>) -> Result<()> {
        self.record(stream)?;
        self.kernels.push(kernel);
        Ok(())
    }

    fn record(&mut self, stream: &Stream) -> Result<()> {
        if self.context.version < MEASURES {
            return Ok(());
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: C2 and C4; given up by `drop`.
        call("cuEventCreate", unsafe { sys::cuEventCreate(&mut raw, 0) })?;
        self.events.push(Event { raw });
        // SAFETY: C3 and C4.
        call("cuEventRecord", unsafe { sys::cuEventRecord(raw, stream.raw()) })
    }

    /// Hands the marks over: they are read when somebody asks for the timings.
    pub(crate) fn end(self, timings: &Timings) {
        timings.read_later(move || self.read());
    }

    /// The timings, once all commands are done.
    fn read(&self) -> Option<Vec<Timing>> {
        let first = self.events.first()?;
        self.context.bind().ok()?;
        // SAFETY: C3 and C4.
        if unsafe { sys::cuEventQuery(self.events.last()?.raw) } != CUresult::CUDA_SUCCESS {
            return None;
        }
        let mut ends = Vec::with_capacity(self.events.len());
        for event in &self.events {
            let mut millis = 0f32;
            // SAFETY: C1: the driver is new enough, or there are no events; C2, C3 and C4.
            let code = unsafe { sys::cuEventElapsedTime_v2(&mut millis, first.raw, event.raw) };
            if code != CUresult::CUDA_SUCCESS {
                return None;
            }
            ends.push(Duration::from_secs_f64(f64::from(millis.max(0.0)) / 1000.0));
        }
        let spans = ends.iter().zip(ends.iter().skip(1));
        let timing = |(&kernel, (&start, &end)): (&Option<KernelId>, (&Duration, &Duration))| Timing {
            kernel,
            start,
            took: end.saturating_sub(start),
        };
        Some(self.kernels.iter().zip(spans).map(timing).collect())
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        let _ = self.context.bind();
        for event in &self.events {
            // SAFETY: C3: made by `record`, given up exactly here.
            let _ = unsafe { sys::cuEventDestroy_v2(event.raw) };
        }
    }
}
