//! How an event lies in 32 bytes.
//!
//! The table is in `trace`'s header. Numbers that do not fit are stored as the largest that does: 48 bits for sizes and
//! ticks. `decode` accepts nothing that `encode` would not have written, so unused bits are zero.

use super::event::{Event, Moment, Served, Shortage, Spot};
use crate::{caps::GRANULE, label::Label, memory::stats::Tag};

/// Bytes of a record.
pub(super) const BYTES: usize = 32;
/// The label of work and memory whose label the trace has no room for.
pub(super) const LABEL_UNKNOWN: u32 = (1 << 24) - 1;
/// A region whose number does not fit.
const REGION_UNKNOWN: u64 = (1 << 24) - 1;
/// The largest number of 48 bits.
pub(super) const MOST: u64 = (1 << 48) - 1;

/// A record: the number in the low 48 bits of the first word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record(pub(super) [u64; 4]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Clock = 1,
    PoolOpened,
    PoolClosed,
    Level,
    Allocated,
    Dedicated,
    Outside,
    Nothing,
    Carved,
    FreeRequested,
    FreeCompleted,
    RegionReserved,
    RegionMapped,
    RegionUnmapped,
    RegionReleased,
    DriverRefused,
    Trimmed,
    OutOfMemory,
    ArenaEpoch,
    ArenaReset,
    Submitted,
    Waits,
    SubmissionRefused,
    Completed,
    ResidencyTold,
}

const KINDS: [Kind; 25] = [
    Kind::Clock,
    Kind::PoolOpened,
    Kind::PoolClosed,
    Kind::Level,
    Kind::Allocated,
    Kind::Dedicated,
    Kind::Outside,
    Kind::Nothing,
    Kind::Carved,
    Kind::FreeRequested,
    Kind::FreeCompleted,
    Kind::RegionReserved,
    Kind::RegionMapped,
    Kind::RegionUnmapped,
    Kind::RegionReleased,
    Kind::DriverRefused,
    Kind::Trimmed,
    Kind::OutOfMemory,
    Kind::ArenaEpoch,
    Kind::ArenaReset,
    Kind::Submitted,
    Kind::Waits,
    Kind::SubmissionRefused,
    Kind::Completed,
    Kind::ResidencyTold,
];

/// Flags of an allocation, above its tag.
const MISS: u8 = 1 << 4;
const EARLY: u8 = 1 << 5;
const SPLIT: u8 = 1 << 6;
/// Flag of a free that waits for queued work.
const PENDING: u8 = 1 << 4;

impl Record {
    fn new(kind: Kind, small: u8, words: [u64; 3]) -> Self {
        let [a, b, c] = words;
        Self([(kind as u64) << 48 | u64::from(small) << 56, a, b, c])
    }

    pub(super) fn numbered(mut self, number: u64) -> Self {
        self.0[0] |= number & MOST;
        self
    }

    pub(super) fn number(&self) -> u64 {
        self.0[0] & MOST
    }

    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let mut record = Self::default();
        for (to, word) in record.0.iter_mut().zip(words) {
            *to = u64::from_le_bytes(*word);
        }
        record
    }
}

/// A size or tick with 16 more bits above it.
#[inline]
fn pair(low: u64, high: u32) -> u64 {
    low.min(MOST) | u64::from(high & 0xFFFF) << 48
}

fn at(moment: Moment) -> u64 {
    pair(moment.tick, moment.queue)
}

#[inline]
fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// The time, in nanoseconds since the device was opened.
#[inline]
pub(super) fn clock(nanoseconds: u64) -> Record {
    Record::new(Kind::Clock, 0, [nanoseconds, 0, 0])
}

/// An allocation, apart from its contents the most frequent record.
#[derive(Clone, Copy)]
pub(in crate::memory) struct Allocation {
    pub(in crate::memory) pool: u32,
    pub(in crate::memory) lease: u32,
    pub(in crate::memory) bytes: u64,
    pub(in crate::memory) taken: u64,
    pub(in crate::memory) tag: Tag,
    pub(in crate::memory) label: u32,
    pub(in crate::memory) spot: Option<Spot>,
    pub(in crate::memory) served: Served,
    pub(in crate::memory) early: bool,
    pub(in crate::memory) split: bool,
}

