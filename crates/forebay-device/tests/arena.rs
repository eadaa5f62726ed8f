//! The arena in all its forms, looked at through the bytes it hands out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use forebay_device::{Arena, Buffer, Device, DeviceOptions, NullOptions, Pool, PoolOptions, Request};

fn device() -> Device {
    Device::open(&DeviceOptions::cpu().threads(2)).unwrap()
}

/// Fills a buffer with a byte of its own.
fn paint(buffer: &Buffer, byte: u8) {
    buffer.write::<u8>().unwrap().fill(byte);
}

fn shows(buffer: &Buffer, byte: u8) -> bool {
    buffer.read::<u8>().unwrap().iter().all(|&b| b == byte)
}

fn span(buffer: &Buffer) -> (u64, u64) {
    (buffer.address(), buffer.address() + buffer.len())
}

fn overlap(a: &Buffer, b: &Buffer) -> bool {
    span(a).0 < span(b).1 && span(b).0 < span(a).1
}

#[test]
fn a_buffer_kept_across_resets_never_shares_bytes_with_a_new_owner() {
    let device = device();
    let mut arena = Arena::new(device.pool());
    let first = arena.alloc(1000).unwrap();
    let middle = arena.alloc(70_000).unwrap();
    let last = arena.alloc(256).unwrap();
    let gone = [span(&first), span(&last)];
    let reused =
        |other: &Buffer| gone.iter().any(|&(start, end)| start < span(other).1 && span(other).0 < end);
    paint(&middle, 7);
    drop((first, last));
    let report = arena.reset();
    assert_eq!((report.recycled, report.held_bytes()), (2, 70_000));

    // Every byte the pool already has is handed out before it asks the driver for more.
    let mut seen_again = false;
    let mut others = Vec::new();
    let reserved = device.pool().stats().reserved;
    while device.pool().stats().reserved == reserved {
        let other = device.pool().alloc(300 + others.len() as u64 % 700).unwrap();
        assert!(!overlap(&middle, &other), "{:?} and {:?}", span(&middle), span(&other));
        paint(&other, 1);
        seen_again |= reused(&other);
        others.push(other);
    }
    for round in 0..30 {
        let other = arena.alloc(500 * round).unwrap();
        assert!(!overlap(&middle, &other), "{:?} and {:?}", span(&middle), span(&other));
        paint(&other, 1);
        if round % 10 == 9 {
            arena.reset();
        }
    }
    assert!(seen_again, "memory beside the kept buffer is used again");
    assert!(shows(&middle, 7));
    let at = span(&middle);
    drop(middle);
    let reserved = device.pool().stats().reserved;
    let mut again = Vec::new();
    while device.pool().stats().reserved == reserved {
        again.push(device.pool().alloc(Request::new(4096).exact()).unwrap());
    }
    let back = again.iter().any(|other| span(other).0 < at.1 && at.0 < span(other).1);
    assert!(back, "the pool hands the kept buffer's bytes out before it asks the driver for more");
}

#[test]
fn nothing_is_left_when_everything_has_gone_in_any_order() {
    let (device, control) = NullOptions::default().open(&DeviceOptions::null()).unwrap();
    for keep in 0..6usize {
        let pool = Pool::new(&device, PoolOptions::default()).unwrap();
        let mut arena = Arena::new(&pool);
        let mut kept = Vec::new();
        for round in 0..6 {
            let all: Vec<_> = (0..20).map(|i| arena.alloc((i * 333) % 5000).unwrap()).collect();
            kept.extend(all.into_iter().skip(round).step_by(7).take(keep));
            arena.reset();
        }
        let stats = pool.stats();
        assert_eq!(
            stats.live,
            kept.iter().map(Buffer::len).sum::<u64>() + arena.stats().reserved,
            "keep {keep}"
        );
        drop(arena);
        assert_eq!(pool.stats().in_use as usize, kept.len());
        kept.clear();
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.live, stats.taken, stats.members, stats.retiring), (0, 0, 0, 0, 0));
        pool.trim(0).unwrap();
        assert_eq!(pool.stats().reserved, 0);
    }
    assert_eq!(control.used(), 0);
}

