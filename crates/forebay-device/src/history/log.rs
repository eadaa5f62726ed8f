//! Any kind of trace, as the events that this crate has.
//!
//! A file of ours is read as it goes; a log of RMM too; a snapshot of PyTorch is read whole. Which it is, its first
//! bytes say. Whatever is wrong ends the reading with one error. Next rooms: `rmm`, `snapshot`.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{rmm, snapshot};
use crate::{
    error::{Error, Result},
    memory::trace::{event::Entry, file::MAGIC, reader::TraceReader},
};

/// Who wrote a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogKind {
    /// This crate.
    Forebay,
    /// RMM's logging adaptor, as comma-separated values.
    Rmm,
    /// PyTorch's `torch.cuda.memory._snapshot`, pickled.
    PyTorch,
}

impl LogKind {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forebay => "forebay",
            Self::Rmm => "rmm",
            Self::PyTorch => "pytorch",
        }
    }
}

/// Where a trace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// Who wrote it.
    pub kind: LogKind,
    /// What it says about the device.
    pub device: String,
    /// The unit in which the device's address space gets memory; 0 where both come together, or where nobody says.
    pub page: u64,
    /// The memory of the device, if it says.
    pub memory: Option<u64>,
    /// The limit over all pools, if there is one.
    pub limit: Option<u64>,
    /// When time zero was, if it says.
    pub opened: Option<SystemTime>,
    /// The number of the first event: how many came before it and were not kept.
    pub first: u64,
}

impl Origin {
    pub(super) fn foreign(kind: LogKind, device: &str) -> Self {
        let device = device.to_owned();
        Self { kind, device, page: 0, memory: None, limit: None, opened: None, first: 0 }
    }
}

type Bytes = BufReader<Box<dyn Read + Send>>;

enum Source {
    Forebay(Box<TraceReader<Bytes>>),
    Rmm(Box<rmm::Reader<Bytes>>),
    Whole(std::vec::IntoIter<Entry>),
}

/// The events of a trace, whoever wrote it.
///
/// ```
/// use forebay_device::{Event, history::Log};
///
/// let csv = "Thread,Time,Action,Pointer,Size,Stream\n\
///     1,10:00:00:000001,allocate,0x7f0000000000,1000,0x0\n\
///     1,10:00:00:000002,free,0x7f0000000000,1000,0x0\n";
/// let log = Log::new(csv.as_bytes(), "log.csv")?;
/// let events = log.collect::<Result<Vec<_>, _>>()?;
/// assert!(matches!(events[0].event, Event::Allocated { bytes: 1000, .. }));
/// assert!(matches!(events[1].event, Event::FreeRequested { bytes: 1000, .. }));
/// # Ok::<(), forebay_device::Error>(())
/// ```
pub struct Log {
    origin: Origin,
    source: Source,
    bears_damage: bool,
    damage: Option<Error>,
}

impl Log {
    /// Opens a trace file.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Trace` or `Unreadable` if it is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let told = |source: std::io::Error| io_error(path, "open", source);
        let file = File::open(path).map_err(told)?;
        if file.metadata().map_err(told)?.is_dir() {
            return Err(told(std::io::ErrorKind::IsADirectory.into()));
        }
        Self::new(file, path)
    }

    /// Reads a trace from wherever it is; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(mut from: impl Read + Send + 'static, name: impl Into<PathBuf>) -> Result<Self> {
        let name = name.into();
        let mut start = Vec::with_capacity(MAGIC.len());
        let read = from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start);
        read.map_err(|source| io_error(&name, "read", source))?;
        let kind = kind_of(&start);
        let whole: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(start).chain(from));
        let mut bytes = BufReader::with_capacity(1 << 18, whole);
        let (origin, source) =
            match kind {
                Some(LogKind::Forebay) => {
                    let reader = TraceReader::start(bytes, name)?;
                    let header = reader.header();
                    let origin = Origin {
                        kind: LogKind::Forebay,
                        device: header.device.clone(),
                        page: header.page,
                        memory: Some(header.memory),
                        limit: Some(header.limit).filter(|limit| *limit != u64::MAX),
                        opened: Some(header.opened),
                        first: header.first,
                    };
                    (origin, Source::Forebay(Box::new(reader)))
                }
                Some(LogKind::Rmm) => {
                    let reader = rmm::Reader::start(bytes, name)?;
                    (Origin::foreign(LogKind::Rmm, "RMM"), Source::Rmm(Box::new(reader)))
                }
                Some(LogKind::PyTorch) => {
                    let mut all = Vec::new();
                    bytes.read_to_end(&mut all).map_err(|source| io_error(&name, "read", source))?;
                    let (origin, entries) = snapshot::read(&all)
                        .map_err(|(offset, what)| Error::Unreadable { path: name, offset, what })?;
                    (origin, Source::Whole(entries.into_iter()))
                }
                None => {
                    let what =
                        "this is neither a trace of forebay, nor a log of RMM, nor a snapshot of PyTorch";
                    return Err(Error::Unreadable { path: name, offset: 0, what });
                }
            };
        Ok(Self { origin, source, bears_damage: false, damage: None })
    }

    /// Takes the events before a damaged place, and ends there as if it were the end; [`damage`](Self::damage) tells.
    #[must_use]
    pub fn up_to_damage(mut self) -> Self {
        self.bears_damage = true;
        self
    }

    /// What was wrong where the reading ended early.
    pub fn damage(&self) -> Option<&Error> {
        self.damage.as_ref()
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Who writes files that start like this.
fn kind_of(start: &[u8]) -> Option<LogKind> {
    /// The first bytes of a pickle of any protocol that snapshots are written in.
    const PICKLE: u8 = 0x80;
    match start {
        [PICKLE, 2..=5, ..] => Some(LogKind::PyTorch),
        start if start.starts_with(b"Thread") => Some(LogKind::Rmm),
        // Also one that is cut off in its first word, for the clearer message.
        start if !start.is_empty() && MAGIC.starts_with(start) => Some(LogKind::Forebay),
        _ => None,
    }
}

impl Iterator for Log {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.source {
            Source::Forebay(reader) => reader.next(),
            Source::Rmm(reader) => reader.next(),
            Source::Whole(entries) => entries.next().map(Ok),
        };
        match next {
            Some(Err(error)) if self.bears_damage => {
                self.damage = Some(error);
                None
            }
            next => next,
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("origin", &self.origin).finish_non_exhaustive()
    }
}

pub(super) fn io_error(path: &Path, action: &'static str, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), action, source: Arc::new(source) }
}

#[cfg(test)]
mod tests;