#[inline]
pub(super) fn allocated(what: &Allocation) -> Record {
    let kind = match what.served {
        Served::Hit | Served::Miss => Kind::Allocated,
        Served::Dedicated => Kind::Dedicated,
        Served::Outside => Kind::Outside,
        Served::Nothing => Kind::Nothing,
        Served::Carved => Kind::Carved,
    };
    let miss = what.served == Served::Miss;
    let small = what.tag as u8 | flag(miss, MISS) | flag(what.early, EARLY) | flag(what.split, SPLIT);
    let (region, offset) = match what.spot {
        Some(spot) => (u64::from(spot.region).min(REGION_UNKNOWN), spot.offset / GRANULE),
        None => (REGION_UNKNOWN, 0),
    };
    let waste = (what.taken / GRANULE).saturating_sub(what.bytes.div_ceil(GRANULE)).min(0xFFFF);
    let place = offset.min(u64::from(u32::MAX)) | u64::from(what.lease) << 32;
    let names = u64::from(what.label.min(LABEL_UNKNOWN)) | region << 24 | waste << 48;
    Record::new(kind, small, [pair(what.bytes, what.pool), place, names])
}

#[inline]
pub(super) fn free_requested(pool: u32, lease: u32, bytes: u64, tag: Tag, after: Option<Moment>) -> Record {
    let small = tag as u8 | flag(after.is_some(), PENDING);
    Record::new(Kind::FreeRequested, small, [pair(bytes, pool), u64::from(lease), after.map_or(0, at)])
}

#[inline]
pub(super) fn free_completed(pool: u32, lease: u32, bytes: u64, tag: Tag) -> Record {
    Record::new(Kind::FreeCompleted, tag as u8, [pair(bytes, pool), u64::from(lease), 0])
}

/// The time in nanoseconds goes into submissions and completions, for others it is not used.
pub(super) fn encode(event: &Event, label: u32, nanoseconds: u64) -> Record {
    let label = u64::from(label.min(LABEL_UNKNOWN));
    match *event {
        Event::Clock => clock(nanoseconds),
        Event::PoolOpened { pool, limit } => Record::new(Kind::PoolOpened, 0, [pair(0, pool), limit, 0]),
        Event::PoolClosed { pool, reserved } => {
            Record::new(Kind::PoolClosed, 0, [pair(reserved, pool), 0, 0])
        }
        Event::Level { pool, live, reserved, in_use } => {
            Record::new(Kind::Level, 0, [pair(live, pool), reserved, in_use])
        }
        Event::Allocated { pool, lease, bytes, taken, tag, spot, served, early, split, .. } => {
            let label = label as u32;
            allocated(&Allocation { pool, lease, bytes, taken, tag, label, spot, served, early, split })
        }
        Event::FreeRequested { pool, lease, bytes, tag, after } => {
            free_requested(pool, lease, bytes, tag, after)
        }
        Event::FreeCompleted { pool, lease, bytes, tag } => free_completed(pool, lease, bytes, tag),
        Event::RegionReserved { pool, region, bytes, address, mapped } => Record::new(
            Kind::RegionReserved,
            mapped.into(),
            [bytes, address, u64::from(region) | u64::from(pool & 0xFFFF) << 32],
        ),
        Event::RegionMapped { pool, region, offset, bytes } => {
            Record::new(Kind::RegionMapped, 0, [pair(bytes, pool), offset, u64::from(region)])
        }
        Event::RegionUnmapped { pool, region, offset, bytes } => {
            Record::new(Kind::RegionUnmapped, 0, [pair(bytes, pool), offset, u64::from(region)])
        }
        Event::RegionReleased { pool, region, bytes } => {
            Record::new(Kind::RegionReleased, 0, [pair(bytes, pool), 0, u64::from(region)])
        }
        Event::DriverRefused { pool, bytes } => {
            Record::new(Kind::DriverRefused, 0, [pair(bytes, pool), 0, 0])
        }
        Event::Trimmed { pool, gone, keep } => Record::new(Kind::Trimmed, 0, [pair(gone, pool), keep, 0]),
        Event::OutOfMemory { pool, asked, limit, tag, why, .. } => {
            let names = label | u64::from(pool & 0xFFFF) << 24 | (why as u64) << 40;
            Record::new(Kind::OutOfMemory, tag as u8, [asked, limit, names])
        }
        Event::ArenaEpoch { pool, arena, epoch, capacity } => {
            Record::new(Kind::ArenaEpoch, 0, [pair(epoch, pool), capacity, u64::from(arena)])
        }
        Event::ArenaReset { pool, arena, recycled, held, held_bytes } => Record::new(
            Kind::ArenaReset,
            0,
            [pair(recycled, pool), held_bytes, u64::from(arena) | u64::from(held) << 32],
        ),
        Event::Submitted { at: moment, waits, bound, fenced, replayed, .. } => {
            let counts = u64::from(waits.min(0xFF)) << 24 | u64::from(bound) << 32;
            Record::new(
                Kind::Submitted,
                u8::from(fenced) | u8::from(replayed) << 1,
                [at(moment), nanoseconds, label | counts],
            )
        }
        Event::Waits { of, on, cascade } => Record::new(Kind::Waits, cascade.into(), [at(of), at(on), 0]),
        Event::SubmissionRefused { at: moment } => {
            Record::new(Kind::SubmissionRefused, 0, [at(moment), 0, 0])
        }
        Event::Completed { at: moment, failed } => {
            Record::new(Kind::Completed, failed.into(), [at(moment), nanoseconds, 0])
        }
        Event::ResidencyTold { changes } => Record::new(Kind::ResidencyTold, 0, [changes, 0, 0]),
    }
}

