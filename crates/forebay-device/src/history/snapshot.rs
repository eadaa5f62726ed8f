//! A snapshot of PyTorch's allocator as events: `torch.cuda.memory._snapshot()`, pickled.
//!
//! A snapshot has the last so many events and what there is at the end. What there was before the first event follows
//! by going back from the end; it comes out as if it had been handed out first. Each device is a pool, with one region
//! that is the whole of its addresses. Next rooms: `pickle`, which reads it; `export`, which writes one.

use std::{collections::HashMap, time::Duration};

use super::{
    holes::Extents,
    log::{LogKind, Origin},
    pickle::{Pickle, Value, Wrong},
};
use crate::{
    Label,
    memory::{
        stats::Tag,
        trace::event::{Entry, Event, Moment, Served, Shortage, Spot},
    },
};

/// No device has more.
const MOST: u64 = 1 << 48;
/// Characters of a label.
const LONGEST: usize = 200;
/// More than any machine has.
const DEVICES: usize = 1 << 12;

/// What a snapshot says.
pub(super) fn read(bytes: &[u8]) -> Result<(Origin, Vec<Entry>), Wrong> {
    let pickle = Pickle::read(bytes)?;
    // Where in the file a value lies is not known any more when it turns out to be wrong.
    let entries = Reading { pickle: &pickle, labels: HashMap::new() }.entries().map_err(|what| (0, what))?;
    let whole = Origin::foreign(LogKind::PyTorch, "PyTorch");
    Ok((whole, entries))
}

struct Reading<'p, 'b> {
    pickle: &'p Pickle<'b>,
    /// Labels by the stack that they were taken from.
    labels: HashMap<u32, Label>,
}

#[derive(Clone, Copy)]
enum Action {
    Alloc,
    FreeRequested,
    FreeCompleted,
    Map,
    Unmap,
    Oom,
}

#[derive(Clone)]
struct Step {
    action: Action,
    address: u64,
    bytes: u64,
    stream: u64,
    micros: u64,
    label: Label,
}

/// What there is, by address.
#[derive(Default)]
struct Standing {
    mapped: Extents,
    blocks: HashMap<u64, (u64, Label)>,
}

