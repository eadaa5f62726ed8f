//! What a device tells the trace, and the trace as its user holds it.

use std::{
    fs::File,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use super::{
    event::{Event, Moment},
    file::TraceHeader,
    options::TraceOptions,
    pool::{PoolTrace, Vacant},
    reader::TraceReader,
    recorder::{LaneWriter, Recorder},
    writer::Writer,
};
use crate::{
    backend::{Submission, Work, timeline::Timeline},
    caps::Caps,
    error::{Error, Result},
    memory::arena::ArenaReport,
    sync::{Arc, AtomicU32, Mutex, Ordering, lock},
};

/// The most pools that a trace tells apart at one time.
const POOLS: u32 = 1 << 16;

/// How an arena is called in the trace.
#[derive(Clone, Copy, Debug)]
pub(in crate::memory) struct ArenaName {
    pool: u32,
    arena: u32,
}

/// A device's side of the trace.
#[derive(Debug, Default)]
pub(crate) struct Tracing(Option<On>);

#[derive(Debug)]
struct On {
    recorder: Arc<Recorder>,
    /// For what happens under no lock that has a lane.
    side: Mutex<LaneWriter>,
    pools: Mutex<u32>,
    arenas: AtomicU32,
    vacant: Arc<Vacant>,
    /// Gone before the last flush, which is the device's own.
    writer: Option<Writer>,
}

impl Tracing {
    /// Starts a trace, if one is wanted.
    pub(in crate::memory) fn open(options: Option<&TraceOptions>, caps: &Caps, limit: u64) -> Result<Self> {
        let Some(options) = options else { return Ok(Self(None)) };
        let recorder = Recorder::new(&options.keep, TraceHeader::new(caps, limit))?;
        let writer = Writer::start(&recorder)?;
        let side = Mutex::new(recorder.lane());
        Ok(Self(Some(On {
            recorder,
            side,
            pools: Mutex::new(0),
            arenas: AtomicU32::new(0),
            vacant: Arc::default(),
            writer,
        })))
    }

    /// What a new pool tells with.
    pub(in crate::memory) fn pool(&self, limit: u64) -> PoolTrace {
        let Some(on) = &self.0 else { return PoolTrace::default() };
        let vacant = lock(&on.vacant).pop();
        let (number, lane) = match vacant {
            Some((number, lane)) => (number, on.recorder.resume(lane)),
            None => {
                let mut pools = lock(&on.pools);
                if *pools == POOLS {
                    return PoolTrace::default();
                }
                *pools += 1;
                (*pools - 1, on.recorder.lane())
            }
        };
        PoolTrace::open(lane, number, limit, on.vacant.clone())
    }

    /// A number for an arena of a pool, whose first epoch begins.
    pub(in crate::memory) fn arena(&self, pool: impl FnOnce() -> Option<u32>) -> Option<ArenaName> {
        let on = self.0.as_ref()?;
        let name = ArenaName { pool: pool()?, arena: on.arenas.fetch_add(1, Ordering::Relaxed) };
        let ArenaName { pool, arena } = name;
        lock(&on.side).note(&Event::ArenaEpoch { pool, arena, epoch: 0, capacity: 0 });
        Some(name)
    }

    /// An arena was reset, and `epoch` begins with so many bytes.
    pub(in crate::memory) fn arena_reset(
        &self,
        name: ArenaName,
        report: &ArenaReport,
        epoch: u64,
        capacity: u64,
    ) {
        let Some(on) = &self.0 else { return };
        let ArenaName { pool, arena } = name;
        let held = u32::try_from(report.held.len()).unwrap_or(u32::MAX);
        let (recycled, held_bytes) = (report.recycled, report.held_bytes());
        let mut side = lock(&on.side);
        side.note(&Event::ArenaReset { pool, arena, recycled, held, held_bytes });
        side.note(&Event::ArenaEpoch { pool, arena, epoch, capacity });
    }

    /// What submissions tell with, under the access lock.
    pub(in crate::memory) fn submissions(&self) -> Option<Box<DeviceTrace>> {
        self.0.as_ref().map(|on| Box::new(DeviceTrace(on.recorder.lane())))
    }

    /// Notes how far a queue has come, after somebody looked.
    #[inline]
    pub(crate) fn see(&self, timeline: &Timeline, queue: u32) {
        if let Some(on) = &self.0
            && on.recorder.is_news(timeline, queue)
        {
            lock(&on.side).see(timeline, queue);
        }
    }

    /// Calls the writer when much waits. Called where no lock is held.
    #[inline]
    pub(crate) fn flush_if_due(&self) {
        if let Some(on) = &self.0
            && on.recorder.is_due()
        {
            on.recorder.ring();
        }
    }

    pub(crate) fn handle(&self) -> Option<Trace> {
        self.0.as_ref().map(|on| Trace { recorder: on.recorder.clone() })
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Some(on) = &mut self.0 {
            on.writer = None;
            // Also if somebody still holds the trace. A drop has nobody to tell of an error.
            let _ = on.recorder.flush();
        }
    }
}

/// What submissions tell.
#[derive(Debug)]
pub(crate) struct DeviceTrace(LaneWriter);

impl DeviceTrace {
    /// Work is about to be submitted.
    pub(crate) fn submitted(
        &mut self,
        timeline: &Timeline,
        submission: &Submission,
        bound: usize,
        fenced: bool,
    ) {
        let lane = &mut self.0;
        lane.see(timeline, submission.queue);
        for wait in submission.waits.iter() {
            lane.see(timeline, wait.queue);
        }
        let at = Moment { queue: submission.queue, tick: submission.tick };
        lane.note(&Event::Submitted {
            at,
            label: submission.label.clone(),
            waits: submission.waits.len() as u32,
            bound: u32::try_from(bound).unwrap_or(u32::MAX),
            fenced,
            replayed: matches!(submission.work, Work::Graph(_)),
        });
        for wait in submission.waits.iter() {
            let on = Moment { queue: wait.queue, tick: wait.tick };
            lane.note(&Event::Waits { of: at, on, cascade: wait.cascade });
        }
    }

    /// It was not, after all.
    pub(crate) fn refused(&mut self, queue: u32, tick: u64) {
        self.0.note(&Event::SubmissionRefused { at: Moment { queue, tick } });
    }

    /// The driver was told what to keep at hand.
    pub(crate) fn residency_told(&mut self, changes: usize) {
        if changes > 0 {
            self.0.note(&Event::ResidencyTold { changes: changes as u64 });
        }
    }
}

/// The trace of a device that was opened with [`TraceOptions`].
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Event, TraceOptions, TraceReader};
///
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-save-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("trace");
/// let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1 << 16)))?;
/// let buffer = device.alloc(512)?;
/// let trace = device.trace().ok_or("no trace was asked for")?;
/// trace.save(&path)?;
/// assert_eq!(TraceReader::open(&path)?.count() as u64, trace.events());
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trace {
    recorder: Arc<Recorder>,
}

