//! Why there was no memory, or who had it when it was fullest: the report as numbers and as prose.
//!
//! Everything is computed from events alone. Next room: `ledger`.

mod advice;
mod prose;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    ledger::{Holding, Ledger, RegionBook},
    log::{Log, Origin},
};
use crate::{
    Label, Result,
    memory::{
        stats::Tag,
        trace::event::{Event, Shortage},
    },
};

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// What was asked for.
    pub asked: u64,
    /// What for.
    pub tag: Tag,
    /// Under which name.
    pub label: Label,
    /// What was missing.
    pub why: Shortage,
    /// The pool that was asked.
    pub pool: u32,
    /// How many requests were refused up to then, this one included.
    pub count: u64,
}

/// What one name holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name; numbers in it that differ from buffer to buffer are shown as `#`.
    pub label: String,
    /// What for.
    pub tag: Tag,
    /// Bytes asked for, all buffers together.
    pub bytes: u64,
    /// How many buffers.
    pub count: u64,
}

/// What a queue still uses after it was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueShare {
    /// The queue.
    pub queue: u32,
    /// The tick after which all of it is free.
    pub last: u64,
    /// How much.
    pub bytes: u64,
    /// The first tick after which enough is free for what was asked, this queue's returns counted alone.
    pub enough: Option<u64>,
}

/// The largest free piece.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hole {
    /// Its length.
    pub bytes: u64,
    /// The pool.
    pub pool: u32,
    /// Who lies below and above it; nobody at the edge of what is mapped.
    pub beside: [Option<Holder>; 2],
}

/// What a trace says of one moment. Sizes are bytes.
///
/// ```
/// use std::io::Cursor;
/// use forebay_device::{Device, DeviceOptions, Request, TraceOptions, history::{Explanation, Log}};
///
/// let options = DeviceOptions::null().memory_limit(8 << 20).trace(TraceOptions::ring(1000));
/// let device = Device::open(&options)?;
/// let _kept = device.alloc(Request::new(6 << 20).label("kept"))?;
/// assert!(device.alloc(Request::new(4 << 20).label("wanted")).is_err());
/// let mut bytes = Vec::new();
/// device.trace().ok_or("no trace was asked for")?.write(&mut bytes)?;
/// let told = Explanation::of(|| Log::new(Cursor::new(bytes.clone()), "trace"), None)?;
/// assert!(told.to_string().contains("\"wanted\""), "{told}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Where the trace comes from.
    pub origin: Origin,
    /// Events in the whole trace.
    pub events: u64,
    /// The event after which this is how things are.
    pub number: u64,
    /// When that was.
    pub at: Duration,
    /// The request that was refused there, if one was.
    pub refused: Option<Refused>,
    /// The most that could be taken; none if nothing bounds it.
    pub limit: Option<u64>,
    /// Held.
    pub live: u64,
    /// What that takes, rounding included.
    pub taken: u64,
    /// Dropped, and still used by queued work.
    pub retiring: u64,
    /// Free in pools.
    pub free: u64,
    /// Of that, whole pages, which can be had again anywhere.
    pub idle: u64,
    /// Taken from the driver.
    pub reserved: u64,
    /// Memory of others, such as mapped files; nobody took it from the driver.
    pub outside: u64,
    /// Live bytes by tag, the most first.
    pub by_tag: Vec<(Tag, u64)>,
    /// Who holds the most, the most first; at most ten.
    pub holders: Vec<Holder>,
    /// Bytes of holders that are not in the list.
    pub other_holders: u64,
    /// What queues still use.
    pub queues: Vec<QueueShare>,
    /// The largest free piece.
    pub hole: Option<Hole>,
    /// What to do, the most helpful first.
    pub advice: Vec<String>,
}

/// Holders in the list.
const SHOWN: usize = 10;

