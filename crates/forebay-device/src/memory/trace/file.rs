//! The bytes of a trace file: its header and its sections. The layout is in `trace`'s header.
//!
//! Writes and takes apart, and decides nothing: what is written when is `recorder`'s business, what a reader accepts is
//! `reader`'s.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use super::record::{BYTES, Record};
use crate::{
    caps::{BackendKind, Caps},
    sync::Arc,
};

/// How a trace file starts.
pub(crate) const MAGIC: [u8; 8] = *b"FOREBAYT";
pub(super) const VERSION: u32 = 1;
/// Bytes of a header without the device's name.
pub(super) const HEADER: usize = 64;
/// The longest name of a device.
pub(super) const LONGEST_NAME: usize = 4096;
pub(super) const LABELS: [u8; 4] = *b"LABL";
pub(super) const RECORDS: [u8; 4] = *b"RECS";
/// Bytes of what precedes the contents of a section.
pub(super) const SECTION: usize = 8;
/// Records of one section at most.
const PER_SECTION: usize = 1 << 20;

const BACKENDS: [BackendKind; 4] =
    [BackendKind::Null, BackendKind::Cpu, BackendKind::Cuda, BackendKind::Metal];

/// What a trace says about where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceHeader {
    /// The family of the device.
    pub backend: BackendKind,
    /// What the maker calls the device.
    pub device: String,
    /// The unit in which its address space gets memory; 0 where both come together.
    pub page: u64,
    /// Bytes of memory it has.
    pub memory: u64,
    /// The most that all pools together may take.
    pub limit: u64,
    /// When the device was opened.
    pub opened: SystemTime,
    /// The number of the first event: how many came before it and were not kept.
    pub first: u64,
}

impl TraceHeader {
    pub(super) fn new(caps: &Caps, limit: u64) -> Self {
        Self {
            backend: caps.backend,
            device: caps.name.chars().take(LONGEST_NAME / 4).collect(),
            page: caps.page,
            memory: caps.memory,
            limit,
            opened: SystemTime::now(),
            first: 0,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let since = self.opened.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let backend = BACKENDS.iter().position(|kind| *kind == self.backend).unwrap_or(0) as u32;
        let mut bytes = Vec::with_capacity(HEADER + self.device.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(backend.to_le_bytes());
        let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        for number in [self.first, nanoseconds, self.page, self.memory, self.limit] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.device.len() as u32).to_le_bytes());
        bytes.extend((BYTES as u32).to_le_bytes());
        bytes.extend(self.device.as_bytes());
        bytes
    }

    /// What the fixed part says, the name still missing, and the length of the name.
    pub(super) fn from_bytes(bytes: &[u8; HEADER]) -> Result<(Self, usize), (u64, &'static str)> {
        let word =
            |at: usize| bytes[at..].first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_le_bytes(*bytes));
        let (half, upper) = (|at: usize| word(at) as u32, |at: usize| (word(at) >> 32) as u32);
        if !bytes.starts_with(&MAGIC) {
            return Err((0, "this is no trace: it does not start with FOREBAYT"));
        }
        if half(8) != VERSION {
            return Err((8, "another version of forebay wrote it; this one reads version 1"));
        }
        let backend = *BACKENDS.get(upper(8) as usize).ok_or((12, "no backend has this number"))?;
        let opened = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_nanos(word(24)))
            .ok_or((24, "the time is past what this system knows"))?;
        if upper(56) as usize != BYTES {
            return Err((60, "records have another length"));
        }
        let name = half(56) as usize;
        if name > LONGEST_NAME {
            return Err((56, "the name of the device is too long"));
        }
        let (page, memory, limit) = (word(32), word(40), word(48));
        let device = String::new();
        Ok((Self { backend, device, page, memory, limit, opened, first: word(16) }, name))
    }
}

/// Appends a section with names, unless there are none.
pub(super) fn put_labels(bytes: &mut Vec<u8>, names: &[Arc<str>]) {
    if names.is_empty() {
        return;
    }
    let len: usize = names.iter().map(|name| 2 + name.len()).sum();
    bytes.extend(LABELS);
    bytes.extend((len as u32).to_le_bytes());
    for name in names {
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.as_bytes());
    }
}

/// Writes sections with records.
pub(super) fn write_records(to: &mut dyn Write, records: &[Record], scratch: &mut Vec<u8>) -> io::Result<()> {
    for section in records.chunks(PER_SECTION) {
        scratch.extend(RECORDS);
        scratch.extend(((section.len() * BYTES) as u32).to_le_bytes());
        scratch.reserve(section.len() * BYTES);
        for record in section {
            scratch.extend_from_slice(&record.to_bytes());
        }
        to.write_all(scratch)?;
        scratch.clear();
    }
    Ok(())
}