impl Reading<'_, '_> {
    fn entries(&mut self) -> Result<Vec<Entry>, &'static str> {
        let root = self.pickle.root;
        let pickle = self.pickle;
        if !pickle.is_dict(root) {
            return Err("a snapshot is a dictionary");
        }
        let segments = pickle.get(root, "segments").and_then(|list| pickle.list(list));
        let segments = segments.ok_or("a snapshot has a list of segments")?;
        let traces = match pickle.get(root, "device_traces") {
            None | Some(Value::None) => &[],
            Some(list) => pickle.list(list).ok_or("device_traces is no list")?,
        };
        if traces.len() > DEVICES {
            return Err("there are more devices than any machine has");
        }
        let mut ends: Vec<Standing> = Vec::new();
        for segment in segments {
            self.segment(*segment, &mut ends)?;
        }
        let mut steps = Vec::new();
        for (device, trace) in traces.iter().enumerate() {
            for entry in pickle.list(*trace).ok_or("the trace of a device is no list")? {
                steps.extend(self.step(*entry)?.map(|step| (device, step)));
            }
        }
        // Within a device they are in order already, and those without a time all have the same.
        steps.sort_by_key(|(_, step)| step.micros);
        Ok(Telling::default().tell(ends, &steps))
    }

    fn number(&self, dict: Value, key: &str, what: &'static str) -> Result<u64, &'static str> {
        let number = self.pickle.get(dict, key).and_then(|value| self.pickle.number(value));
        number.ok_or(what)
    }

    fn size(&self, dict: Value, key: &str) -> Result<u64, &'static str> {
        let bytes = self.number(dict, key, "a size is missing or no number")?;
        if bytes > MOST { Err("a size is more than any device has") } else { Ok(bytes) }
    }

    fn segment(&mut self, segment: Value, ends: &mut Vec<Standing>) -> Result<(), &'static str> {
        let pickle = self.pickle;
        let device = self.number(segment, "device", "a segment says no device")? as usize;
        if device >= DEVICES {
            return Err("there are more devices than any machine has");
        }
        if ends.len() <= device {
            ends.resize_with(device + 1, Standing::default);
        }
        let mut address = self.number(segment, "address", "a segment has no address")?;
        ends[device].mapped.add(address, self.size(segment, "total_size")?);
        let blocks = pickle.get(segment, "blocks").and_then(|list| pickle.list(list));
        for block in blocks.ok_or("a segment has no list of blocks")? {
            let bytes = self.size(*block, "size")?;
            let state = pickle.get(*block, "state").and_then(|state| pickle.text(state));
            // Old snapshots name no address: their blocks lie one behind the other.
            let at = self.number(*block, "address", "").unwrap_or(address);
            if state.is_some_and(|state| state.starts_with("active")) {
                let asked = self.size(*block, "requested_size").unwrap_or(bytes);
                let label = self.label(*block);
                ends[device].blocks.insert(at, (asked, label));
            }
            address = at.saturating_add(bytes);
        }
        Ok(())
    }

    fn step(&mut self, entry: Value) -> Result<Option<Step>, &'static str> {
        let action = self.pickle.get(entry, "action").and_then(|action| self.pickle.text(action));
        let action = match action.ok_or("an event has no action")? {
            "alloc" => Action::Alloc,
            "free_requested" => Action::FreeRequested,
            "free_completed" => Action::FreeCompleted,
            "segment_alloc" | "segment_map" => Action::Map,
            "segment_free" | "segment_unmap" => Action::Unmap,
            "oom" => Action::Oom,
            _ => return Ok(None),
        };
        let address = match action {
            Action::Oom => 0,
            _ => self.number(entry, "addr", "an event has no address")?,
        };
        let number = |key| self.number(entry, key, "").unwrap_or(0);
        let (stream, micros) = (number("stream"), number("time_us"));
        let bytes = self.size(entry, "size")?;
        let label = match action {
            Action::Alloc | Action::Oom => self.label(entry),
            _ => Label::default(),
        };
        Ok(Some(Step { action, address, bytes, stream, micros, label }))
    }

    /// The innermost place of a stack that says something: in Python, else in a file, else anything with a name.
    fn label(&mut self, of: Value) -> Label {
        let Some(frames) = self.pickle.get(of, "frames") else { return Label::default() };
        let Value::Node(node) = frames else { return Label::default() };
        if let Some(label) = self.labels.get(&node) {
            return label.clone();
        }
        let pickle = self.pickle;
        let text =
            |frame, key| pickle.get(frame, key).and_then(|value| pickle.text(value)).unwrap_or_default();
        let known = |text: &str| !text.is_empty() && text != "??";
        let all = pickle.list(frames).unwrap_or(&[]).iter().filter(|frame| known(text(**frame, "name")));
        // Of the best, the first counts.
        let rank = |frame: &&Value| match text(**frame, "filename") {
            file if file.ends_with(".py") => 0,
            file if known(file) => 1,
            _ => 2,
        };
        let best = all.min_by_key(rank).map(|frame| {
            let (name, file) = (text(*frame, "name"), text(*frame, "filename"));
            let file = file.rsplit('/').next().unwrap_or_default();
            let line = pickle.get(*frame, "line").and_then(|line| pickle.number(line)).unwrap_or(0);
            if known(file) { format!("{name} ({file}:{line})") } else { name.to_owned() }
        });
        let label = Label::from(best.unwrap_or_default().chars().take(LONGEST).collect::<String>());
        self.labels.insert(node, label.clone());
        label
    }
}

/// Steps on their way to entries.
#[derive(Default)]
struct Telling {
    entries: Vec<Entry>,
    leases: HashMap<(usize, u64), (u32, u64, bool)>,
    next: u32,
    at: Duration,
}