impl Explanation {
    /// Explains the last request that was refused; if none was, the moment when most was live. `at` is the number of
    /// another event to explain. `open` opens the trace, which is read twice.
    ///
    /// # Errors
    /// What opening or reading the trace fails with.
    pub fn of(open: impl Fn() -> Result<Log>, at: Option<u64>) -> Result<Self> {
        let (mut fullest, mut refusal, mut last, mut count) = ((0, 0), None, 0, 0);
        let mut ledger = Ledger::default();
        let log = open()?;
        let origin = log.origin().clone();
        for entry in log {
            let entry = entry?;
            ledger.apply(&entry);
            last = entry.number;
            count += 1;
            let live = ledger.live_bytes();
            if live > fullest.0 {
                fullest = (live, entry.number);
            }
            if matches!(entry.event, Event::OutOfMemory { .. }) {
                refusal = Some(entry.number);
            }
        }
        let moment = at.or(refusal).unwrap_or(fullest.1).min(last);
        let mut ledger = Ledger::default();
        let (mut when, mut refused, mut refusals) = (Duration::ZERO, None, 0);
        for entry in open()? {
            let entry = entry?;
            if entry.number > moment {
                break;
            }
            ledger.apply(&entry);
            when = entry.at;
            if let Event::OutOfMemory { pool, asked, limit, tag, label, why } = entry.event {
                refusals += 1;
                if entry.number == moment {
                    refused = Some((Refused { asked, tag, label, why, pool, count: refusals }, limit));
                }
            }
        }
        Ok(Self::at_moment(origin, count, moment, when, refused, &ledger))
    }

    fn at_moment(
        origin: Origin,
        events: u64,
        number: u64,
        at: Duration,
        refused: Option<(Refused, u64)>,
        ledger: &Ledger,
    ) -> Self {
        let bound = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
        let limit = match &refused {
            Some((_, limit)) => bound(*limit).or(origin.limit),
            None => origin.limit.or(ledger.pools().filter_map(|(_, pool)| bound(pool.limit)).min()),
        };
        let memory = origin.memory.filter(|memory| *memory > 0);
        let limit = limit.or(memory);
        let page = origin.page;
        let refused = refused.map(|(refused, _)| refused);
        let (holders, other_holders) = holders(ledger);
        let places = Places::of(ledger, page);
        let taken = ledger.pools().fold(0, |sum, (_, pool)| sum + pool.taken);
        let (reserved, retiring) = (ledger.reserved(), ledger.retiring_bytes());
        let mut by_tag: Vec<_> =
            Tag::ALL.into_iter().zip(ledger.by_tag()).filter(|pair| pair.1 > 0).collect();
        by_tag.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let mut told = Self {
            origin,
            events,
            number,
            at,
            refused,
            limit,
            live: ledger.live_bytes(),
            taken,
            retiring,
            free: reserved.saturating_sub(taken).saturating_sub(retiring),
            idle: places.idle,
            reserved,
            outside: ledger.outside(),
            by_tag,
            holders,
            other_holders,
            queues: Vec::new(),
            hole: places.hole,
            advice: Vec::new(),
        };
        told.queues = told.queue_shares(ledger);
        told.advice = advice::of(&told);
        told
    }

    /// What could still be taken in one piece: the largest hole, or idle pages and what the limit leaves, mapped anew.
    pub fn room(&self) -> u64 {
        let hole = self.hole.as_ref().map_or(0, |hole| hole.bytes);
        let left = self.limit.map_or(0, |limit| limit.saturating_sub(self.reserved));
        if self.origin.page > 0 { hole.max(left + self.idle) } else { hole.max(left) }
    }

    fn queue_shares(&self, ledger: &Ledger) -> Vec<QueueShare> {
        let mut queues: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for (_, holding) in ledger.retiring() {
            if let Some(after) = holding.after {
                queues.entry(after.queue).or_default().push((after.tick, holding.taken));
            }
        }
        let asked = self.refused.as_ref().map(|refused| refused.asked);
        let shares = queues.into_iter().map(|(queue, mut returns)| {
            returns.sort_unstable();
            let mut room = self.room();
            let enough = asked.and_then(|asked| {
                let mut back = returns.iter();
                back.find(|(_, bytes)| {
                    room += bytes;
                    room >= asked
                })
            });
            QueueShare {
                queue,
                last: returns.last().map_or(0, |(tick, _)| *tick),
                bytes: returns.iter().map(|(_, bytes)| bytes).sum(),
                enough: enough.map(|(tick, _)| *tick),
            }
        });
        shares.collect()
    }
}

