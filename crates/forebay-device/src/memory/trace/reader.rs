//! Reads a trace, event by event, and believes nothing that it reads.
//!
//! Memory is bounded by the labels that the file really has. Whatever is wrong ends the reading with one error that
//! says where; what came before it has been handed out. What events mean together, such as a free without an
//! allocation, is not judged here.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    event::Entry,
    file::{self, TraceHeader},
    labels::{LONGEST, UNKNOWN_NAME},
    record::{self, BYTES, LABEL_UNKNOWN, Record},
};
use crate::{
    error::{Error, Result},
    label::Label,
};

/// The events of a trace, in order.
///
/// ```
/// use forebay_device::{Device, DeviceOptions, Event, TraceOptions, TraceReader};
///
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-trace-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("trace");
/// let device = Device::open(&DeviceOptions::null().trace(TraceOptions::file(&path)))?;
/// drop(device.alloc(4096)?);
/// drop(device);
/// let mut most = 0;
/// for entry in TraceReader::open(&path)? {
///     if let Event::Allocated { bytes, .. } = entry?.event {
///         most = most.max(bytes);
///     }
/// }
/// assert_eq!(most, 4096);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Debug)]
pub struct TraceReader<R> {
    from: R,
    path: PathBuf,
    header: TraceHeader,
    offset: u64,
    /// Bytes of records left in this section.
    left: u64,
    /// The next event's.
    number: u64,
    at: Duration,
    labels: Vec<Label>,
    ended: bool,
}

/// Why reading stops.
enum Stop {
    /// At this offset of the file, something is not as it should be.
    Wrong(u64, &'static str),
    Io(io::Error),
}

impl TraceReader<BufReader<File>> {
    /// Opens a trace file.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Trace` if it is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            action: "open",
            source: Arc::new(source),
        })?;
        Self::start(BufReader::with_capacity(1 << 18, file), path.to_owned())
    }
}

impl<R: Read> TraceReader<R> {
    /// Reads a trace from wherever it is. A file is better opened: then it is buffered, and errors name it.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Trace` if it is none.
    pub fn new(from: R) -> Result<Self> {
        Self::start(from, "trace".into())
    }

    /// As `new`, with the name that errors give.
    pub(crate) fn start(mut from: R, path: PathBuf) -> Result<Self> {
        let mut offset = 0;
        let header = match read_header(&mut from, &mut offset) {
            Ok(header) => header,
            Err(stop) => return Err(error_of(stop, &path)),
        };
        let number = header.first;
        Ok(Self {
            from,
            path,
            header,
            offset,
            left: 0,
            number,
            at: Duration::ZERO,
            labels: vec![Label::default()],
            ended: false,
        })
    }

    /// Where the trace comes from.
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Stop> {
        while self.left == 0 {
            if !self.open_section()? {
                return Ok(None);
            }
        }
        let start = self.offset;
        let bytes: [u8; BYTES] = read_array(&mut self.from, &mut self.offset)?;
        self.left -= BYTES as u64;
        let record = Record::from_bytes(bytes);
        if record.number() != self.number & record::MOST {
            return Err(Stop::Wrong(start, "the number of the event is not the next one"));
        }
        let labels = &self.labels;
        let label = |id: u32| match id {
            LABEL_UNKNOWN => Some(Label::from(UNKNOWN_NAME)),
            id => labels.get(id as usize).cloned(),
        };
        let (event, time) = record::decode(&record, label).map_err(|what| Stop::Wrong(start, what))?;
        // Two threads may read the clock and then take numbers the other way round: time never runs back.
        self.at = self.at.max(time.map_or(Duration::ZERO, Duration::from_nanos));
        let number = self.number;
        self.number += 1;
        Ok(Some(Entry { number, at: self.at, event }))
    }

