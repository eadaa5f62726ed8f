//! What is exported and read again asks for the same memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::Cursor;

use super::*;
use crate::{
    Arena, Buffer, Device, DeviceOptions, NullOptions, Request, Tag, TraceOptions,
    history::{Demand, pickle::Pickle},
};

/// A trace with everything in it: work under way, an arena that is cut up, memory of others, refusals.
fn trace() -> (Vec<u8>, Device) {
    let options = DeviceOptions::null().memory_limit(64 << 20).trace(TraceOptions::ring(1 << 15));
    let (device, control) = NullOptions::default().open(&options).unwrap();
    let mut session = device.session().unwrap();
    let queue = session.queue().id();
    let mut arena = Arena::new(device.pool());
    let mut held: Vec<Buffer> = Vec::new();
    let mut seed = 11u64;
    for turn in 0..600u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let request = Request::new(1 + (seed >> 33) % 900_000)
            .tag(Tag::ALL[(seed >> 61) as usize % 5])
            .label(format!("turn \"{}\"", turn % 9));
        match turn % 6 {
            0 | 1 => held.push(device.alloc(request).unwrap()),
            2 => held.push(session.alloc(request).unwrap()),
            3 => {
                let mut stage = session.stage("fill");
                held.iter().take(3).for_each(|buffer| stage.fill(buffer, 1).unwrap());
                stage.submit().unwrap();
                control.hold(queue, turn % 12 == 3);
            }
            4 => {
                let kept = arena.alloc(request).unwrap();
                drop(arena.alloc(5000).unwrap());
                held.push(kept);
                drop(arena.reset());
            }
            _ => {
                drop(device.alloc(Request::new(65 << 20).label("too much")).unwrap_err());
                held.swap_remove((seed >> 40) as usize % held.len());
            }
        }
        if held.len() > 40 {
            drop(held.drain(..20));
        }
    }
    control.hold(queue, false);
    let mut bytes = Vec::new();
    device.trace().unwrap().write(&mut bytes).unwrap();
    (bytes, device)
}

fn export(format: Format, trace: &[u8]) -> Vec<u8> {
    let mut log = Log::new(Cursor::new(trace.to_vec()), "trace").unwrap();
    let mut out = Vec::new();
    assert!(format.write(&mut log, &mut out, "out").unwrap() > 1000);
    out
}

fn demand(bytes: Vec<u8>) -> Demand {
    Demand::of(Log::new(Cursor::new(bytes), "back").unwrap()).unwrap()
}

/// Requests and returns as sizes, purposes left out: no other format has them.
fn sizes(demand: &Demand) -> Vec<(bool, u64)> {
    let mut held = std::collections::HashMap::new();
    let calls = demand.calls().iter().map(|call| match *call {
        crate::history::Call::Alloc { id, bytes, .. } => {
            held.insert(id, bytes);
            (true, bytes)
        }
        crate::history::Call::Free { id } => (false, held[&id]),
    });
    calls.collect()
}

#[test]
fn what_rmm_and_pytorch_get_asks_for_the_same() {
    let (trace, _device) = trace();
    let whole = demand(trace.clone());
    assert!(whole.allocations() > 400);
    for format in [Format::Rmm, Format::PyTorch] {
        let back = demand(export(format, &trace));
        assert_eq!(sizes(&back), sizes(&whole), "{format}");
    }
}

#[test]
fn the_segments_of_a_snapshot_are_covered_by_their_blocks() {
    let (trace, device) = trace();
    let bytes = export(Format::PyTorch, &trace);
    let pickle = Pickle::read(&bytes).unwrap();
    let list = |of, key| pickle.list(pickle.get(of, key).unwrap()).unwrap();
    let number = |of, key| pickle.number(pickle.get(of, key).unwrap()).unwrap();
    let (mut total, mut live, mut waiting) = (0, 0, 0);
    for segment in list(pickle.root, "segments") {
        let mut at = number(*segment, "address");
        total += number(*segment, "total_size");
        let end = at + number(*segment, "total_size");
        for block in list(*segment, "blocks") {
            assert_eq!(number(*block, "address"), at);
            at += number(*block, "size");
            match pickle.text(pickle.get(*block, "state").unwrap()).unwrap() {
                "active_allocated" => live += number(*block, "requested_size"),
                "active_awaiting_free" => waiting += number(*block, "size"),
                _ => {}
            }
        }
        assert_eq!(at, end);
    }
    let stats = device.pool().stats();
    // The test's own buffers went while work was under way, when the trace was written already; arenas too.
    assert_eq!(total, stats.reserved);
    assert!(live > 0 && live + waiting <= total, "{live} and {waiting} of {total}");
    let [events] = list(pickle.root, "device_traces") else { panic!("there is one device") };
    let actions: std::collections::BTreeSet<_> = pickle
        .list(*events)
        .unwrap()
        .iter()
        .map(|event| pickle.text(pickle.get(*event, "action").unwrap()).unwrap())
        .collect();
    let wanted = ["alloc", "free_completed", "free_requested", "oom", "segment_map"];
    assert!(wanted.iter().all(|action| actions.contains(action)), "{actions:?}");
}

#[test]
fn names_are_read_back_and_a_full_disk_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (trace, _device) = trace();
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
        let mut log = Log::new(Cursor::new(trace.clone()), "trace").unwrap();
        let error = format.write(&mut log, &mut Full, "the disk").unwrap_err();
        assert!(error.to_string().contains("cannot write to the disk"), "{error}");
    }
    assert!("svg".parse::<Format>().is_err());
}
