//! A trace as a page to look at: one file, no network.
//!
//! Here the events become columns of numbers: what was handed out from when to when and where, what had memory behind
//! it, when the clock was read, and what else happened. The page has them packed, and draws. Next rooms: `map`, which
//! says where on the page an address lies; `pack`, how columns lie in it; `page/`, what the browser runs.

mod map;
mod pack;

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, SystemTime},
};

use self::{map::Map, pack::Columns};
use super::{
    json::text,
    ledger::{Key, Ledger},
    log::{Log, Origin},
};
use crate::{
    Result,
    memory::{
        stats::Tag,
        trace::event::{Entry, Event, Served, Shortage},
    },
};

/// Stands for no event: still held at the end.
const NEVER: u32 = u32::MAX;
/// Stands for no place.
const NOWHERE: u32 = u32::MAX;
/// The most events that a page shows; of a longer trace it shows the first.
const MOST: u64 = 1 << 24;

/// What was handed out.
#[derive(Clone, Debug)]
struct Block {
    start: u32,
    /// The event with which it was dropped.
    freed: u32,
    /// The event with which its memory was free.
    done: u32,
    spot: Option<crate::Spot>,
    taken: u64,
    bytes: u64,
    label: u32,
    tag: Tag,
    served: Served,
    early: bool,
    pool: u32,
}

/// Addresses that had memory behind them.
#[derive(Clone, Debug)]
struct Stretch {
    region: u32,
    offset: u64,
    bytes: u64,
    from: u32,
    to: u32,
}

/// What else happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum MarkKind {
    Refused,
    DriverRefused,
    Trimmed,
    Mapped,
    Unmapped,
    Submitted,
    Completed,
    ArenaReset,
}

/// The page of a trace.
///
/// ```
/// use std::io::Cursor;
/// use forebay_device::{Device, DeviceOptions, TraceOptions, history::{Log, Page}};
///
/// let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1000)))?;
/// drop(device.alloc(1000)?);
/// let mut trace = Vec::new();
/// device.trace().ok_or("no trace was asked for")?.write(&mut trace)?;
/// let page = Page::of(&mut Log::new(Cursor::new(trace), "trace")?, "two events")?;
/// assert!(page.html().starts_with("<!doctype html>"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Page {
    name: String,
    origin: Origin,
    events: u64,
    left_out: u64,
    limit: Option<u64>,
    labels: Vec<String>,
    blocks: Vec<Block>,
    stretches: Vec<Stretch>,
    /// What all pools had reserved, after the event, whenever that changed.
    reserved: Vec<(u32, u64)>,
    clock: Vec<(u32, Duration)>,
    marks: Vec<(u32, MarkKind, u64, u32)>,
}

impl Page {
    /// Takes all events in. `name` is what the page is called.
    ///
    /// # Errors
    /// What reading the log fails with.
    pub fn of(log: &mut Log, name: impl AsRef<Path>) -> Result<Self> {
        let mut drawing = Drawing::new(log.origin().clone(), name.as_ref().display().to_string());
        for entry in log {
            drawing.take(&entry?);
        }
        Ok(drawing.finish())
    }

    /// How many events it shows, and how many came after those.
    pub fn events(&self) -> (u64, u64) {
        (self.events, self.left_out)
    }

    /// The page.
    pub fn html(&self) -> String {
        let packed = pack::packed(&self.meta(), self.columns());
        let (style, script) = (
            include_str!("page/style.css"),
            [
                include_str!("page/data.js"),
                include_str!("page/view.js"),
                include_str!("page/draw.js"),
                include_str!("page/panel.js"),
                include_str!("page/start.js"),
            ]
            .concat(),
        );
        let mut html = String::with_capacity(packed.len() + style.len() + script.len() + (1 << 14));
        for part in include_str!("page/page.html").split("@@") {
            match part {
                "NAME" => html.push_str(&escaped(&self.name)),
                "STYLE" => html.push_str(style),
                "SCRIPT" => html.push_str(&script),
                "DATA" => html.push_str(&packed),
                part => html.push_str(part),
            }
        }
        html
    }

