//! The log of RMM's logging adaptor: one line a call, values between commas.
//!
//! Read as it goes, a line at a time, and no line longer than any that RMM writes. Returns of what was taken before the
//! log began are passed over. Next room: `export`, which writes the same.

use std::{
    collections::HashMap,
    io::{BufRead, Read},
    path::PathBuf,
    time::Duration,
};

use super::log::io_error;
use crate::{
    Label,
    error::{Error, Result},
    memory::{
        stats::Tag,
        trace::event::{Entry, Event, Served, Shortage, Spot},
    },
};

/// The first line.
pub(super) const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream";
/// A line of RMM takes less than half of this.
const LONGEST: u64 = 512;
/// No device has more.
const MOST: u64 = 1 << 48;
const CUT_OFF: &str = "the line is cut off here";

/// Reads a log.
pub(super) struct Reader<R> {
    from: R,
    path: PathBuf,
    offset: u64,
    number: u64,
    line: String,
    held: HashMap<u64, (u32, u64)>,
    leases: u32,
    streams: HashMap<u64, Label>,
    started: Option<Duration>,
    at: Duration,
    /// An event that follows the last one from the same line.
    next: Option<Event>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn start(from: R, path: PathBuf) -> Result<Self> {
        let mut reader = Self {
            from,
            path,
            offset: 0,
            number: 0,
            line: String::new(),
            held: HashMap::new(),
            leases: 0,
            streams: HashMap::new(),
            started: None,
            at: Duration::ZERO,
            next: None,
            ended: false,
        };
        reader.read_line()?;
        if reader.line.trim_end() != HEADER {
            return Err(reader.wrong(0, "the first line is not that of a log of RMM"));
        }
        reader.offset = reader.line.len() as u64;
        Ok(reader)
    }

    fn wrong(&self, offset: u64, what: &'static str) -> Error {
        Error::Unreadable { path: self.path.clone(), offset, what }
    }

    /// False at the end.
    fn read_line(&mut self) -> Result<bool> {
        self.line.clear();
        let mut bytes = std::mem::take(&mut self.line).into_bytes();
        let read = self.from.by_ref().take(LONGEST).read_until(b'\n', &mut bytes);
        let count = read.map_err(|source| io_error(&self.path, "read", source))?;
        if count as u64 == LONGEST {
            return Err(self.wrong(self.offset, "the line is longer than any that RMM writes"));
        }
        if count > 0 && bytes.last() != Some(&b'\n') {
            return Err(self.wrong(self.offset + count as u64, CUT_OFF));
        }
        self.line = String::from_utf8(bytes).map_err(|_| self.wrong(self.offset, "the line is no text"))?;
        Ok(count > 0)
    }

    fn event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.next.take() {
                return Ok(Some(event));
            }
            if !self.read_line()? {
                return Ok(None);
            }
            let start = self.offset;
            self.offset += self.line.len() as u64;
            if self.line.trim_end().is_empty() {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let call = parse(line.trim_end()).map_err(|what| self.wrong(start, what))?;
            self.line = line;
            let started = *self.started.get_or_insert(call.at);
            // Midnight and clocks that are set back do not turn time around.
            self.at = self.at.max(call.at.saturating_sub(started));
            if let Some(event) = self.say(&call) {
                return Ok(Some(event));
            }
        }
    }

    fn say(&mut self, call: &Line) -> Option<Event> {
        let (pool, tag) = (0, Tag::Other);
        let gone = |(lease, bytes)| Event::FreeRequested { pool, lease, bytes, tag, after: None };
        let name = || Label::from(format!("stream {:#x}", call.stream));
        let label = self.streams.entry(call.stream).or_insert_with(name).clone();
        match call.action {
            Action::Free => self.held.remove(&call.pointer).map(gone),
            Action::Refused => {
                let (asked, limit, why) = (call.bytes, u64::MAX, Shortage::Driver);
                Some(Event::OutOfMemory { pool, asked, limit, tag, label, why })
            }
            Action::Allocate => {
                let lease = self.leases;
                self.leases = self.leases.wrapping_add(1);
                let before = self.held.insert(call.pointer, (lease, call.bytes)).map(gone);
                let allocated = Event::Allocated {
                    pool,
                    lease,
                    bytes: call.bytes,
                    taken: call.bytes.next_multiple_of(256),
                    tag,
                    label,
                    spot: Some(Spot { region: 0, offset: call.pointer }),
                    served: if call.bytes == 0 { Served::Nothing } else { Served::Hit },
                    early: false,
                    split: false,
                };
                // The log misses a return: two cannot hold one address.
                match before {
                    Some(gone) => {
                        self.next = Some(allocated);
                        Some(gone)
                    }
                    None => Some(allocated),
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.event().transpose();
        self.ended = !matches!(event, Some(Ok(_)));
        let number = self.number;
        self.number += 1;
        event.map(|event| event.map(|event| Entry { number, at: self.at, event }))
    }
}

enum Action {
    Allocate,
    Refused,
    Free,
}

struct Line {
    at: Duration,
    action: Action,
    pointer: u64,
    bytes: u64,
    stream: u64,
}

fn parse(line: &str) -> Result<Line, &'static str> {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, time, action, pointer, bytes, stream] = fields[..] else {
        return Err("a line has six values");
    };
    let action = match action {
        "allocate" => Action::Allocate,
        "allocate failure" => Action::Refused,
        "free" => Action::Free,
        _ => return Err("an action is `allocate`, `allocate failure` or `free`"),
    };
    let bytes: u64 = bytes.parse().map_err(|_| "the size is no number")?;
    if bytes > MOST {
        return Err("the size is more than any device has");
    }
    Ok(Line {
        at: clock(time).ok_or("a time is HH:MM:SS:microseconds")?,
        action,
        pointer: hexadecimal(pointer).ok_or("the pointer is no hexadecimal number")?,
        bytes,
        stream: hexadecimal(stream).ok_or("the stream is no hexadecimal number")?,
    })
}

/// Zero also where nothing is said, as for a request that failed.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.trim_start_matches("0x");
    if digits.is_empty() || text == "(nil)" {
        return Some(0);
    }
    u64::from_str_radix(digits, 16).ok()
}

fn clock(text: &str) -> Option<Duration> {
    let mut parts = text.split([':', '.']);
    let mut part = |most: u64| parts.next()?.parse::<u64>().ok().filter(|part| *part <= most);
    let (hours, minutes, seconds, micros) = (part(23)?, part(59)?, part(60)?, part(999_999)?);
    Some(Duration::from_secs(hours * 3600 + minutes * 60 + seconds) + Duration::from_micros(micros))
}