    /// Goes into the next section with records, taking in labels on the way. False at the end of the file.
    fn open_section(&mut self) -> Result<bool, Stop> {
        let start = self.offset;
        let mut first = [0];
        if read_some(&mut self.from, &mut first)? == 0 {
            return Ok(false);
        }
        self.offset += 1;
        let rest: [u8; file::SECTION - 1] = read_array(&mut self.from, &mut self.offset)?;
        let [b, c, d, len @ ..] = rest;
        let len = u64::from(u32::from_le_bytes(len));
        match [first[0], b, c, d] {
            file::RECORDS if len.is_multiple_of(BYTES as u64) => self.left = len,
            file::RECORDS => {
                return Err(Stop::Wrong(start + 4, "the section is no whole number of records"));
            }
            file::LABELS => self.read_labels(self.offset + len)?,
            _ => return Err(Stop::Wrong(start, "no section is called that")),
        }
        Ok(true)
    }

    fn read_labels(&mut self, end: u64) -> Result<(), Stop> {
        while self.offset < end {
            let start = self.offset;
            let len = u16::from_le_bytes(read_array(&mut self.from, &mut self.offset)?) as usize;
            if len > LONGEST || self.offset + len as u64 > end {
                return Err(Stop::Wrong(start, "the label is longer than a label, or than its section"));
            }
            let mut bytes = [0; LONGEST];
            read_exactly(&mut self.from, &mut bytes[..len], &mut self.offset)?;
            let Ok(text) = str::from_utf8(&bytes[..len]) else {
                return Err(Stop::Wrong(start, "the label is no text"));
            };
            if self.labels.len() >= LABEL_UNKNOWN as usize {
                return Err(Stop::Wrong(start, "there are more labels than numbers for them"));
            }
            self.labels.push(Arc::<str>::from(text).into());
        }
        if self.offset == end {
            return Ok(());
        }
        Err(Stop::Wrong(end, "the last label reaches past its section"))
    }
}

impl<R: Read> Iterator for TraceReader<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.read_entry();
        self.ended = !matches!(entry, Ok(Some(_)));
        entry.map_err(|stop| error_of(stop, &self.path)).transpose()
    }
}

fn error_of(stop: Stop, path: &Path) -> Error {
    match stop {
        Stop::Wrong(offset, what) => Error::Trace { path: path.to_owned(), offset, what },
        Stop::Io(source) => Error::Io { path: path.to_owned(), action: "read", source: Arc::new(source) },
    }
}

fn read_header(from: &mut impl Read, offset: &mut u64) -> Result<TraceHeader, Stop> {
    let bytes = read_array(from, offset)?;
    let (mut header, name) =
        TraceHeader::from_bytes(&bytes).map_err(|(offset, what)| Stop::Wrong(offset, what))?;
    if header.first > record::MOST {
        return Err(Stop::Wrong(16, "no event has so high a number"));
    }
    let mut bytes = vec![0; name];
    let start = *offset;
    read_exactly(from, &mut bytes, offset)?;
    header.device =
        String::from_utf8(bytes).map_err(|_| Stop::Wrong(start, "the name of the device is no text"))?;
    Ok(header)
}

fn read_array<const N: usize>(from: &mut impl Read, offset: &mut u64) -> Result<[u8; N], Stop> {
    let mut bytes = [0; N];
    read_exactly(from, &mut bytes, offset)?;
    Ok(bytes)
}

/// Fills the bytes. Where the file ends instead, that is where it was cut off.
fn read_exactly(from: &mut impl Read, bytes: &mut [u8], offset: &mut u64) -> Result<(), Stop> {
    let mut done = 0;
    while done < bytes.len() {
        let count = read_some(from, &mut bytes[done..])?;
        *offset += count as u64;
        done += count;
        if count == 0 {
            return Err(Stop::Wrong(*offset, "the file is cut off here"));
        }
    }
    Ok(())
}

fn read_some(from: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Stop> {
    loop {
        match from.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Stop::Io(error)),
            Ok(count) => return Ok(count),
        }
    }
}
