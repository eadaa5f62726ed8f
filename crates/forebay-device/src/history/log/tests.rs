//! Which kind a file is, what its events are, and what is wrong with it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{io::Cursor, time::Duration};

use super::*;
use crate::{
    Device, DeviceOptions, Event, Request, Served, Shortage, Spot, Tag, TraceOptions,
    history::{Demand, Ledger, pickle},
};

fn read(bytes: impl Into<Vec<u8>>) -> Result<Vec<Entry>> {
    Log::new(Cursor::new(bytes.into()), "some file")?.collect()
}

fn error(bytes: impl Into<Vec<u8>>) -> String {
    read(bytes).unwrap_err().to_string()
}

const CSV: &str = "Thread,Time,Action,Pointer,Size,Stream\n\
    7,23:59:59:999999,allocate,0x7f0000000000,1000,0x0\n\
    7,23:59:59.999999,allocate,0x7f0000001000,0,0x2\n\
    8,00:00:01:000000,allocate failure,(nil),5000000000,0x2\n\
    7,00:00:02:000000,free,0x7f0000000000,1000,0x0\n\
    7,00:00:02:000001,free,0xdead,64,0x0\n\
    7,23:59:59:999999,allocate,0x7f0000001000,300,0x0\n\n";

#[test]
fn a_log_of_rmm_is_read() {
    let log = Log::new(CSV.as_bytes(), "x").unwrap();
    assert_eq!((log.origin().kind, log.origin().limit), (LogKind::Rmm, None));
    let entries: Vec<_> = log.map(Result::unwrap).collect();
    let events: Vec<_> = entries.iter().map(|entry| &entry.event).collect();
    let (pool, tag) = (0, Tag::Other);
    let spot = |offset| Some(Spot { region: 0, offset });
    let allocated = |lease, bytes: u64, label: &'static str, offset, served| Event::Allocated {
        pool,
        lease,
        bytes,
        taken: bytes.next_multiple_of(256),
        tag,
        label: String::from(label).into(),
        spot: spot(offset),
        served,
        early: false,
        split: false,
    };
    let (asked, limit, why) = (5_000_000_000, u64::MAX, Shortage::Driver);
    assert_eq!(
        events,
        [
            &allocated(0, 1000, "stream 0x0", 0x7f00_0000_0000, Served::Hit),
            &allocated(1, 0, "stream 0x2", 0x7f00_0000_1000, Served::Nothing),
            &Event::OutOfMemory { pool, asked, limit, tag, label: String::from("stream 0x2").into(), why },
            &Event::FreeRequested { pool, lease: 0, bytes: 1000, tag, after: None },
            // The address was handed out before: that return is missing in the log.
            &Event::FreeRequested { pool, lease: 1, bytes: 0, tag, after: None },
            &allocated(2, 300, "stream 0x0", 0x7f00_0000_1000, Served::Hit),
        ]
    );
    assert!(entries.iter().zip(0..).all(|(entry, number)| entry.number == number));
    assert!(entries.iter().all(|entry| entry.at == Duration::ZERO), "a clock that is set back stands still");
}

#[test]
fn a_log_of_rmm_that_is_wrong_says_where() {
    let line = |line: &str| error(format!("Thread,Time,Action,Pointer,Size,Stream\n{line}\n"));
    for (wrong, why) in [
        ("1,2,3", "six values"),
        ("1,10:00:00:0,grow,0x0,1,0x0", "an action is"),
        ("1,10:00:00:0,free,0xzz,1,0x0", "the pointer is no"),
        ("1,10:00:00:0,free,0x1,-1,0x0", "the size is no number"),
        ("1,10:00:00:0,free,0x1,999999999999999999,0x0", "more than any device"),
        ("1,10:00:00:0,free,0x1,1,q", "the stream is no"),
        ("1,25:00:00:0,free,0x1,1,0x0", "a time is"),
        (&"9".repeat(600), "longer than any"),
    ] {
        let error = line(wrong);
        assert!(error.contains(why) && error.contains("some file, byte 39"), "{error}");
    }
    assert!(error("Thread,Tim").contains("cut off"), "{}", error("Thread,Tim"));
    assert!(error("Thread,Time\n").contains("first line"));
    let whole = CSV.len();
    let cut = &CSV[..whole - 4];
    assert!(error(cut).contains(&format!("byte {}: the line is cut off here", whole - 4)), "{}", error(cut));
    let mut log = Log::new(Cursor::new(cut), "x").unwrap().up_to_damage();
    assert_eq!(log.by_ref().count(), 4);
    assert!(log.damage().is_some());
}

