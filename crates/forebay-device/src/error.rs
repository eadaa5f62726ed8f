//! What can go wrong in this crate, one enum, each variant named by what the caller can do about it.
//!
//! Errors are values that can be cloned, because a failed fence reports the same error at every wait.
//! The numbers behind an out-of-memory error are in [`MemoryReport`].

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A result in two registers, for what is called once a buffer and hardly ever fails.
pub(crate) type Brief<T> = std::result::Result<T, Box<Error>>;

/// What went wrong, and by its name what helps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds these bytes right now: wait, or drop the other guard.
    Busy {
        /// Label of the buffer.
        label: Arc<str>,
        /// Who holds it.
        holder: Holder,
    },
    /// A limit that the program set was reached: free something, or raise the limit.
    LimitExceeded(Box<MemoryReport>),
    /// The device has no memory left: free something, or use a smaller model or context.
    Exhausted(Box<MemoryReport>),
    /// No device of this kind could ever serve this size.
    TooLarge {
        /// Bytes asked for.
        asked: u64,
        /// The largest size that can be asked for.
        most: u64,
    },
    /// A range reaches past the end of what it is taken from.
    OutOfBounds {
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// Length of what it was taken from.
        len: u64,
    },
    /// Two lengths that have to be equal are not.
    Length {
        /// Bytes given.
        given: u64,
        /// Bytes wanted.
        wanted: u64,
    },
    /// An offset does not suit the element type or the device.
    Misaligned {
        /// The offset in bytes.
        offset: u64,
        /// What it has to be a multiple of.
        align: u64,
    },
    /// A length is no whole number of elements.
    PartialElement {
        /// The length in bytes.
        len: u64,
        /// Bytes of one element.
        element: u64,
    },
    /// Typed access with a type that has no size.
    ZeroSized {
        /// Name of the type.
        name: &'static str,
    },
    /// The memory can only be read: copy it first.
    ReadOnly {
        /// Label of the buffer.
        label: Arc<str>,
    },
    /// A buffer, fence or kernel of another device: copy the data over through the host.
    ForeignDevice {
        /// What was handed in.
        what: &'static str,
        /// The device it belongs to.
        theirs: String,
        /// The device it was given to.
        ours: String,
    },
    /// No kernel has this name: load its module first, or correct the name.
    UnknownKernel {
        /// The name asked for.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// An argument does not match the kernel's signature.
    Argument {
        /// The kernel.
        kernel: Arc<str>,
        /// Position of the argument.
        index: usize,
        /// What is wrong with it.
        fault: ArgumentFault,
    },
    /// A module was refused: correct its code or its signature.
    Module {
        /// The kernel or file.
        name: String,
        /// What the loader said.
        detail: String,
    },
    /// A kernel failed while it ran. Its stage is void, and what the session submits after it.
    KernelFault {
        /// The kernel.
        kernel: Arc<str>,
        /// Label of the stage that it was recorded in.
        stage: Arc<str>,
        /// What is known about the fault.
        detail: Arc<str>,
    },
    /// The device is gone: open it anew.
    Lost {
        /// What is known about why.
        reason: Arc<str>,
    },
    /// A driver call failed.
    Driver {
        /// The call.
        call: &'static str,
        /// Its error code.
        code: i64,
        /// The driver's own words.
        detail: Arc<str>,
    },
    /// The time a wait was given has passed; the work goes on.
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// A wait was cancelled; the work goes on.
    Cancelled,
    /// A backend cannot be used on this machine or in this build.
    Unavailable {
        /// The backend.
        backend: &'static str,
        /// Why, and what would help.
        why: String,
    },
    /// The device cannot do this.
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// The backend.
        backend: &'static str,
    },
    /// An option has a value that cannot be.
    Option {
        /// The option.
        name: &'static str,
        /// What it may be.
        wanted: String,
    },
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// A trace is damaged or cut off, or is none. The events before the fault are good.
    Trace {
        /// The file.
        path: PathBuf,
        /// Where in the file the fault is.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A trace of another program is damaged or cut off, or is none.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where in the file the fault is.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Who holds bytes that somebody else asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A host guard that reads.
    HostRead,
    /// A host guard that writes.
    HostWrite,
    /// Device work that was submitted and has not finished.
    Device,
}

/// What is wrong with an argument of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArgumentFault {
    /// More or fewer arguments than the signature has.
    Count {
        /// Arguments given.
        given: usize,
        /// Arguments in the signature.
        wanted: usize,
    },
    /// A buffer where the signature has a scalar, or the other way round, or another scalar type.
    Kind {
        /// What was given.
        given: &'static str,
        /// What the signature has.
        wanted: &'static str,
    },
    /// The buffer's length or offset does not suit the element type of the signature.
    Element {
        /// Offset in the allocation.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// Bytes of one element.
        element: u64,
    },
    /// A written range overlaps another argument.
    Overlaps {
        /// The other argument.
        other: usize,
    },
    /// Too many arguments, or too large a grid, for any device.
    Limit {
        /// What was asked.
        asked: u64,
        /// The most there can be.
        most: u64,
    },
}

/// Why there is no memory, in numbers. All sizes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryReport {
    /// What was asked for.
    pub asked: u64,
    /// The limit in force: the pool's, the tag's or the device's.
    pub limit: u64,
    /// Name of the tag whose budget ran out; empty when it was the whole pool's.
    pub tag: String,
    /// Held by buffers.
    pub live: u64,
    /// Dropped, but still used by work in flight.
    pub retiring: u64,
    /// Free inside the pool.
    pub free: u64,
    /// The largest free piece.
    pub largest_free: u64,
    /// Taken from the driver.
    pub reserved: u64,
    /// Live bytes by tag, largest first.
    pub by_tag: Vec<(String, u64)>,
    /// For each queue with retiring bytes: the queue, the tick after which they are free, and how many.
    pub by_queue: Vec<(u32, u64, u64)>,
    /// Labels of the buffers on both sides of the largest free piece.
    pub beside_largest: [String; 2],
}

