//! Where bytes live and when work runs: device memory one can reason about, and staged command submission.
//!
//! | to do this | look at |
//! |---|---|
//! | open a device | [`Device`], [`DeviceOptions`] |
//! | get memory | [`Pool`], [`Request`], [`Buffer`]; for one step: [`Arena`], [`Scope`] |
//! | touch it from the host | [`Buffer::read`], [`Buffer::write`] |
//! | record and submit work | [`Session`], [`Stage`], [`Fence`] |
//! | replay work | [`Recording`] |
//! | run your own kernel | [`KernelDef`], [`Signature`], [`Param`] |
//! | get host vectors that are reused | [`HostPool`], [`HostVec`] |
//! | use a file in place | [`MappedFile`] |
//! | see where memory went | [`TraceOptions`], [`Trace`], [`TraceReader`], [`Event`] |
//! | replay, explain or draw a trace | [`history`] |
//! | test without a device | [`NullOptions`], [`NullControl`] |
//!
//! Layers, each knowing only those before it: errors, capabilities and launches as plain data; backends; memory;
//! commands; the device itself; and what traces tell.

mod backend;
mod caps;
mod command;
mod device;
mod error;
pub mod history;
mod kernel;
mod label;
mod launch;
mod memory;
mod sync;
mod timing;

pub use backend::{
    cpu::module::{Group, Share},
    null::{
        control::{NullCall, NullControl, SubmissionRecord},
        device::NullOptions,
    },
    timeline::CancelToken,
};
pub use caps::{BackendKind, Caps, GRANULE, MemoryKind, QueueKind};
pub use command::{
    fence::Fence,
    noted::{NotedLaunch, Touched},
    profile::{LaunchProfile, StageProfile},
    queue::Queue,
    recording::Recording,
    session::{Session, SessionStats},
    stage::{Arg, Stage},
};
pub use device::{Device, DeviceOptions, Kernel, Residency};
pub use error::{ArgumentFault, Error, Holder, MemoryReport, Result};
pub use kernel::{ImageFormat, KernelDef};
pub use label::Label;
pub use launch::{Access, Grid, MAX_ARGUMENTS, Param, PerGroup, Scalar, Signature};
pub use memory::{
    arena::{
        Arena, ArenaReport, ArenaStats,
        scope::{Scope, Scratch},
    },
    buffer::Buffer,
    guard::{Read, Write},
    host_pool::{HostElement, HostPool, HostPoolOptions, HostPoolStats, HostVec, UninitHostVec},
    map::MappedFile,
    options::{Init, PoolOptions, PressureFn, Request, Retain},
    pool::Pool,
    stats::{PoolStats, Tag},
    trace::{
        device::Trace,
        event::{Entry, Event, Moment, Served, Shortage, Spot},
        file::TraceHeader,
        options::TraceOptions,
        reader::TraceReader,
    },
};