/// The event, and the time if the record has one. `label` knows the labels.
pub(super) fn decode(
    record: &Record,
    label: impl Fn(u32) -> Option<Label>,
) -> Result<(Event, Option<u64>), &'static str> {
    let [first, a, b, c] = record.0;
    let (kind, small) = ((first >> 48) as u8, (first >> 56) as u8);
    let kind = KINDS.get(usize::from(kind).wrapping_sub(1)).ok_or("no event has this number")?;
    let tag = |small: u8| Tag::ALL.get(usize::from(small & 15)).copied().ok_or("no tag has this number");
    let named = |id: u64| label(id as u32 & LABEL_UNKNOWN).ok_or("the label was never given");
    let (size, pool) = (a & MOST, (a >> 48) as u32);
    let at = moment(a);
    let mut id = 0;
    let mut time = None;
    let event = match kind {
        Kind::Clock => {
            time = Some(a);
            Event::Clock
        }
        Kind::PoolOpened => Event::PoolOpened { pool, limit: b },
        Kind::PoolClosed => Event::PoolClosed { pool, reserved: size },
        Kind::Level => Event::Level { pool, live: size, reserved: b, in_use: c },
        Kind::Allocated | Kind::Dedicated | Kind::Outside | Kind::Nothing | Kind::Carved => {
            id = c as u32 & LABEL_UNKNOWN;
            allocation(*kind, record, tag(small)?, named(c)?)
        }
        Kind::FreeRequested => {
            let after = (small & PENDING != 0).then(|| moment(c));
            Event::FreeRequested { pool, lease: b as u32, bytes: size, tag: tag(small)?, after }
        }
        Kind::FreeCompleted => Event::FreeCompleted { pool, lease: b as u32, bytes: size, tag: tag(small)? },
        Kind::RegionReserved => Event::RegionReserved {
            pool: (c >> 32) as u32,
            region: c as u32,
            bytes: a,
            address: b,
            mapped: small == 1,
        },
        Kind::RegionMapped => Event::RegionMapped { pool, region: c as u32, offset: b, bytes: size },
        Kind::RegionUnmapped => Event::RegionUnmapped { pool, region: c as u32, offset: b, bytes: size },
        Kind::RegionReleased => Event::RegionReleased { pool, region: c as u32, bytes: size },
        Kind::DriverRefused => Event::DriverRefused { pool, bytes: size },
        Kind::Trimmed => Event::Trimmed { pool, gone: size, keep: b },
        Kind::OutOfMemory => {
            id = c as u32 & LABEL_UNKNOWN;
            let why = match c >> 40 {
                0 => Shortage::Limit,
                1 => Shortage::Driver,
                2 => Shortage::Budget,
                _ => return Err("no shortage has this number"),
            };
            let pool = (c >> 24) as u32 & 0xFFFF;
            Event::OutOfMemory { pool, asked: a, limit: b, tag: tag(small)?, label: named(c)?, why }
        }
        Kind::ArenaEpoch => Event::ArenaEpoch { pool, arena: c as u32, epoch: size, capacity: b },
        Kind::ArenaReset => {
            Event::ArenaReset { pool, arena: c as u32, recycled: size, held: (c >> 32) as u32, held_bytes: b }
        }
        Kind::Submitted => {
            id = c as u32 & LABEL_UNKNOWN;
            time = Some(b);
            Event::Submitted {
                at,
                label: named(c)?,
                waits: (c >> 24) as u32 & 0xFF,
                bound: (c >> 32) as u32,
                fenced: small & 1 != 0,
                replayed: small & 2 != 0,
            }
        }
        Kind::Waits => Event::Waits { of: at, on: moment(b), cascade: small == 1 },
        Kind::SubmissionRefused => Event::SubmissionRefused { at },
        Kind::Completed => {
            time = Some(b);
            Event::Completed { at, failed: small == 1 }
        }
        Kind::ResidencyTold => Event::ResidencyTold { changes: a },
    };
    if encode(&event, id, time.unwrap_or(0)).numbered(record.number()) != *record {
        return Err("bits are set that mean nothing here");
    }
    Ok((event, time))
}