impl MemoryReport {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "asked for {}, limit {}: {} live, {} retiring, {} free (largest piece {}), {} reserved",
            Bytes(self.asked),
            Bytes(self.limit),
            Bytes(self.live),
            Bytes(self.retiring),
            Bytes(self.free),
            Bytes(self.largest_free),
            Bytes(self.reserved)
        )?;
        for (i, (tag, bytes)) in self.by_tag.iter().take(4).enumerate() {
            write!(f, "{} {tag} {}", if i == 0 { "; live by tag:" } else { "," }, Bytes(*bytes))?;
        }
        if self.largest_free > 0 && self.largest_free < self.asked && self.free >= self.asked {
            write!(
                f,
                "; enough is free but in pieces, the largest between {:?} and {:?}",
                self.beside_largest[0], self.beside_largest[1]
            )?;
        }
        for (queue, tick, bytes) in &self.by_queue {
            write!(f, "; queue {queue} frees {} at tick {tick}", Bytes(*bytes))?;
        }
        Ok(())
    }
}

/// A buffer by its label.
struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("the buffer (without a label)"),
            label => write!(f, "buffer {label:?}"),
        }
    }
}

/// A byte count as people read it.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        if self.0 == u64::MAX {
            return f.write_str("none");
        }
        let unit = (self.0.checked_ilog2().unwrap_or(0) / 10).min(4) as usize;
        match unit {
            0 => write!(f, "{} B", self.0),
            _ => write!(f, "{:.1} {}", self.0 as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
        }
    }
}

impl fmt::Display for Error {
    #[allow(clippy::too_many_lines, reason = "one arm a variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { label, holder } => {
                let who = match holder {
                    Holder::HostRead => "a host guard reads it; drop that guard first",
                    Holder::HostWrite => "a host guard writes it; drop that guard first",
                    Holder::Device => "submitted work uses it; wait for its fence first",
                };
                write!(f, "{} is busy: {who}", Named(label))
            }
            Self::LimitExceeded(report) => {
                match report.tag.as_str() {
                    "" => write!(f, "memory limit reached: ")?,
                    tag => write!(f, "memory budget of {tag:?} reached: ")?,
                }
                report.write(f)?;
                write!(f, "; drop buffers or raise the limit")
            }
            Self::Exhausted(report) => {
                write!(f, "out of device memory: ")?;
                report.write(f)?;
                write!(f, "; drop buffers, or ask for less")
            }
            Self::TooLarge { asked, most } => {
                write!(f, "{asked} bytes can never be allocated here; the most is {most}")
            }
            Self::OutOfBounds { start, end, len } => {
                write!(f, "range {start}..{end} reaches past the end of {len} bytes")
            }
            Self::Length { given, wanted } => {
                write!(f, "{given} bytes were given where {wanted} are wanted; take a slice")
            }
            Self::Misaligned { offset, align } => {
                write!(f, "offset {offset} is no multiple of {align}")
            }
            Self::PartialElement { len, element } => {
                write!(f, "{len} bytes are no whole number of elements of {element} bytes")
            }
            Self::ZeroSized { name } => write!(f, "elements of type {name} have no size"),
            Self::ReadOnly { label } => {
                write!(f, "{} is read-only; copy it to write to it", Named(label))
            }
            Self::ForeignDevice { what, theirs, ours } => {
                write!(f, "a {what} of device {theirs} was given to device {ours}; copy through the host")
            }
            Self::UnknownKernel { name, near } => {
                write!(f, "no kernel is called {name:?}")?;
                if !near.is_empty() {
                    write!(f, "; there is {}", near.join(", "))?;
                }
                Ok(())
            }
            Self::Argument { kernel, index, fault } => {
                write!(f, "kernel {kernel}, argument {index}: {fault}")
            }
            Self::Module { name, detail } => write!(f, "module {name:?} was refused: {detail}"),
            Self::KernelFault { kernel, stage, detail } => {
                write!(f, "kernel {kernel} failed in stage {stage:?}: {detail}")
            }
            Self::Lost { reason } => write!(f, "the device is lost ({reason}); open it anew"),
            Self::Driver { call, code, detail } => write!(f, "{call} failed with code {code}: {detail}"),
            Self::Timeout { after } => write!(f, "not finished after {after:?}; the work goes on"),
            Self::Cancelled => write!(f, "the wait was cancelled; the work goes on"),
            Self::Unavailable { backend, why } => write!(f, "no {backend} device: {why}"),
            Self::Unsupported { what, backend } => write!(f, "{backend} devices cannot {what}"),
            Self::Option { name, wanted } => write!(f, "option {name} must be {wanted}"),
            Self::Io { path, action, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::Trace { path, offset, what } => {
                write!(f, "{}, byte {offset}: {what}; the events before it are good", path.display())
            }
            Self::Unreadable { path, offset, what } => {
                write!(f, "{}, byte {offset}: {what}", path.display())
            }
        }
    }
}

impl fmt::Display for ArgumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { given, wanted } => write!(f, "{given} arguments given, {wanted} wanted"),
            Self::Kind { given, wanted } => write!(f, "{given} given, {wanted} wanted"),
            Self::Element { offset, len, element } => {
                write!(f, "{len} bytes at offset {offset} do not hold whole elements of {element} bytes")
            }
            Self::Overlaps { other } => write!(f, "is written and overlaps argument {other}"),
            Self::Limit { asked, most } => write!(f, "{asked} asked for, at most {most} possible"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