    /// What is said once.
    fn meta(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|label| text(label)).collect();
        let tags: Vec<_> = Tag::ALL.iter().map(|tag| text(tag.name())).collect();
        let bands: Vec<_> = self
            .map()
            .bands()
            .iter()
            .map(|band| {
                format!(
                    r#"{{"region":{},"offset":{},"granules":{},"y":{}}}"#,
                    band.region, band.offset, band.granules, band.y
                )
            })
            .collect();
        let number = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
        let opened = self.origin.opened.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        format!(
            r#"{{"name":{},"kind":{},"device":{},"limit":{},"memory":{},"opened":{},"first":{},"events":{},"leftOut":{},"granule":256,"tags":[{}],"labels":[{}],"bands":[{}]}}"#,
            text(&self.name),
            text(self.origin.kind.name()),
            text(&self.origin.device),
            number(self.limit),
            number(self.origin.memory.filter(|memory| *memory > 0)),
            number(opened.map(|since| since.as_millis() as u64)),
            self.origin.first,
            self.events,
            self.left_out,
            tags.join(","),
            labels.join(","),
            bands.join(","),
        )
    }

    fn map(&self) -> Map {
        let blocks = self.blocks.iter().filter_map(|block| Some((block.spot?, block.taken)));
        let stretches = self
            .stretches
            .iter()
            .map(|stretch| (crate::Spot { region: stretch.region, offset: stretch.offset }, stretch.bytes));
        Map::of(blocks.chain(stretches))
    }

    fn columns(&self) -> Columns {
        const GRANULE: u64 = crate::GRANULE;
        let map = self.map();
        let place = |region, offset| map.place(region, offset).unwrap_or(NOWHERE);
        let granules = |bytes: u64| u32::try_from(bytes.div_ceil(GRANULE)).unwrap_or(u32::MAX);
        let blocks = &self.blocks;
        let span = |from: u32, to: u32| if to == NEVER { NEVER } else { to - from };
        let mut columns = Columns::default();
        let mut last = 0;
        // What rises only is kept as steps, and ends as lengths: small numbers take little room.
        columns
            .u32("start", blocks.iter().map(|block| block.start - std::mem::replace(&mut last, block.start)));
        columns.u32("life", blocks.iter().map(|block| span(block.start, block.freed)));
        columns.u32("tail", blocks.iter().map(|block| span(block.freed, block.done)));
        let spot = |block: &Block| block.spot.map_or(NOWHERE, |spot| place(spot.region, spot.offset));
        columns.u32("y", blocks.iter().map(spot));
        let taken =
            |block: &Block| block.taken.max(block.bytes.min(u64::MAX - GRANULE).next_multiple_of(GRANULE));
        columns.u32("taken", blocks.iter().map(|block| granules(taken(block))));
        let waste = |block: &Block| u32::try_from(taken(block) - block.bytes).unwrap_or(u32::MAX);
        columns.u32("waste", blocks.iter().map(waste));
        columns.u32("label", blocks.iter().map(|block| block.label));
        columns.u32("pool", blocks.iter().map(|block| block.pool));
        columns.u8("look", blocks.iter().map(look));
        let stretches: Vec<_> =
            self.stretches.iter().map(|stretch| (stretch, place(stretch.region, stretch.offset))).collect();
        columns.u32("pageY", stretches.iter().map(|(_, y)| *y));
        columns.u32("pageLen", stretches.iter().map(|(stretch, _)| granules(stretch.bytes)));
        columns.u32("pageFrom", stretches.iter().map(|(stretch, _)| stretch.from));
        columns.u32("pageTo", stretches.iter().map(|(stretch, _)| stretch.to));
        columns.u32("reservedAt", self.reserved.iter().map(|(at, _)| *at));
        columns.f64("reserved", self.reserved.iter().map(|(_, bytes)| *bytes as f64));
        columns.u32("clockAt", self.clock.iter().map(|(at, _)| *at));
        columns.f64("clock", self.clock.iter().map(|(_, time)| time.as_secs_f64() * 1e6));
        columns.u32("markAt", self.marks.iter().map(|mark| mark.0));
        columns.u8("markKind", self.marks.iter().map(|mark| mark.1 as u8));
        columns.f64("markBytes", self.marks.iter().map(|mark| mark.2 as f64));
        columns.u32("markLabel", self.marks.iter().map(|mark| mark.3));
        columns
    }
}

