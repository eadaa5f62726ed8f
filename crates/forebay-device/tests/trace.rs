//! A trace is complete: played into a model that knows nothing but events, it gives the counters of the pools and the
//! order of submissions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use forebay_device::{
    Arena, Buffer, Device, DeviceOptions, Entry, Error, Event, Moment, NullOptions, Pool, PoolOptions,
    PoolStats, Request, Served, Shortage, Tag, TraceOptions, TraceReader,
};

/// What a pool looks like to somebody who only reads events.
#[derive(Debug, Default)]
struct Model {
    stats: PoolStats,
    leases: HashMap<u32, Lease>,
    refusals: u64,
}

#[derive(Debug)]
struct Lease {
    bytes: u64,
    taken: u64,
    tag: Tag,
    waits: bool,
}

impl Model {
    fn play(&mut self, event: &Event) {
        let stats = &mut self.stats;
        match *event {
            Event::Allocated { lease, bytes, taken, tag, served, early, split, ref spot, .. } => {
                assert_eq!(spot.is_none(), served == Served::Nothing);
                let before = self.leases.insert(lease, Lease { bytes, taken, tag, waits: false });
                assert_eq!(before.is_some(), early, "lease {lease} has another owner");
                if let Some(before) = before {
                    assert!(before.waits);
                    stats.retiring -= before.taken;
                }
                stats.in_use += 1;
                stats.live += bytes;
                stats.taken += taken;
                stats.by_tag[tag as usize] += bytes;
                stats.hits += u64::from(served == Served::Hit);
                stats.misses += u64::from(matches!(served, Served::Miss | Served::Dedicated));
                stats.early_reuses += u64::from(early);
                stats.splits += u64::from(split);
                if matches!(served, Served::Hit | Served::Miss) {
                    stats.total_waste += taken - bytes;
                    stats.worst_waste = stats.worst_waste.max(taken - bytes);
                }
                stats.peak_live = stats.peak_live.max(stats.live);
            }
            Event::FreeRequested { lease, bytes, tag, after, .. } => {
                let held = self.leases.get_mut(&lease).unwrap();
                assert_eq!((held.bytes, held.tag, held.waits), (bytes, tag, false));
                stats.in_use -= 1;
                stats.live -= bytes;
                stats.taken -= held.taken;
                stats.by_tag[tag as usize] -= bytes;
                held.waits = true;
                stats.retiring += held.taken;
                if after.is_none() {
                    self.complete(lease);
                }
            }
            Event::FreeCompleted { lease, bytes, tag, .. } => {
                let held = &self.leases[&lease];
                assert_eq!((held.bytes, held.tag, held.waits), (bytes, tag, true));
                self.complete(lease);
            }
            Event::RegionReserved { bytes, mapped, .. } => {
                stats.driver_calls += 1;
                stats.reserved += if mapped { bytes } else { 0 };
            }
            Event::RegionMapped { bytes, .. } => {
                stats.driver_calls += 1;
                stats.reserved += bytes;
            }
            Event::RegionUnmapped { bytes, .. } | Event::RegionReleased { bytes, .. } => {
                stats.driver_calls += 1;
                stats.reserved -= bytes;
            }
            Event::DriverRefused { .. } => stats.driver_calls += 1,
            Event::Trimmed { .. } => stats.trims += 1,
            Event::OutOfMemory { .. } => self.refusals += 1,
            Event::Level { live, reserved, in_use, .. } => {
                assert_eq!((stats.live, stats.reserved, stats.in_use), (live, reserved, in_use));
            }
            _ => {}
        }
        self.stats.peak_reserved = self.stats.peak_reserved.max(self.stats.reserved);
    }

    fn complete(&mut self, lease: u32) {
        self.stats.retiring -= self.leases.remove(&lease).unwrap().taken;
    }
}

fn pool_of(event: &Event) -> Option<u32> {
    match *event {
        Event::PoolOpened { pool, .. }
        | Event::PoolClosed { pool, .. }
        | Event::Level { pool, .. }
        | Event::Allocated { pool, .. }
        | Event::FreeRequested { pool, .. }
        | Event::FreeCompleted { pool, .. }
        | Event::RegionReserved { pool, .. }
        | Event::RegionMapped { pool, .. }
        | Event::RegionUnmapped { pool, .. }
        | Event::RegionReleased { pool, .. }
        | Event::DriverRefused { pool, .. }
        | Event::Trimmed { pool, .. }
        | Event::OutOfMemory { pool, .. } => Some(pool),
        _ => None,
    }
}