/// One epoch of a decoder: sizes and lifetimes that repeat.
fn epoch(arena: &mut Arena, steps: u64) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    let mut before = arena.alloc(1024).unwrap();
    paint(&before, 0);
    for step in 1..=steps {
        let next = arena.alloc(1024 * (1 + step % 5)).unwrap();
        assert!(!overlap(&before, &next));
        paint(&next, step as u8);
        assert!(shows(&before, (step - 1) as u8), "step {step} wrote over its input");
        spans.push(span(&next));
        before = next;
    }
    spans
}

#[test]
fn an_epoch_that_repeats_is_planned_and_takes_what_is_live_at_once() {
    let device = device();
    let mut arena = Arena::new(device.pool());
    let mut epochs = Vec::new();
    for _ in 0..5 {
        epochs.push(epoch(&mut arena, 100));
        assert_eq!(arena.reset().held, []);
    }
    assert_eq!(arena.stats().planned, 3 * 101);
    assert_eq!(epochs[3], epochs[4], "a plan puts the same step at the same place");
    // Two neighbours are live at once: at most 5 + 4 KiB; an unplanned epoch holds 300.
    let (low, high) =
        epochs[4].iter().fold((u64::MAX, 0), |(low, high), &(start, end)| (low.min(start), high.max(end)));
    assert!(high - low <= 10 << 10, "{} bytes", high - low);
}

#[test]
fn a_surprise_in_a_planned_epoch_ends_the_plan_and_shares_no_bytes() {
    let device = device();
    for surprise in 0..4 {
        let mut arena = Arena::new(device.pool());
        for _ in 0..4 {
            epoch(&mut arena, 30);
            arena.reset();
        }
        assert!(arena.stats().planned > 0);
        // The epoch begins as planned; then sizes change, or buffers live longer than they used to.
        let mut held = Vec::new();
        for step in 0..30u64 {
            let bytes = match step {
                0 => 1024,
                10 if surprise == 0 => 999_999,
                12 if surprise == 1 => 0,
                step => 1024 * (1 + step % 5),
            };
            let buffer = arena.alloc(bytes).unwrap();
            for (other, byte) in &held {
                assert!(!overlap(other, &buffer));
                assert!(shows(other, *byte));
            }
            paint(&buffer, step as u8);
            if surprise >= 2 || step % 3 == 0 {
                held.push((buffer, step as u8));
            }
        }
        assert_eq!(arena.stats().surprises, 1, "surprise {surprise}");
        let report = arena.reset();
        assert_eq!(report.held.len(), held.len());
        epoch(&mut arena, 30);
        assert!(held.iter().all(|(buffer, byte)| shows(buffer, *byte)));
    }
}

#[test]
fn work_in_flight_is_ordered_before_the_next_owner_of_its_bytes() {
    let (device, control) = NullOptions::default().open(&DeviceOptions::null()).unwrap();
    let mut arena = Arena::new(device.pool()).planning(false);
    let source = device.upload(&[9u8; 4096]).unwrap();
    let mut session = device.session().unwrap();
    let first = arena.alloc(4096).unwrap();
    control.hold(session.queue().id(), true);
    let mut stage = session.stage("writes first");
    stage.copy(&source, &first).unwrap();
    let _ = stage.fence().unwrap();
    let at = first.address();
    drop(first);
    arena.reset();
    let second = arena.alloc(4096).unwrap();
    assert_eq!(second.address(), at, "same bytes, at once");
    assert!(second.try_write::<u8>().is_err(), "the host waits for the earlier owner's work");

    // Another queue waits for it on the device.
    let mut other =
        device.session_on(device.open_queue(forebay_device::QueueKind::Compute).unwrap()).unwrap();
    let mut stage = other.stage("fills second");
    stage.fill(&second, 5).unwrap();
    let fence = stage.fence().unwrap();
    assert!(!fence.is_done());
    let record = control.submissions().pop().unwrap();
    assert_eq!(record.waits, [(session.queue().id(), 1)]);
    control.hold(session.queue().id(), false);
    fence.wait().unwrap();
    assert!(shows(&second, 5));
}