impl Trace {
    /// Events so far, those included that a ring no longer has.
    pub fn events(&self) -> u64 {
        self.recorder.count()
    }

    /// The file that events go to, if they do.
    pub fn path(&self) -> Option<PathBuf> {
        self.recorder.path()
    }

    /// Writes what is not yet in the file. Nothing to do for a ring.
    ///
    /// # Errors
    /// `Io` if the file cannot be written, now or at some time before; the trace has ended then.
    pub fn flush(&self) -> Result<()> {
        self.recorder.flush()
    }

    /// Writes a trace file with what there is: of a ring the newest events, of a file all.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let ours = self.path().and_then(|ours| ours.canonicalize().ok());
        if ours.is_some() && path.canonicalize().ok() == ours {
            return self.flush();
        }
        // A trace that has ended makes no file.
        self.flush()?;
        let created = File::create(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            action: "create",
            source: source.into(),
        });
        self.recorder.write(&mut created?, path)
    }

    /// As [`save`](Self::save), to anywhere.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn write(&self, mut to: impl Write) -> Result<()> {
        self.recorder.write(&mut to, Path::new("trace"))
    }

    /// Reads what there is, as [`save`](Self::save) would write it.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn read(&self) -> Result<TraceReader<Cursor<Vec<u8>>>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        TraceReader::new(Cursor::new(bytes))
    }
}
