//! Explanations say what is so: what they promise is tried on the device that they are about.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{io::Cursor, time::Duration};

use super::*;
use crate::{Device, DeviceOptions, NullOptions, Pool, PoolOptions, Request, TraceOptions};

const MIB: u64 = 1 << 20;

fn explain(device: &Device, at: Option<u64>) -> Explanation {
    let mut bytes = Vec::new();
    device.trace().unwrap().write(&mut bytes).unwrap();
    Explanation::of(|| Log::new(Cursor::new(bytes.clone()), "trace"), at).unwrap()
}

fn options(limit: u64) -> DeviceOptions {
    let pool = PoolOptions::default().patience(Duration::ZERO);
    DeviceOptions::null().memory_limit(limit).pool(pool).trace(TraceOptions::ring(1 << 14))
}

#[test]
fn the_tick_that_is_named_frees_enough_and_the_one_before_does_not() {
    let (device, control) = NullOptions::default().backed(false).open(&options(40 * MIB)).unwrap();
    let mut session = device.session().unwrap();
    let queue = session.queue().id();
    control.hold(queue, true);
    let _kept = device.alloc(Request::new(10 * MIB).tag(Tag::Weights).label("blk.7.weights")).unwrap();
    for size in [4, 6, 8, 10] {
        let scratch = device.alloc(Request::new(size * MIB).label("scratch")).unwrap();
        let mut stage = session.stage("use it");
        stage.fill(&scratch, 1).unwrap();
        stage.submit().unwrap();
    }
    let request = || Request::new(15 * MIB).tag(Tag::Kv).label("wanted");
    device.alloc(request()).unwrap_err();
    let told = explain(&device, None);
    let refused = told.refused.clone().unwrap();
    assert_eq!((refused.asked, refused.tag, refused.label.as_str()), (15 * MIB, Tag::Kv, "wanted"));
    assert_eq!((told.limit, told.live, told.retiring), (Some(40 * MIB), 10 * MIB, 28 * MIB));
    assert_eq!(told.by_tag, [(Tag::Weights, 10 * MIB)]);
    let [share] = &told.queues[..] else { panic!("{:?}", told.queues) };
    assert_eq!((share.bytes, share.last, share.enough), (28 * MIB, 4, Some(3)));
    let text = told.to_string();
    for part in
        ["refused: the limit was reached", "15.0 MiB for kv, labelled \"wanted\"", "tick 3 of queue 0"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    control.complete(queue);
    control.complete(queue);
    device.alloc(request()).unwrap_err();
    control.complete(queue);
    drop(device.alloc(request()).unwrap());
    control.hold(queue, false);
}

#[test]
fn the_limit_that_is_named_serves_the_request() {
    let plan = |limit: u64| {
        let (device, _) = NullOptions::default().backed(false).open(&options(limit)).unwrap();
        let mut kept = Vec::new();
        for (size, label) in [(3 * MIB, "a"), (MIB / 2, "b"), (5 * MIB + 3, "c"), (7 * MIB, "d")] {
            kept.push(device.alloc(Request::new(size).label(label)).unwrap());
        }
        kept.remove(2);
        let served = device.alloc(Request::new(9 * MIB).label("wanted")).is_ok();
        (device, kept, served)
    };
    let (device, _kept, served) = plan(17 * MIB);
    assert!(!served);
    let told = explain(&device, None);
    let named = told.reserved - told.idle + 10 * MIB;
    let advice = format!("one of {} would have served this request", crate::error::Bytes(named));
    assert!(told.advice[0].contains(&advice), "{advice}: {:?}", told.advice);
    assert!(plan(named).2, "{named} is not enough");
}

#[test]
fn a_hole_is_named_with_who_lies_beside_it() {
    let (device, _) = NullOptions::default().backed(false).page(0).open(&options(64 * MIB)).unwrap();
    let pool = Pool::new(&device, PoolOptions::default().patience(Duration::ZERO).limit(64 * MIB)).unwrap();
    let mut all: Vec<_> =
        (0..6).map(|i| pool.alloc(Request::new(3 * MIB).label(format!("block {i}"))).unwrap()).collect();
    all.remove(3);
    all.remove(1);
    let told = explain(&device, None);
    assert!(told.refused.is_none());
    // The fullest moment is before anything went.
    assert_eq!((told.live, told.holders.len()), (18 * MIB, 1));
    let shown = &told.holders[0];
    assert_eq!((shown.label.as_str(), shown.count, shown.bytes), ("block #", 6, 18 * MIB));
    let last = explain(&device, Some(u64::MAX));
    assert_eq!(last.live, 12 * MIB);
    let hole = last.hole.unwrap();
    let beside = hole.beside.map(|holder| holder.map(|holder| holder.label));
    assert!(
        hole.bytes >= 3 * MIB && beside.iter().any(Option::is_some),
        "{hole_bytes} {beside:?}",
        hole_bytes = hole.bytes
    );
    let free = pool.stats();
    assert_eq!(hole.bytes, free.largest_free, "what the pool itself says");
}

#[test]
fn budgets_and_drivers_are_told_apart_from_limits() {
    let (device, _) = NullOptions::default().memory(16 * MIB).open(&options(u64::MAX)).unwrap();
    let pool = Pool::new(&device, PoolOptions::default().budget(Tag::Kv, 1000)).unwrap();
    let _held = pool.alloc(Request::new(900).tag(Tag::Kv).label("cache")).unwrap();
    pool.alloc(Request::new(500).tag(Tag::Kv)).unwrap_err();
    let told = explain(&device, None);
    assert!(told.advice[0].contains("budget of kv") && told.advice[0].contains("1.4 KiB"), "{told}");
    let _most = device.alloc(12 * MIB).unwrap();
    device.alloc(6 * MIB).unwrap_err();
    let told = explain(&device, None);
    assert!(told.to_string().contains("the device had none left"), "{told}");
    assert_eq!((told.refused.as_ref().unwrap().count, told.limit), (2, Some(16 * MIB)));
}

#[test]
fn an_empty_trace_and_a_ring_without_its_beginning_are_explained_too() {
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(64))).unwrap();
    assert_eq!(explain(&device, None).live, 0);
    let _kept = device.alloc(5 * MIB).unwrap();
    for i in 0..20_000 {
        drop(device.alloc(1000 + i).unwrap());
    }
    let told = explain(&device, None);
    assert!(told.number > 1000 && told.live < 6 * MIB, "{told}");
    assert!(!told.to_string().is_empty());
}

#[test]
fn numbers_in_names_are_one_family() {
    assert_eq!((family("blk.12.attn.7"), family("x")), ("blk.#.attn.#".to_owned(), "x".to_owned()));
}