#[test]
fn a_snapshot_of_pytorch_is_read_with_what_was_there_before() {
    let log = Log::new(pickle::tests::BY_PYTHON, "x").unwrap();
    assert_eq!(log.origin().kind, LogKind::PyTorch);
    let entries: Vec<_> = log.map(Result::unwrap).collect();
    let mut ledger = Ledger::default();
    let (mut most, mut refused) = (0, None);
    for entry in &entries {
        ledger.apply(entry);
        most = most.max(ledger.live_bytes());
        if let Event::OutOfMemory { asked, ref label, .. } = entry.event {
            refused = Some((asked, label.to_string(), ledger.live_bytes(), ledger.retiring_bytes()));
        }
    }
    // One of 500 was there before and stays, one of 300 was there before and goes; 500 and 700 came after.
    assert_eq!(most, 1700);
    assert_eq!(refused, Some((5 << 30, "forward (model.py:12)".to_owned(), 1000, 1024)));
    assert_eq!((ledger.live_bytes(), ledger.retiring_bytes(), ledger.reserved()), (1000, 0, 2 << 20));
    let labels: Vec<_> = ledger.live().map(|(_, holding)| holding.label.to_string()).collect();
    assert_eq!(labels, ["forward (model.py:12)", "forward (model.py:12)"]);
    assert_eq!(entries.last().unwrap().at, Duration::from_micros(8));
    let demand = Demand::of(entries.into_iter().map(Ok)).unwrap();
    assert_eq!((demand.allocations(), demand.peak_live()), (4, 1700));
}

#[test]
fn what_is_no_trace_is_one_clear_error() {
    let neither = "neither a trace of forebay, nor a log of RMM, nor a snapshot of PyTorch";
    for bytes in [b"".as_slice(), b"GGUF\x03\0\0\0", b"{\"a\": 1}", b"\x80", b"\x80\x09"] {
        assert!(error(bytes).contains(neither), "{}", error(bytes));
    }
    assert!(error("FOREBAY").contains("cut off"), "{}", error("FOREBAY"));
    assert!(error(*b"\x80\x02.").contains("too little"));
    assert!(error(*b"\x80\x02].").contains("a snapshot is a dictionary"));
    assert!(error(*b"\x80\x02}.").contains("list of segments"));
    for folder in [std::env::temp_dir(), "no such file".into()] {
        assert!(matches!(Log::open(folder), Err(Error::Io { action: "open", .. })));
    }
}

#[test]
fn a_trace_of_ours_keeps_its_origin_and_bears_damage_if_asked_to() {
    let device =
        Device::open(&DeviceOptions::null().memory_limit(9 << 20).trace(TraceOptions::ring(999))).unwrap();
    drop(device.alloc(Request::new(100).label("x")).unwrap());
    let mut bytes = Vec::new();
    device.trace().unwrap().write(&mut bytes).unwrap();
    let log = Log::new(Cursor::new(bytes.clone()), "x").unwrap();
    let origin = log.origin().clone();
    assert_eq!((origin.kind, origin.limit, origin.first), (LogKind::Forebay, Some(9 << 20), 0));
    let all = log.map(Result::unwrap).count();
    bytes.truncate(bytes.len() - 5);
    assert!(read(bytes.clone()).unwrap_err().to_string().contains("cut off"));
    let mut log = Log::new(Cursor::new(bytes), "x").unwrap().up_to_damage();
    assert_eq!((log.by_ref().map(Result::unwrap).count(), log.next().is_none()), (all - 1, true));
    assert!(log.damage().unwrap().to_string().contains("cut off"));
}
