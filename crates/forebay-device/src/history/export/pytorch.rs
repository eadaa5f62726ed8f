//! A snapshot as PyTorch pickles it: what happened, and the segments with their blocks at the end.
//!
//! All pools are streams of one device. A label is the name in a stack of one frame, a tag its file.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::{Writer, address, held_at, is_own};
use crate::{
    history::{
        ledger::{Holding, Ledger, RegionBook},
        pickle::PickleWriter,
    },
    memory::{
        stats::Tag,
        trace::event::{Entry, Event},
    },
};

#[derive(Default)]
pub(super) struct Snapshot {
    pickle: PickleWriter,
}

/// What all events of a trace have.
struct What<'a> {
    action: &'a str,
    address: u64,
    bytes: u64,
    pool: u32,
}

impl Writer for Snapshot {
    fn start(&mut self, _: &mut dyn Write) -> io::Result<()> {
        self.pickle = PickleWriter::start();
        // The dictionary, its first key, and the list of one device, whose events follow.
        self.pickle.bytes.extend(b"}(");
        self.pickle.text("device_traces");
        self.pickle.bytes.extend(b"](](");
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, before: &Ledger, _: &mut dyn Write) -> io::Result<()> {
        let start_of = |region: u32| before.region(region).map_or(0, |book| book.address);
        match &entry.event {
            &Event::Allocated { pool, lease, bytes, tag, ref label, spot: Some(spot), served, .. }
                if is_own(served) =>
            {
                if let Some((address, bytes)) = retiring_at(before, (pool, lease)) {
                    self.event(entry, What { action: "free_completed", address, bytes, pool }, None);
                }
                let address = address(before, spot);
                let named = Some((label.as_str(), tag));
                self.event(entry, What { action: "alloc", address, bytes, pool }, named);
            }
            &Event::FreeRequested { pool, lease, after, .. } => {
                if let Some((address, bytes)) = held_at(before, (pool, lease)) {
                    self.event(entry, What { action: "free_requested", address, bytes, pool }, None);
                    if after.is_none() {
                        self.event(entry, What { action: "free_completed", address, bytes, pool }, None);
                    }
                }
            }
            &Event::FreeCompleted { pool, lease, .. } => {
                if let Some((address, bytes)) = retiring_at(before, (pool, lease)) {
                    self.event(entry, What { action: "free_completed", address, bytes, pool }, None);
                }
            }
            &Event::RegionReserved { pool, bytes, address, mapped: true, .. } => {
                self.event(entry, What { action: "segment_alloc", address, bytes, pool }, None);
            }
            &Event::RegionMapped { pool, region, offset, bytes } => {
                let address = start_of(region) + offset;
                self.event(entry, What { action: "segment_map", address, bytes, pool }, None);
            }
            &Event::RegionUnmapped { pool, region, offset, bytes } => {
                let address = start_of(region) + offset;
                self.event(entry, What { action: "segment_unmap", address, bytes, pool }, None);
            }
            &Event::RegionReleased { pool, region, bytes } => {
                let address = start_of(region);
                self.event(entry, What { action: "segment_free", address, bytes, pool }, None);
            }
            Event::OutOfMemory { pool, asked, limit, tag, label, .. } => {
                let common = What { action: "oom", address: 0, bytes: *asked, pool: *pool };
                let free = limit.saturating_sub(before.reserved()).min(1 << 48);
                self.refusal(entry, common, free, (label.as_str(), *tag));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, end: &Ledger, to: &mut dyn Write) -> io::Result<()> {
        let mut pickle = std::mem::take(&mut self.pickle);
        // The end of the events, and of the list of devices.
        pickle.bytes.extend(b"ee");
        pickle.text("segments");
        pickle.list(|pickle| segments(pickle, end));
        pickle.text("allocator_settings");
        pickle.dict(|pickle| {
            pickle.text("PYTORCH_CUDA_ALLOC_CONF");
            pickle.text("");
        });
        pickle.bytes.push(b'u');
        to.write_all(&pickle.finish())
    }
}

impl Snapshot {
    fn event(&mut self, entry: &Entry, common: What<'_>, named: Option<(&str, Tag)>) {
        self.pickle.dict(|pickle| common.write(pickle, entry, named));
    }

    fn refusal(&mut self, entry: &Entry, common: What<'_>, free: u64, named: (&str, Tag)) {
        self.pickle.dict(|pickle| {
            common.write(pickle, entry, Some(named));
            pickle.text("device_free");
            pickle.int(free);
        });
    }
}

impl What<'_> {
    fn write(&self, pickle: &mut PickleWriter, entry: &Entry, named: Option<(&str, Tag)>) {
        pickle.text("action");
        pickle.text(self.action);
        let micros = entry.at.as_micros() as u64;
        let numbers = [("addr", self.address), ("size", self.bytes), ("stream", u64::from(self.pool))];
        for (key, number) in numbers.into_iter().chain([("time_us", micros), ("device", 0)]) {
            pickle.text(key);
            pickle.int(number);
        }
        frames(pickle, named);
    }
}

fn frames(pickle: &mut PickleWriter, named: Option<(&str, Tag)>) {
    pickle.text("frames");
    pickle.list(|pickle| {
        let Some((label, tag)) = named else { return };
        pickle.dict(|pickle| {
            pickle.text("name");
            pickle.text(if label.is_empty() { "(no label)" } else { label });
            pickle.text("filename");
            pickle.text(tag.name());
            pickle.text("line");
            pickle.int(0);
        });
    });
}

fn retiring_at(ledger: &Ledger, key: (u32, u32)) -> Option<(u64, u64)> {
    let holding = ledger.retiring_holding(key)?;
    Some((address(ledger, holding.spot?), holding.bytes))
}

/// A block: where it starts in its region, what it takes, and who has it.
type Block<'a> = (u64, u64, Option<(&'a Holding, bool)>);