impl Telling {
    fn tell(mut self, mut ends: Vec<Standing>, steps: &[(usize, Step)]) -> Vec<Entry> {
        let devices = steps.iter().map(|(device, _)| device + 1).max().unwrap_or(0).max(ends.len());
        ends.resize_with(devices, Standing::default);
        for (device, step) in steps.iter().rev() {
            ends[*device].undo(step);
        }
        for (device, start) in ends.iter().enumerate() {
            let pool = device as u32;
            self.say(Event::PoolOpened { pool, limit: u64::MAX });
            for (offset, bytes) in start.mapped.iter() {
                self.say(Event::RegionMapped { pool, region: pool, offset, bytes });
            }
            let mut blocks: Vec<_> = start.blocks.iter().collect();
            blocks.sort_by_key(|(address, _)| **address);
            for (address, (bytes, label)) in blocks {
                self.alloc(device, *address, *bytes, label);
            }
        }
        let begun = steps.first().map_or(0, |(_, step)| step.micros);
        for (i, (device, step)) in steps.iter().enumerate() {
            self.at = Duration::from_micros(step.micros.saturating_sub(begun));
            let at_once = steps.get(i + 1).is_some_and(|(other, next)| {
                (other, next.address) == (device, step.address)
                    && matches!(next.action, Action::FreeCompleted)
            });
            self.step(*device, step, at_once);
        }
        self.entries
    }

    fn say(&mut self, event: Event) {
        self.entries.push(Entry { number: self.entries.len() as u64, at: self.at, event });
    }

    fn alloc(&mut self, device: usize, address: u64, bytes: u64, label: &Label) {
        let (pool, lease, tag) = (device as u32, self.next, Tag::Other);
        self.next = self.next.wrapping_add(1);
        if let Some((lease, bytes, _)) = self.leases.insert((device, address), (lease, bytes, false)) {
            // The snapshot misses a return: two cannot hold one address.
            self.say(Event::FreeRequested { pool, lease, bytes, tag, after: None });
        }
        self.say(Event::Allocated {
            pool,
            lease,
            bytes,
            taken: bytes.next_multiple_of(512),
            tag,
            label: label.clone(),
            spot: Some(Spot { region: pool, offset: address }),
            served: if bytes == 0 { Served::Nothing } else { Served::Hit },
            early: false,
            split: false,
        });
    }

    fn step(&mut self, device: usize, step: &Step, at_once: bool) {
        let (pool, region, tag) = (device as u32, device as u32, Tag::Other);
        let (offset, bytes) = (step.address, step.bytes);
        match step.action {
            Action::Alloc => self.alloc(device, step.address, step.bytes, &step.label),
            Action::FreeRequested => {
                if let Some((lease, bytes, gone)) = self.leases.get_mut(&(device, step.address))
                    && !*gone
                {
                    *gone = true;
                    let (lease, bytes, tick) = (*lease, *bytes, self.entries.len() as u64);
                    let after = (!at_once).then_some(Moment { queue: step.stream as u32 & 0xFFFF, tick });
                    self.say(Event::FreeRequested { pool, lease, bytes, tag, after });
                    if at_once {
                        self.leases.remove(&(device, step.address));
                    }
                }
            }
            Action::FreeCompleted => {
                if let Some((lease, bytes, gone)) = self.leases.remove(&(device, step.address)) {
                    self.say(match gone {
                        true => Event::FreeCompleted { pool, lease, bytes, tag },
                        false => Event::FreeRequested { pool, lease, bytes, tag, after: None },
                    });
                }
            }
            Action::Map => self.say(Event::RegionMapped { pool, region, offset, bytes }),
            Action::Unmap => self.say(Event::RegionUnmapped { pool, region, offset, bytes }),
            Action::Oom => {
                let (asked, limit, label, why) = (bytes, u64::MAX, step.label.clone(), Shortage::Driver);
                self.say(Event::OutOfMemory { pool, asked, limit, tag, label, why });
            }
        }
    }
}

impl Standing {
    /// What there was before a step.
    fn undo(&mut self, step: &Step) {
        match step.action {
            Action::Alloc => _ = self.blocks.remove(&step.address),
            Action::FreeRequested | Action::FreeCompleted => {
                let before = (step.bytes, Label::from("(before the first event)"));
                self.blocks.entry(step.address).or_insert(before);
            }
            Action::Map => self.mapped.remove(step.address, step.bytes),
            Action::Unmap => _ = self.mapped.add(step.address, step.bytes),
            Action::Oom => {}
        }
    }
}
