//! Numbers what happens, over all lanes, and collects it: into a file as it goes, or on request.
//!
//! Numbers have no gaps, so sorting by number and stopping at the first one that is missing gives a trace that is
//! complete up to there, even while other threads are at it: the missing record is still under its pen and comes with
//! the next flush. A file has a thread of its own that writes (`writer`); who records only rings for it, and writes
//! by itself when its lane is full. What writing fails with is kept here, and disturbs nobody's work. The clock is read at submissions, completions and driver calls and once in a while in each lane;
//! what lies between is ordered by number.

use std::{
    fmt,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    event::{Event, Moment},
    file::{self, TraceHeader},
    labels::{Labels, Recent},
    lane::{Lane, Line, Pen},
    options::Keep,
    record::{self, Record},
    writer::Bell,
};
use crate::{
    backend::{MAX_QUEUES, timeline::Timeline},
    error::{Error, Result},
    label::Label,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock},
};

/// Records of a lane that goes to a file.
const LANE: usize = 1 << 14;
/// The writer is called when so many records wait: in a lane, or in all at a submission.
const DUE: u64 = 1 << 12;
/// Records of a lane between two readings of the clock.
const CLOCK: u32 = 256;

/// What all lanes of a device's trace share.
pub(super) struct Recorder {
    /// The next record's.
    number: Line,
    /// At this number a submission calls the writer.
    due: AtomicU64,
    /// The last tick of each queue that was seen to be done.
    seen: [AtomicU64; MAX_QUEUES],
    started: Instant,
    header: TraceHeader,
    lanes: Mutex<Vec<Arc<Lane>>>,
    room: usize,
    labels: Labels,
    /// None if the lanes keep the newest.
    sink: Option<Mutex<Sink>>,
    bell: Arc<Bell>,
}

/// Where drained records go.
struct Sink {
    to: Box<dyn Write + Send>,
    path: PathBuf,
    /// Drained, and not yet written because a number before them is missing.
    waiting: Vec<Record>,
    /// The next number to be written.
    next: u64,
    labels: usize,
    scratch: Vec<u8>,
    ended: Option<Error>,
}

impl Recorder {
    pub(super) fn new(keep: &Keep, header: TraceHeader) -> Result<Arc<Self>> {
        let (to, path): (Box<dyn Write + Send>, PathBuf) = match keep {
            Keep::Newest(records) => {
                return Ok(Arc::new(Self::with(None, *records, header)));
            }
            Keep::File(path) => {
                let file = File::create(path).map_err(|error| io_error(path, "create", error))?;
                (Box::new(file), path.clone())
            }
            #[cfg(all(test, not(loom)))]
            Keep::Writer(writer) => (Box::new(writer.clone()), "writer".into()),
        };
        let mut sink =
            Sink { to, path, waiting: Vec::new(), next: 0, labels: 0, scratch: Vec::new(), ended: None };
        sink.to
            .write_all(&header.to_bytes())
            .and_then(|()| sink.to.flush())
            .map_err(|error| io_error(&sink.path, "write to", error))?;
        Ok(Arc::new(Self::with(Some(sink), LANE, header)))
    }

    fn with(sink: Option<Sink>, room: usize, header: TraceHeader) -> Self {
        Self {
            number: Line::default(),
            due: AtomicU64::new(if sink.is_some() { DUE } else { u64::MAX }),
            seen: std::array::from_fn(|_| AtomicU64::new(0)),
            started: Instant::now(),
            header,
            lanes: Mutex::new(Vec::new()),
            room,
            labels: Labels::default(),
            sink: sink.map(Mutex::new),
            bell: Arc::default(),
        }
    }

    /// A lane for one more writer.
    pub(super) fn lane(self: &Arc<Self>) -> LaneWriter {
        let lane = Arc::new(Lane::new(self.room));
        lock(&self.lanes).push(lane.clone());
        self.resume(lane)
    }