/// The pools that are open at the end.
fn replay(entries: &[Entry]) -> HashMap<u32, Model> {
    let mut pools: HashMap<u32, Model> = HashMap::new();
    for entry in entries {
        let Some(pool) = pool_of(&entry.event) else { continue };
        match entry.event {
            Event::PoolOpened { .. } => assert!(pools.insert(pool, Model::default()).is_none()),
            Event::PoolClosed { reserved, .. } => {
                let closed = pools.remove(&pool).unwrap();
                assert_eq!((closed.stats.reserved, closed.stats.in_use), (reserved, 0));
            }
            ref event => pools.get_mut(&pool).unwrap().play(event),
        }
    }
    pools
}

fn check(model: &Model, stats: &PoolStats) {
    // What is free depends on the order of addresses, and membership is told to nobody but the driver.
    let mut seen = model.stats.clone();
    (seen.free, seen.largest_free, seen.members) = (stats.free, stats.largest_free, stats.members);
    assert_eq!(seen, *stats);
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Random use of two pools and an arena, with work under way; `between` may complete some of it.
fn work(device: &Device, seed: u64, mut between: impl FnMut(&mut Random)) -> (Vec<Pool>, Vec<Buffer>) {
    let mut random = Random(seed);
    let tight = PoolOptions::default()
        .limit(24 << 20)
        .budget(Tag::Kv, 3 << 20)
        .retain(4 << 20)
        .patience(std::time::Duration::ZERO);
    let pools = [device.pool().clone(), Pool::new(device, tight).unwrap()];
    let mut arena = Arena::new(&pools[0]);
    let mut sessions = [device.session().unwrap(), {
        let queue = device.open_queue(forebay_device::QueueKind::Copy).unwrap();
        device.session_on(queue).unwrap()
    }];
    let mut held: Vec<Buffer> = Vec::new();
    // Bytes that are really there have to be written, which takes its time.
    let steps = if device.caps().unified { 1000 } else { 4000 };
    for step in 0..steps {
        let pool = &pools[random.below(2) as usize];
        let session = &mut sessions[random.below(2) as usize];
        match random.below(16) {
            0..6 => {
                let bytes = match random.below(8) {
                    0 => 0,
                    1..6 => random.below(200_000) + 1,
                    _ => random.below(6 << 20) + 1,
                };
                let mut request = Request::new(bytes).tag(Tag::ALL[random.below(5) as usize]);
                request = match random.below(8) {
                    0 => request.dedicated().label("alone"),
                    1 => request.zeroed(),
                    2 | 3 => request.on_queue(session.queue().id()).label(format!("from {step}")),
                    _ => request,
                };
                match pool.alloc(request) {
                    Ok(buffer) => held.push(buffer),
                    Err(Error::LimitExceeded(_) | Error::Exhausted(_)) => {
                        held.truncate(held.len() / 2);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            6..10 if !held.is_empty() => {
                drop(held.swap_remove(random.below(held.len() as u64) as usize));
            }
            10..13 => {
                let mut stage = session.stage(format!("step {step}"));
                for _ in 0..random.below(3) {
                    if let Some(buffer) = held.get(random.below(held.len().max(1) as u64) as usize)
                        && !buffer.is_read_only()
                    {
                        stage.fill(buffer, 1).unwrap();
                    }
                }
                match random.below(2) {
                    0 => drop(stage.fence().unwrap()),
                    _ => stage.submit().unwrap(),
                }
                between(&mut random);
            }
            13 => {
                pool.trim(random.below(8 << 20)).unwrap();
            }
            14 => {
                for _ in 0..random.below(20) {
                    let buffer = arena.alloc(random.below(100_000)).unwrap();
                    if random.below(6) == 0 {
                        held.push(buffer);
                    }
                }
                drop(arena.reset());
            }
            _ if device.caps().unified => held.push(device.adopt(vec![0u8; 5000]).unwrap()),
            _ => {}
        }
    }
    drop(arena);
    (pools.into(), held)
}

fn traced(options: DeviceOptions) -> DeviceOptions {
    // Waiting for a queue that the test holds is of no use.
    let pool = PoolOptions::default().patience(std::time::Duration::ZERO);
    options.pool(pool).trace(TraceOptions::ring(1 << 16))
}

fn entries(device: &Device) -> Vec<Entry> {
    device.trace().unwrap().read().unwrap().map(Result::unwrap).collect()
}

fn compare(device: &Device, pools: &[Pool], held: Vec<Buffer>) {
    let stats: Vec<_> = pools.iter().map(Pool::stats).collect();
    let before = replay(&entries(device));
    assert_eq!(before.len(), 2);
    for (pool, stats) in stats.iter().enumerate() {
        check(&before[&(pool as u32)], stats);
    }
    let seen = &stats[1];
    assert!(seen.misses > 0 && seen.trims > 0 && seen.peak_live > seen.live, "{seen:?}");
    drop(held);
    let stats: Vec<_> = pools.iter().map(Pool::stats).collect();
    let after = replay(&entries(device));
    for (pool, stats) in stats.iter().enumerate() {
        check(&after[&(pool as u32)], stats);
        assert_eq!(after[&(pool as u32)].stats.in_use, 0);
    }
}

#[test]
fn p13_a_replayed_trace_gives_the_counters_of_the_pools_on_null() {
    let mut early = 0;
    let mut refused = 0;
    let setups = [
        NullOptions::default(),
        NullOptions::default().backed(false).page(0),
        NullOptions::default().backed(false).page(64 << 10),
        NullOptions::default().backed(false).memory(40 << 20),
        NullOptions::default().backed(false).memory(48 << 20).page(0),
    ];
    for (seed, options) in setups.into_iter().enumerate() {
        let (device, control) = options.open(&traced(DeviceOptions::null())).unwrap();
        let steer = control.clone();
        let (pools, held) = work(&device, seed as u64, |random| {
            let queue = random.below(2) as u32;
            match random.below(6) {
                0 => steer.hold(queue, true),
                1 => steer.hold(queue, false),
                2 => _ = steer.complete(queue),
                _ => {}
            }
        });
        compare(&device, &pools, held);
        submissions_are_those_of_the_log(&entries(&device), &control);
        let pools = replay(&entries(&device));
        early += pools.values().map(|model| model.stats.early_reuses).sum::<u64>();
        refused += pools.values().map(|model| model.refusals).sum::<u64>();
        control.hold(0, false);
        control.hold(1, false);
    }
    assert!(early > 0 && refused > 0, "{early} early reuses and {refused} refusals were tried");
}

#[test]
fn p13_a_replayed_trace_gives_the_counters_of_the_pools_on_cpu() {
    for threads in [1, 2] {
        let device = Device::open(&traced(DeviceOptions::cpu().threads(threads))).unwrap();
        let (pools, held) = work(&device, 77, |_| {});
        compare(&device, &pools, held);
    }
}

/// Where, under which label, whether it was a recording, and what it waited for.
type Submission = (Moment, String, bool, Vec<(u32, u64)>);

/// Submissions and their waits, in order, are what the null device saw.
fn submissions_are_those_of_the_log(entries: &[Entry], control: &forebay_device::NullControl) {
    let mut seen: Vec<Submission> = Vec::new();
    for entry in entries {
        match &entry.event {
            Event::Submitted { at, label, replayed, .. } => {
                seen.push((*at, label.to_string(), *replayed, Vec::new()));
            }
            Event::Waits { of, on, .. } => {
                let last = seen.last_mut().unwrap();
                assert_eq!(last.0, *of);
                last.3.push((on.queue, on.tick));
            }
            Event::SubmissionRefused { at } => assert_eq!(seen.pop().unwrap().0, *at),
            _ => {}
        }
    }
    let log: Vec<_> =
        control.submissions().into_iter().map(|s| (s.queue, s.tick, s.label, s.replayed, s.waits)).collect();
    let seen: Vec<_> = seen
        .into_iter()
        .map(|(at, label, replayed, waits)| (at.queue, at.tick, label, replayed, waits))
        .collect();
    assert!(!log.is_empty());
    assert_eq!(seen, log);
}

#[test]
fn s5_labels_of_stages_and_fences_are_on_the_submissions() {
    let (device, control) = NullOptions::default().open(&traced(DeviceOptions::null())).unwrap();
    let buffer = device.alloc(64).unwrap();
    let mut session = device.session().unwrap();
    let mut stage = session.stage("layer 3 attention");
    stage.fill(&buffer, 1).unwrap();
    let fence = stage.fence().unwrap();
    session.stage("").submit().unwrap();
    let second = session.stage("given at stage").fence_as(String::from("given at fence")).unwrap();
    let mut stage = session.stage("kept");
    stage.fill(&buffer, 2).unwrap();
    let recording = stage.record().unwrap();
    session.replay(&recording).unwrap().wait().unwrap();
    let other = device.open_queue(forebay_device::QueueKind::Compute).unwrap();
    let mut other = device.session_on(other).unwrap();
    let mut stage = other.stage("after both");
    stage.after(&fence).unwrap();
    stage.after(&second).unwrap();
    stage.fence().unwrap().wait().unwrap();

    let entries = entries(&device);
    let labels: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Submitted { label, fenced, replayed, bound, .. } => {
                Some((label.to_string(), *fenced, *replayed, *bound))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("layer 3 attention", true, false, 1),
        ("", false, false, 0),
        ("given at fence", true, false, 0),
        ("kept", true, true, 1),
        ("after both", true, false, 0),
    ];
    assert_eq!(
        labels,
        expected.map(|(label, fenced, replayed, bound)| (label.to_owned(), fenced, replayed, bound))
    );
    submissions_are_those_of_the_log(&entries, &control);
}

#[test]
fn submissions_that_are_refused_and_work_that_fails_are_told() {
    let (device, control) = NullOptions::default().open(&traced(DeviceOptions::null())).unwrap();
    let mut session = device.session().unwrap();
    let fault = || Error::Driver { call: "submit", code: 7, detail: "no".into() };
    control.fail(forebay_device::NullCall::Submit, 1, fault());
    session.stage("refused").fence().unwrap_err();
    control.hold(0, true);
    let fence = session.stage("fails").fence().unwrap();
    assert!(control.complete_with(0, Err(fault())));
    fence.wait().unwrap_err();
    let entries = entries(&device);
    submissions_are_those_of_the_log(&entries, &control);
    let at = Moment { queue: 0, tick: 1 };
    assert!(entries.iter().any(|entry| entry.event == Event::SubmissionRefused { at }));
    let completions: Vec<_> =
        entries.iter().filter(|entry| matches!(entry.event, Event::Completed { .. })).collect();
    assert_eq!(completions.len(), 1);
    assert_eq!(completions[0].event, Event::Completed { at, failed: true });
}

#[test]
fn what_was_missing_is_told_with_what_was_asked() {
    let (device, _control) =
        NullOptions::default().memory(16 << 20).open(&traced(DeviceOptions::null())).unwrap();
    let small = Pool::new(&device, PoolOptions::default().limit(8 << 20).budget(Tag::Kv, 1000)).unwrap();
    small.alloc(Request::new(9 << 20).label("too much for the pool")).unwrap_err();
    small.alloc(Request::new(1001).tag(Tag::Kv).label("too much for the tag")).unwrap_err();
    let most = device.alloc(12 << 20).unwrap();
    device.alloc(Request::new(6 << 20).tag(Tag::Weights).label("too much for the driver")).unwrap_err();
    drop(most);
    let told: Vec<_> = entries(&device)
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::OutOfMemory { pool, asked, limit, tag, label, why } => {
                Some((pool, asked, limit, tag, label.to_string(), why))
            }
            _ => None,
        })
        .collect();
    let refusal =
        |pool, asked, limit, tag, label: &str, why| (pool, asked, limit, tag, label.to_owned(), why);
    assert_eq!(
        told,
        [
            refusal(1, 9 << 20, 8 << 20, Tag::Other, "too much for the pool", Shortage::Limit),
            refusal(1, 1001, 1000, Tag::Kv, "too much for the tag", Shortage::Budget),
            refusal(0, 6 << 20, u64::MAX, Tag::Weights, "too much for the driver", Shortage::Driver),
        ]
    );
}

#[test]
fn arenas_tell_their_epochs_and_what_stays() {
    let device = Device::open(&traced(DeviceOptions::cpu().threads(1))).unwrap();
    let mut arena = Arena::new(device.pool());
    let kept = arena.alloc(Request::new(5000).label("kept").tag(Tag::Kv)).unwrap();
    drop((arena.alloc(300).unwrap(), arena.alloc(400).unwrap()));
    arena.reset();
    let capacity = arena.stats().reserved;
    let entries = entries(&device);
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| &entry.event)
        .filter(|event| matches!(event, Event::ArenaEpoch { .. } | Event::ArenaReset { .. }))
        .collect();
    let (pool, arena) = (0, 0);
    assert_eq!(
        seen,
        [
            &Event::ArenaEpoch { pool, arena, epoch: 0, capacity: 0 },
            &Event::ArenaReset { pool, arena, recycled: 2, held: 1, held_bytes: 5000 },
            &Event::ArenaEpoch { pool, arena, epoch: 1, capacity },
        ]
    );
    let carved = entries.iter().find_map(|entry| match &entry.event {
        Event::Allocated { served: Served::Carved, label, bytes, taken, tag, .. }
            if !label.as_str().is_empty() =>
        {
            Some((label.to_string(), *bytes, *taken, *tag))
        }
        _ => None,
    });
    assert_eq!(carved, Some(("kept".to_owned(), 5000, 5120, Tag::Kv)));
    check(&replay(&entries)[&0], &device.pool().stats());
    drop(kept);
}

#[test]
fn a_ring_keeps_the_newest_events_without_a_gap() {
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(1000))).unwrap();
    let mut session = device.session().unwrap();
    let mut sizes = Vec::new();
    for round in 0..2500 {
        sizes.push(1000 + round);
        drop(device.alloc(1000 + round).unwrap());
        if round % 100 == 0 {
            session.stage(format!("mark {round}")).submit().unwrap();
        }
    }
    let trace = device.trace().unwrap();
    let reader = trace.read().unwrap();
    let first = reader.header().first;
    let entries: Vec<_> = reader.map(Result::unwrap).collect();
    assert!(first > 3000 && entries.len() > 900, "{} from {first} on", entries.len());
    assert_eq!(first + entries.len() as u64, trace.events());
    assert!(entries.iter().zip(first..).all(|(entry, number)| entry.number == number));
    let seen: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.event {
            Event::Allocated { bytes, .. } => Some(bytes),
            _ => None,
        })
        .collect();
    assert_eq!(seen, sizes[sizes.len() - seen.len()..]);
    assert!(seen.len() > 400);
    let last = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Submitted { label, .. } => Some(label.to_string()),
        _ => None,
    });
    assert_eq!(last.unwrap(), "mark 2400", "labels from before the first event are known");
}