fn segments(pickle: &mut PickleWriter, end: &Ledger) {
    let mut by_region: HashMap<u32, Vec<Block<'_>>> = HashMap::new();
    let live = end.live().map(|(_, holding)| (holding, true));
    for (holding, live) in live.chain(end.retiring().map(|(_, holding)| (holding, false))) {
        if let Some(spot) = holding.spot
            && is_own(holding.served)
        {
            let block = (spot.offset, holding.taken, Some((holding, live)));
            by_region.entry(spot.region).or_default().push(block);
        }
    }
    for (number, region) in end.regions() {
        let mut taken = by_region.remove(&number).unwrap_or_default();
        taken.sort_unstable_by_key(|block| block.0);
        for (start, bytes) in region.mapped.iter() {
            segment(pickle, region, start, bytes, &taken);
        }
    }
}

fn segment(pickle: &mut PickleWriter, region: &RegionBook, start: u64, bytes: u64, taken: &[Block<'_>]) {
    let end = start + bytes;
    let first = taken.partition_point(|block| block.0 < start);
    let (mut blocks, mut at): (Vec<Block<'_>>, u64) = (Vec::new(), start);
    for &(offset, len, holder) in &taken[first..] {
        // What reaches past the end of a segment is no block of it, and PyTorch's sums have to come out.
        if offset < at || offset >= end || len > end - offset {
            continue;
        }
        if offset > at {
            blocks.push((at, offset - at, None));
        }
        blocks.push((offset, len, holder));
        at = offset + len;
    }
    if at < end {
        blocks.push((at, end - at, None));
    }
    let asked = |live: bool| {
        let held = blocks.iter().filter_map(|block| block.2.filter(|held| held.1 || !live));
        held.map(|(holding, _)| holding.bytes).sum::<u64>()
    };
    let sizes = |live: bool| {
        let held = blocks.iter().filter(|block| block.2.is_some_and(|held| held.1 || !live));
        held.map(|block| block.1).sum::<u64>()
    };
    pickle.dict(|pickle| {
        let numbers = [
            ("device", 0),
            ("address", region.address + start),
            ("total_size", bytes),
            ("stream", u64::from(region.pool)),
            ("allocated_size", sizes(true)),
            ("active_size", sizes(false)),
            ("requested_size", asked(true)),
        ];
        for (key, number) in numbers {
            pickle.text(key);
            pickle.int(number);
        }
        pickle.text("segment_type");
        pickle.text("large");
        pickle.text("segment_pool_id");
        pickle.tuple(|pickle| {
            pickle.int(0);
            pickle.int(0);
        });
        pickle.text("is_expandable");
        pickle.bool(true);
        frames(pickle, None);
        pickle.text("blocks");
        pickle.list(|pickle| blocks.iter().for_each(|block| self::block(pickle, region, block)));
    });
}

fn block(pickle: &mut PickleWriter, region: &RegionBook, &(offset, bytes, holder): &Block<'_>) {
    let (state, asked, named) = match holder {
        Some((holding, live)) => {
            let state = if live { "active_allocated" } else { "active_awaiting_free" };
            (state, holding.bytes, Some((holding.label.as_str(), holding.tag)))
        }
        None => ("inactive", 0, None),
    };
    pickle.dict(|pickle| {
        for (key, number) in
            [("address", region.address + offset), ("size", bytes), ("requested_size", asked)]
        {
            pickle.text(key);
            pickle.int(number);
        }
        pickle.text("state");
        pickle.text(state);
        frames(pickle, named);
    });
}