#[test]
fn the_bytes_of_an_arena_that_is_dropped_in_flight_stay_until_the_work_is_done() {
    let (device, control) = NullOptions::default().open(&DeviceOptions::null()).unwrap();
    let pool = Pool::new(&device, PoolOptions::default()).unwrap();
    let mut session = device.session().unwrap();
    control.hold(session.queue().id(), true);
    let mut arena = Arena::new(&pool);
    let buffer = arena.alloc(1 << 20).unwrap();
    let mut stage = session.stage("fills");
    stage.fill(&buffer, 1).unwrap();
    let fence = stage.fence().unwrap();
    drop((buffer, arena));
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.retiring), (0, 1 << 20));
    assert!(control.complete(session.queue().id()));
    fence.wait().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.retiring, stats.free), (0, stats.reserved));
}

#[test]
fn buffers_of_an_arena_die_on_other_threads_while_it_resets() {
    let device = device();
    let mut arena = Arena::new(device.pool()).planning(false);
    let (send, receive) = std::sync::mpsc::sync_channel::<Buffer>(64);
    let thread = std::thread::spawn(move || {
        for buffer in receive {
            assert!(shows(&buffer, buffer.len() as u8));
        }
    });
    for round in 0..300u64 {
        for i in 0..20 {
            let buffer = arena.alloc(1 + (round * 31 + i * 7) % 2000).unwrap();
            paint(&buffer, buffer.len() as u8);
            send.send(buffer).unwrap();
        }
        arena.reset();
    }
    drop(send);
    thread.join().unwrap();
    arena.reset();
    let held = arena.stats().reserved;
    assert_eq!(device.pool().stats().live, held);
}

#[test]
fn a_scope_resets_at_its_end_and_what_is_promoted_lives_on() {
    let device = device();
    let mut arena = Arena::new(device.pool());
    let mut session = device.session().unwrap();
    let mut results = Vec::new();
    for round in 0..8u8 {
        let result = arena.scope(|scope| {
            let a = scope.alloc(Request::new(5000).zeroed()).unwrap();
            let b = scope.alloc(5000).unwrap();
            assert!(
                a.read::<u8>().unwrap().iter().all(|&byte| byte == 0),
                "zeroed also where bytes are used again"
            );
            let mut stage = session.stage("scratch");
            stage.fill(&a, round).unwrap();
            stage.copy(&a, &b).unwrap();
            let _ = stage.fence().unwrap();
            scope.promote(b)
        });
        results.push((result, round));
    }
    assert!(results.iter().all(|(buffer, round)| shows(buffer, *round)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        arena.scope(|scope| {
            let _scratch = scope.alloc(100).unwrap();
            panic!("in the middle of a step");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(arena.reset().recycled, 0, "the scope has reset although it panicked");
}

#[test]
fn empty_and_absurd_requests_are_answered() {
    let device = device();
    let mut arena = Arena::new(device.pool());
    assert_eq!(arena.reset(), Default::default());
    assert_eq!(arena.reset(), Default::default());
    let empty = arena.alloc(0).unwrap();
    assert!(empty.is_empty());
    assert!(arena.alloc(u64::MAX).is_err());
    assert!(arena.alloc(1 << 60).is_err());
    assert!(arena.alloc(10).is_ok(), "the arena goes on");
    assert_eq!(arena.reset().held.len(), 1, "the empty buffer is held");
    drop(empty);
}