/// The tag, and what else is to be seen of it.
fn look(block: &Block) -> u8 {
    let served = match block.served {
        Served::Miss | Served::Dedicated => 1,
        Served::Outside => 2,
        _ => 0,
    };
    block.tag as u8 | served << 4 | u8::from(block.early) << 6
}

/// Events on their way to a page.
struct Drawing {
    page: Page,
    ledger: Ledger,
    known: HashMap<String, u32>,
    /// Which block a lease is.
    live: HashMap<Key, usize>,
    retiring: HashMap<Key, usize>,
    /// Which stretches of a region have memory now.
    mapped: HashMap<u32, Vec<usize>>,
}

impl Drawing {
    fn new(origin: Origin, name: String) -> Self {
        let page = Page {
            name,
            limit: origin.limit,
            origin,
            events: 0,
            left_out: 0,
            labels: vec![String::new()],
            blocks: Vec::new(),
            stretches: Vec::new(),
            reserved: Vec::new(),
            clock: Vec::new(),
            marks: Vec::new(),
        };
        let known = HashMap::from([(String::new(), 0)]);
        let (live, retiring, mapped) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { page, ledger: Ledger::default(), known, live, retiring, mapped }
    }

    fn label(&mut self, label: &crate::Label) -> u32 {
        if let Some(&known) = self.known.get(label.as_str()) {
            return known;
        }
        let number = self.page.labels.len() as u32;
        self.page.labels.push(label.to_string());
        self.known.insert(label.to_string(), number);
        number
    }

    fn take(&mut self, entry: &Entry) {
        if self.page.events == MOST {
            self.page.left_out += 1;
            return;
        }
        let at = self.page.events as u32;
        self.page.events += 1;
        if self.page.clock.last().is_none_or(|(_, last)| *last != entry.at) {
            self.page.clock.push((at, entry.at));
        }
        self.memory(at, entry);
        self.pages(at, &entry.event);
        self.mark(at, &entry.event);
        self.ledger.apply(entry);
        let reserved = self.ledger.reserved();
        if self.page.reserved.last().map_or(0, |last| last.1) != reserved {
            self.page.reserved.push((at, reserved));
        }
    }

    /// What was handed out and given back.
    fn memory(&mut self, at: u32, entry: &Entry) {
        match entry.event {
            Event::PoolOpened { limit, .. } if limit != u64::MAX => {
                self.page.limit = Some(self.page.limit.map_or(limit, |other| other.min(limit)));
            }
            Event::PoolClosed { pool, .. } => {
                let gone: Vec<_> = self.live.keys().copied().filter(|key| key.0 == pool).collect();
                gone.into_iter().for_each(|key| self.freed(key, at, false));
                let gone: Vec<_> = self.retiring.keys().copied().filter(|key| key.0 == pool).collect();
                gone.into_iter().for_each(|key| self.done(key, at));
            }
            Event::Allocated { pool, lease, bytes, taken, tag, ref label, spot, served, early, .. } => {
                self.done((pool, lease), at);
                self.freed((pool, lease), at, false);
                if bytes == 0 {
                    return;
                }
                let label = self.label(label);
                let spot = spot.filter(|_| served != Served::Outside);
                let (freed, done) = (NEVER, NEVER);
                self.live.insert((pool, lease), self.page.blocks.len());
                self.page.blocks.push(Block {
                    start: at,
                    freed,
                    done,
                    spot,
                    taken,
                    bytes,
                    label,
                    tag,
                    served,
                    early,
                    pool,
                });
            }
            Event::FreeRequested { pool, lease, after, .. } => self.freed((pool, lease), at, after.is_some()),
            Event::FreeCompleted { pool, lease, .. } => self.done((pool, lease), at),
            _ => {}
        }
    }