    /// A writer for a lane that has none any more.
    pub(super) fn resume(self: &Arc<Self>, lane: Arc<Lane>) -> LaneWriter {
        LaneWriter {
            pen: Pen::new(lane.clone(), self.sink.is_none()),
            lane,
            until_clock: CLOCK,
            recent: Recent::default(),
            recorder: self.clone(),
        }
    }

    /// Records so far.
    pub(super) fn count(&self) -> u64 {
        self.number.0.load(Ordering::Relaxed)
    }

    /// What calls the writer, if the trace goes to a file.
    pub(super) fn bell(&self) -> Option<&Arc<Bell>> {
        self.sink.as_ref().map(|_| &self.bell)
    }

    /// Calls the writer.
    #[cold]
    pub(super) fn ring(&self) {
        self.due.store(u64::MAX, Ordering::Relaxed);
        self.bell.ring();
    }

    /// Whether so much waits that a submission should call the writer.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.number.0.load(Ordering::Relaxed) >= self.due.load(Ordering::Relaxed)
    }

    /// Whether a queue has come further than was noted.
    pub(super) fn is_news(&self, timeline: &Timeline, queue: u32) -> bool {
        timeline.completed(queue) > self.seen[queue as usize].load(Ordering::Relaxed)
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Writes what waits to the file. After an error nothing more is written, and the error comes again.
    pub(super) fn flush(&self) -> Result<()> {
        match &self.sink {
            None => Ok(()),
            Some(sink) => self.flush_sink(&mut lock(sink)),
        }
    }

    fn flush_sink(&self, sink: &mut Sink) -> Result<()> {
        if let Some(error) = &sink.ended {
            return Err(error.clone());
        }
        for lane in lock(&self.lanes).iter() {
            lane.drain(&mut sink.waiting);
        }
        let outcome = sink.write(&self.labels);
        let next_due = if outcome.is_ok() { sink.next + DUE } else { u64::MAX };
        self.due.store(next_due, Ordering::Relaxed);
        outcome
    }

    /// As `flush`, where nobody is told of an error: whoever asks is, from then on.
    #[cold]
    pub(super) fn flush_untold(&self) {
        let _ = self.flush();
    }

    /// Writes a whole trace of what is kept.
    pub(super) fn write(&self, to: &mut dyn Write, path: &Path) -> Result<()> {
        let told = |error| io_error(path, "write to", error);
        if let Some(sink) = &self.sink {
            let mut sink = lock(sink);
            self.flush_sink(&mut sink)?;
            let mut file = File::open(&sink.path).map_err(|error| io_error(&sink.path, "open", error))?;
            std::io::copy(&mut file, to).map_err(told)?;
            return to.flush().map_err(told);
        }
        let (first, records) = self.newest();
        let mut bytes = TraceHeader { first, ..self.header.clone() }.to_bytes();
        file::put_labels(&mut bytes, &self.labels.after(0));
        to.write_all(&bytes).map_err(told)?;
        bytes.clear();
        file::write_records(to, &records, &mut bytes).and_then(|()| to.flush()).map_err(told)
    }

    /// The file that the trace goes to.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.sink.as_ref().map(|sink| lock(sink).path.clone())
    }

    /// The newest records without a gap, and the number of the first.
    fn newest(&self) -> (u64, Vec<Record>) {
        let mut records = Vec::new();
        let mut first = 0;
        for lane in lock(&self.lanes).iter() {
            let start = records.len();
            if lane.newest(&mut records) {
                // Before the oldest that is left, this lane has lost some.
                let oldest = records.get(start).map_or(u64::MAX, Record::number);
                first = first.max(oldest);
            }
        }
        records.sort_by_key(Record::number);
        records.drain(..records.partition_point(|record| record.number() < first));
        first = records.first().map_or(0, Record::number);
        let run = records.iter().zip(first..).take_while(|(record, number)| record.number() == *number);
        let run = run.count();
        records.truncate(run);
        (first, records)
    }
}