/// Digits that differ from buffer to buffer are no part of a name: `blk.3.k` and `blk.4.k` are one holder.
fn family(label: &str) -> String {
    let mut name = String::with_capacity(label.len());
    for letter in label.chars() {
        if !letter.is_ascii_digit() {
            name.push(letter);
        } else if !name.ends_with('#') {
            name.push('#');
        }
    }
    name
}

fn holder(holding: &Holding) -> Holder {
    Holder { label: holding.label.to_string(), tag: holding.tag, bytes: holding.bytes, count: 1 }
}

fn holders(ledger: &Ledger) -> (Vec<Holder>, u64) {
    let mut by_name: HashMap<(String, Tag), (u64, u64, String)> = HashMap::new();
    let own = ledger.live().filter(|(_, holding)| holding.spot.is_some() && holding.taken > 0);
    for (_, holding) in own {
        let label = holding.label.as_str();
        let sums = by_name.entry((family(label), holding.tag)).or_insert((0, 0, label.to_owned()));
        sums.0 += holding.bytes;
        sums.1 += 1;
    }
    let mut all: Vec<_> = by_name
        .into_iter()
        .map(|((name, tag), (bytes, count, only))| {
            let label = if count == 1 { only } else { name };
            Holder { label, tag, bytes, count }
        })
        .collect();
    all.sort_by(|a, b| (b.bytes, &a.label, a.tag as u8).cmp(&(a.bytes, &b.label, b.tag as u8)));
    let other = all.iter().skip(SHOWN).map(|holder| holder.bytes).sum();
    all.truncate(SHOWN);
    (all, other)
}

/// What is free where.
#[derive(Default)]
struct Places {
    hole: Option<Hole>,
    idle: u64,
}

impl Places {
    fn of(ledger: &Ledger, page: u64) -> Self {
        let mut by_region: HashMap<u32, Vec<(u64, u64, &Holding)>> = HashMap::new();
        for (_, holding) in ledger.live().chain(ledger.retiring()) {
            if let Some(spot) = holding.spot
                && holding.taken > 0
            {
                by_region.entry(spot.region).or_default().push((spot.offset, holding.taken, holding));
            }
        }
        let mut places = Self::default();
        for (number, region) in ledger.regions() {
            let mut taken = by_region.remove(&number).unwrap_or_default();
            taken.sort_unstable_by_key(|(offset, ..)| *offset);
            places.region(region, &taken, page);
        }
        places
    }

    fn region(&mut self, region: &RegionBook, taken: &[(u64, u64, &Holding)], page: u64) {
        let mut next = taken.iter().peekable();
        let mut below: Option<&Holding> = None;
        for (start, bytes) in region.mapped.iter() {
            let end = start + bytes;
            let mut at = start;
            let mut touches = None;
            while let Some(&&(offset, len, holding)) = next.peek() {
                if offset >= end {
                    break;
                }
                if offset > at {
                    self.hole(region.pool, at, offset, touches, Some(holding), page);
                }
                at = at.max(offset.saturating_add(len));
                (below, touches) = (Some(holding), Some(holding));
                next.next();
            }
            // Memory that starts in an earlier stretch may reach into this one.
            if at == start && below.is_some_and(|held| reaches(held) > start) {
                at = below.map_or(start, reaches);
            }
            if at < end {
                self.hole(region.pool, at, end, touches, None, page);
            }
        }
    }

    fn hole(
        &mut self,
        pool: u32,
        start: u64,
        end: u64,
        below: Option<&Holding>,
        above: Option<&Holding>,
        page: u64,
    ) {
        if page > 0 {
            let (low, high) = (start.next_multiple_of(page), end / page * page);
            self.idle += high.saturating_sub(low);
        }
        if self.hole.as_ref().is_none_or(|hole| hole.bytes < end - start) {
            let beside = [below.map(holder), above.map(holder)];
            self.hole = Some(Hole { bytes: end - start, pool, beside });
        }
    }
}

fn reaches(holding: &Holding) -> u64 {
    holding.spot.map_or(0, |spot| spot.offset.saturating_add(holding.taken))
}

#[cfg(test)]
mod tests;