#[test]
fn a_file_has_all_and_can_be_copied_while_it_grows() {
    let dir = std::env::temp_dir().join(format!("forebay-trace-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (path, copy) = (dir.join("trace"), dir.join("copy"));
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::file(&path))).unwrap();
    for bytes in 0..50_000 {
        drop(device.alloc(bytes).unwrap());
    }
    let trace = device.trace().unwrap();
    assert_eq!(trace.path().unwrap(), path);
    trace.save(&copy).unwrap();
    trace.save(dir.join(".").join("trace")).unwrap();
    let copied = trace.events();
    drop((device, trace));
    let count = |path| {
        let mut reader = TraceReader::open(path).unwrap();
        assert_eq!((reader.header().device.as_str(), reader.header().first), ("null", 0));
        let last = reader.by_ref().map(Result::unwrap).last().unwrap();
        (last.number + 1, last.event)
    };
    assert_eq!(count(&copy).0, copied);
    let (all, last) = count(&path);
    assert!(all > copied && copied > 100_000);
    assert!(matches!(last, Event::PoolClosed { pool: 0, .. }), "{last:?}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_pool_that_follows_another_takes_its_number() {
    let device = Device::open(&traced(DeviceOptions::null())).unwrap();
    for round in 1..4u64 {
        let pool = Pool::new(&device, PoolOptions::default().limit(round << 21)).unwrap();
        let buffer = pool.alloc(round * 10).unwrap();
        drop(pool);
        drop(buffer);
    }
    let mut opened = Vec::new();
    for entry in entries(&device) {
        match entry.event {
            Event::PoolOpened { pool, limit } => opened.push((pool, limit)),
            Event::Allocated { pool, bytes, .. } => assert_eq!((pool, bytes % 10), (1, 0)),
            _ => {}
        }
    }
    assert_eq!(opened, [(0, u64::MAX), (1, 2 << 20), (1, 4 << 20), (1, 6 << 20)]);
    assert_eq!(replay(&entries(&device)).len(), 1);
}

#[test]
fn a_device_without_a_trace_has_none() {
    assert!(Device::open(&DeviceOptions::null()).unwrap().trace().is_none());
}