    fn freed(&mut self, key: Key, at: u32, waits: bool) {
        let Some(block) = self.live.remove(&key) else { return };
        self.page.blocks[block].freed = at;
        if waits {
            self.retiring.insert(key, block);
        } else {
            self.page.blocks[block].done = at;
        }
    }

    fn done(&mut self, key: Key, at: u32) {
        if let Some(block) = self.retiring.remove(&key) {
            self.page.blocks[block].done = at;
        }
    }

    /// What has memory behind it.
    fn pages(&mut self, at: u32, event: &Event) {
        match *event {
            Event::RegionReserved { region, bytes, mapped: true, .. } => self.stretch(region, 0, bytes, at),
            Event::RegionMapped { region, offset, bytes, .. } => self.stretch(region, offset, bytes, at),
            Event::RegionUnmapped { region, offset, bytes, .. } => self.unmapped(region, offset, bytes, at),
            Event::RegionReleased { region, .. } => {
                for stretch in self.mapped.remove(&region).unwrap_or_default() {
                    self.page.stretches[stretch].to = at;
                }
            }
            _ => {}
        }
    }

    fn stretch(&mut self, region: u32, offset: u64, bytes: u64, from: u32) {
        self.mapped.entry(region).or_default().push(self.page.stretches.len());
        self.page.stretches.push(Stretch { region, offset, bytes, from, to: NEVER });
    }

    fn unmapped(&mut self, region: u32, offset: u64, bytes: u64, at: u32) {
        let end = offset.saturating_add(bytes);
        let all = self.mapped.remove(&region).unwrap_or_default();
        let (gone, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(|stretch| {
            let Stretch { offset: start, bytes, .. } = self.page.stretches[*stretch];
            start < end && offset < start.saturating_add(bytes)
        });
        self.mapped.insert(region, stay);
        for stretch in gone {
            let Stretch { offset: start, bytes, .. } = self.page.stretches[stretch];
            self.page.stretches[stretch].to = at;
            let high = start.saturating_add(bytes);
            if start < offset {
                self.stretch(region, start, offset - start, at);
            }
            if high > end {
                self.stretch(region, end, high - end, at);
            }
        }
    }

    fn mark(&mut self, at: u32, event: &Event) {
        let none = crate::Label::default();
        let (kind, bytes, label) = match event {
            Event::OutOfMemory { asked, label, why, .. } => {
                let kind = match why {
                    Shortage::Driver | Shortage::Limit | Shortage::Budget => MarkKind::Refused,
                };
                (kind, *asked, label)
            }
            Event::DriverRefused { bytes, .. } => (MarkKind::DriverRefused, *bytes, &none),
            Event::Trimmed { gone, .. } => (MarkKind::Trimmed, *gone, &none),
            Event::RegionReserved { bytes, mapped: true, .. } | Event::RegionMapped { bytes, .. } => {
                (MarkKind::Mapped, *bytes, &none)
            }
            Event::RegionUnmapped { bytes, .. } | Event::RegionReleased { bytes, .. } => {
                (MarkKind::Unmapped, *bytes, &none)
            }
            Event::Submitted { at, label, .. } => (MarkKind::Submitted, at.tick, label),
            Event::Completed { at, .. } => (MarkKind::Completed, at.tick, &none),
            Event::ArenaReset { held_bytes, .. } => (MarkKind::ArenaReset, *held_bytes, &none),
            _ => return,
        };
        let label = self.label(label);
        self.page.marks.push((at, kind, bytes, label));
    }

    fn finish(self) -> Page {
        self.page
    }
}

/// Text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