impl Sink {
    fn write(&mut self, labels: &Labels) -> Result<()> {
        // Lanes come sorted one after the other; joining runs is what this sort does best.
        self.waiting.sort_by_key(Record::number);
        let ready =
            self.waiting.iter().zip(self.next..).take_while(|(record, next)| record.number() == *next);
        let ready = ready.count();
        if ready == 0 {
            return Ok(());
        }
        // Taken after the records: every label that they name is there.
        let names = labels.after(self.labels);
        self.scratch.clear();
        file::put_labels(&mut self.scratch, &names);
        let written = file::write_records(self.to.as_mut(), &self.waiting[..ready], &mut self.scratch);
        if let Err(error) = written.and_then(|()| self.to.flush()) {
            let error = io_error(&self.path, "write to", error);
            self.ended = Some(error.clone());
            (self.waiting, self.scratch) = (Vec::new(), Vec::new());
            return Err(error);
        }
        self.waiting.drain(..ready);
        self.next += ready as u64;
        self.labels += names.len();
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The last chance; a drop has nobody to tell of an error.
        let _ = self.flush();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("count", &self.count()).finish_non_exhaustive()
    }
}

fn io_error(path: &Path, action: &'static str, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), action, source: std::sync::Arc::new(source) }
}

/// Numbers records and puts them in a lane. Whoever has it does so under a lock of their own.
#[derive(Debug)]
pub(super) struct LaneWriter {
    pen: Pen,
    until_clock: u32,
    lane: Arc<Lane>,
    recent: Recent,
    recorder: Arc<Recorder>,
}

impl LaneWriter {
    /// The lane, for the next writer.
    pub(super) fn lane(&self) -> Arc<Lane> {
        self.lane.clone()
    }

    #[inline]
    pub(super) fn label(&mut self, label: &Label) -> u32 {
        self.recent.number(label, &self.recorder.labels)
    }

    /// Adds a record. Says whether the clock was read for it.
    #[inline]
    pub(super) fn put(&mut self, record: Record) -> bool {
        self.until_clock -= 1;
        let reads = self.until_clock == 0;
        if reads {
            self.read_clock();
        }
        self.put_numbered(record);
        reads
    }

    #[cold]
    pub(super) fn read_clock(&mut self) {
        self.until_clock = CLOCK;
        if self.pen.waiting() >= DUE {
            self.recorder.ring();
        }
        self.put_numbered(record::clock(self.recorder.nanoseconds()));
    }

    #[inline]
    fn put_numbered(&mut self, record: Record) {
        // Room first: a number that was taken has to appear.
        if self.pen.has_room() || self.make_room() {
            let number = self.recorder.number.0.fetch_add(1, Ordering::Relaxed);
            self.pen.put(record.numbered(number));
        }
    }

    #[cold]
    fn make_room(&mut self) -> bool {
        if !self.pen.look_for_room() {
            self.recorder.flush_untold();
        }
        self.pen.look_for_room()
    }

    /// Adds an event that is not frequent.
    pub(super) fn note(&mut self, event: &Event) {
        let label = match event {
            Event::Allocated { label, .. }
            | Event::OutOfMemory { label, .. }
            | Event::Submitted { label, .. } => self.recent.number(label, &self.recorder.labels),
            _ => 0,
        };
        let timed = matches!(event, Event::Clock | Event::Submitted { .. } | Event::Completed { .. });
        let nanoseconds = if timed { self.recorder.nanoseconds() } else { 0 };
        self.put_numbered(record::encode(event, label, nanoseconds));
    }

    /// Notes how far a queue has come, if that is news.
    pub(super) fn see(&mut self, timeline: &Timeline, queue: u32) {
        let tick = timeline.completed(queue);
        let seen = &self.recorder.seen[queue as usize];
        if tick > seen.load(Ordering::Relaxed) && tick > seen.fetch_max(tick, Ordering::Relaxed) {
            let failed = timeline.outcome(queue, tick).is_err();
            self.note(&Event::Completed { at: Moment { queue, tick }, failed });
        }
    }
}