fn moment(word: u64) -> Moment {
    Moment { queue: (word >> 48) as u32, tick: word & MOST }
}

fn allocation(kind: Kind, record: &Record, tag: Tag, label: Label) -> Event {
    let [first, a, b, c] = record.0;
    let small = (first >> 56) as u8;
    let served = match kind {
        Kind::Dedicated => Served::Dedicated,
        Kind::Outside => Served::Outside,
        Kind::Nothing => Served::Nothing,
        Kind::Carved => Served::Carved,
        _ if small & MISS != 0 => Served::Miss,
        _ => Served::Hit,
    };
    let bytes = a & MOST;
    let region = (c >> 24) & REGION_UNKNOWN;
    let spot = (region != REGION_UNKNOWN)
        .then(|| Spot { region: region as u32, offset: u64::from(b as u32) * GRANULE });
    // What is somebody else's, or nothing, takes nothing.
    let taken = match served {
        Served::Outside | Served::Nothing => 0,
        _ => (bytes.div_ceil(GRANULE) + (c >> 48)) * GRANULE,
    };
    Event::Allocated {
        pool: (a >> 48) as u32,
        lease: (b >> 32) as u32,
        bytes,
        taken,
        tag,
        label,
        spot,
        served,
        early: small & EARLY != 0,
        split: small & SPLIT != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_event() -> Vec<Event> {
        let (pool, lease, bytes, tag) = (65_535, u32::MAX, MOST, Tag::Kv);
        let (one, two) = (Moment { queue: 15, tick: MOST }, Moment { queue: 3, tick: 0 });
        let label = Label::from("weights of layer 3");
        let spot = Some(Spot { region: 7, offset: u64::from(u32::MAX) * GRANULE });
        let allocated = |bytes: u64, taken, spot, served, early, split| Event::Allocated {
            pool,
            lease,
            bytes,
            taken,
            tag,
            label: label.clone(),
            spot,
            served,
            early,
            split,
        };
        vec![
            Event::Clock,
            Event::PoolOpened { pool, limit: u64::MAX },
            Event::PoolClosed { pool, reserved: bytes },
            Event::Level { pool, live: bytes, reserved: 3, in_use: u64::MAX },
            allocated(1, 256, spot, Served::Hit, true, false),
            allocated(1 << 20, (1 << 20) + 65_535 * GRANULE, spot, Served::Miss, false, true),
            allocated(257, 512, spot, Served::Dedicated, true, true),
            allocated(MOST, 0, Some(Spot { region: 0, offset: 0 }), Served::Outside, false, false),
            allocated(0, 0, None, Served::Nothing, false, false),
            allocated(300, 512, spot, Served::Carved, false, false),
            Event::FreeRequested { pool, lease, bytes, tag, after: Some(two) },
            Event::FreeRequested { pool, lease: 0, bytes, tag: Tag::Weights, after: None },
            Event::FreeCompleted { pool, lease, bytes, tag: Tag::Other },
            Event::RegionReserved { pool, region: 9, bytes: u64::MAX, address: 1 << 40, mapped: true },
            Event::RegionMapped { pool, region: 9, offset: u64::MAX, bytes },
            Event::RegionUnmapped { pool, region: u32::MAX, offset: 1, bytes },
            Event::RegionReleased { pool, region: 9, bytes },
            Event::DriverRefused { pool, bytes },
            Event::Trimmed { pool, gone: bytes, keep: u64::MAX },
            Event::OutOfMemory {
                pool,
                asked: u64::MAX,
                limit: 5,
                tag,
                label: label.clone(),
                why: Shortage::Budget,
            },
            Event::ArenaEpoch { pool, arena: 2, epoch: MOST, capacity: u64::MAX },
            Event::ArenaReset { pool, arena: 2, recycled: 9, held: u32::MAX, held_bytes: u64::MAX },
            Event::Submitted { at: one, label, waits: 255, bound: u32::MAX, fenced: true, replayed: false },
            Event::Waits { of: one, on: two, cascade: true },
            Event::SubmissionRefused { at: two },
            Event::Completed { at: one, failed: true },
            Event::ResidencyTold { changes: u64::MAX },
        ]
    }

    fn labels(id: u32) -> Option<Label> {
        (id == 77).then(|| "weights of layer 3".into())
    }

    #[test]
    fn every_event_comes_back_from_its_record() {
        let mut kinds = std::collections::BTreeSet::new();
        for (number, event) in every_event().into_iter().enumerate() {
            let number = MOST - number as u64;
            let record = encode(&event, 77, 12_345).numbered(number);
            kinds.insert((record.0[0] >> 48) as u8);
            let back = Record::from_bytes(record.to_bytes());
            assert_eq!((back, back.number()), (record, number));
            let (decoded, time) = decode(&back, labels).unwrap_or_else(|why| panic!("{event:?}: {why}"));
            assert_eq!(decoded, event);
            assert!(time.is_none_or(|time| time == 12_345));
        }
        assert!(kinds.into_iter().eq(1..=KINDS.len() as u8), "every kind was tried");
        assert!(KINDS.iter().enumerate().all(|(i, kind)| *kind as usize == i + 1));
    }

    #[test]
    fn every_flipped_bit_is_another_event_or_refused() {
        for event in every_event() {
            let record = encode(&event, 77, 12_345).numbered(1);
            for bit in 48..256 {
                let mut flipped = record;
                flipped.0[bit / 64] ^= 1 << (bit % 64);
                if let Ok((decoded, time)) = decode(&flipped, labels) {
                    let same = (decoded == event, time.is_none_or(|time| time == 12_345));
                    assert_ne!(same, (true, true), "bit {bit} of {event:?} means nothing");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_the_largest_that_does() {
        let event = Event::FreeCompleted { pool: 1, lease: 2, bytes: u64::MAX, tag: Tag::Other };
        let (back, _) = decode(&encode(&event, 0, 0), labels).unwrap();
        assert_eq!(back, Event::FreeCompleted { pool: 1, lease: 2, bytes: MOST, tag: Tag::Other });
    }
}
