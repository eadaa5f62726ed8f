//! A trace for other programs: PyTorch's viewer, RMM's replay, Perfetto.
//!
//! Written as it is read, but for PyTorch, whose snapshots are one dictionary. Pools are streams or processes there,
//! labels are places in a stack. Next rooms: `pytorch`, `perfetto`.

mod perfetto;
mod pytorch;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    str::FromStr,
};

use super::{
    ledger::{Key, Ledger},
    log::{Log, io_error},
    rmm,
};
use crate::{
    Result,
    memory::trace::event::{Entry, Event, Served, Spot},
};

/// Whom a trace is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// PyTorch's `torch.cuda._memory_viz`, and the viewer on its site: a pickled snapshot.
    PyTorch,
    /// RMM's replay benchmark: comma-separated values.
    Rmm,
    /// Perfetto and other readers of trace events: JSON.
    Perfetto,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PyTorch, Self::Rmm, Self::Perfetto];

    /// The short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PyTorch => "pytorch",
            Self::Rmm => "rmm",
            Self::Perfetto => "perfetto",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("no format is called {text:?}; there are {}", known()))
    }
}

impl Format {
    /// Writes the events of a log, and says how many there were. `name` is what errors call the output.
    ///
    /// ```
    /// use forebay_device::{Device, DeviceOptions, TraceOptions, history::{Format, Log}};
    ///
    /// let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1000)))?;
    /// drop(device.alloc(1000)?);
    /// let mut trace = Vec::new();
    /// device.trace().ok_or("no trace was asked for")?.write(&mut trace)?;
    /// let mut csv = Vec::new();
    /// let mut log = Log::new(std::io::Cursor::new(trace), "trace")?;
    /// Format::Rmm.write(&mut log, &mut csv, "log.csv")?;
    /// assert_eq!(String::from_utf8(csv)?.lines().count(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What reading the log fails with, or `Io` if the output cannot be written.
    pub fn write(self, log: &mut Log, to: &mut dyn Write, name: impl AsRef<Path>) -> Result<u64> {
        let name = name.as_ref();
        let mut writer: Box<dyn Writer> = match self {
            Self::PyTorch => Box::new(pytorch::Snapshot::default()),
            Self::Rmm => Box::new(Csv),
            Self::Perfetto => Box::new(perfetto::Timeline::default()),
        };
        let told = |source| io_error(name, "write to", source);
        let mut ledger = Ledger::default();
        let mut count = 0;
        writer.start(to).map_err(told)?;
        for entry in log {
            let entry = entry?;
            // Before the event is applied, so that what it ends is still known.
            writer.entry(&entry, &ledger, to).map_err(told)?;
            ledger.apply(&entry);
            count += 1;
        }
        writer.finish(&ledger, to).and_then(|()| to.flush()).map_err(told)?;
        Ok(count)
    }
}

/// Writes one format.
trait Writer {
    fn start(&mut self, to: &mut dyn Write) -> io::Result<()>;
    /// An event, and who held what before it.
    fn entry(&mut self, entry: &Entry, before: &Ledger, to: &mut dyn Write) -> io::Result<()>;
    fn finish(&mut self, end: &Ledger, to: &mut dyn Write) -> io::Result<()>;
}

/// The address of a place; regions that nobody saw made get one each, far from all others.
fn address(ledger: &Ledger, spot: Spot) -> u64 {
    let known = ledger.region(spot.region).map(|book| book.address);
    known.unwrap_or_else(|| u64::from(spot.region) << 48).wrapping_add(spot.offset)
}

/// Whether a pool took the memory from somewhere.
fn is_own(served: Served) -> bool {
    !matches!(served, Served::Outside | Served::Nothing)
}

fn held_at(ledger: &Ledger, key: Key) -> Option<(u64, u64)> {
    let holding = ledger.holding(key).filter(|holding| is_own(holding.served))?;
    Some((address(ledger, holding.spot?), holding.bytes))
}

/// RMM's log.
struct Csv;

impl Csv {
    fn line(to: &mut dyn Write, entry: &Entry, pool: u32, action: &str, place: (u64, u64)) -> io::Result<()> {
        let (seconds, micros) = (entry.at.as_secs(), entry.at.subsec_micros());
        let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let (pointer, bytes) = place;
        writeln!(
            to,
            "{},{hours:02}:{minutes:02}:{seconds:02}.{micros:06},{action},{pointer:#x},{bytes},0x0",
            pool + 1
        )
    }
}

impl Writer for Csv {
    fn start(&mut self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", rmm::HEADER)
    }

    fn entry(&mut self, entry: &Entry, before: &Ledger, to: &mut dyn Write) -> io::Result<()> {
        match entry.event {
            Event::Allocated { pool, bytes, served, spot: Some(spot), .. } if is_own(served) => {
                Self::line(to, entry, pool, "allocate", (address(before, spot), bytes))
            }
            Event::FreeRequested { pool, lease, .. } => match held_at(before, (pool, lease)) {
                Some(place) => Self::line(to, entry, pool, "free", place),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &Ledger, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
