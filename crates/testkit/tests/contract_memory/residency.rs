//! R1 to R7: what the driver is told to keep at hand, when, and how often.

use std::{thread, time::Duration};

use forebay_device::{Buffer, NullCall, Pool, PoolOptions, Request};
use testkit::{Bed, Setup, Test};

use crate::{MIB, holds, is_filled, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Every:
        r1_changes_wait_for_the_next_submission,
        r1_a_submission_without_changes_makes_no_call,
        r2_the_count_moves_at_once_and_never_below_zero,
        r3_a_buffer_removed_by_hand_ends_once,
        r3_memory_removed_by_hand_comes_back_to_the_set,
        r5_a_device_without_a_set_does_nothing,
        r6_devices_do_not_see_each_other,
        r7_nothing_happens_behind_the_back;
    Bytes:
        r4_scratch_in_flight_leaves_the_set_and_its_work_is_right;
    Steered:
        r1_a_failed_call_loses_no_change;
};

/// How often the driver was told, by its own count where it has one.
fn told(bed: &Bed) -> u64 {
    let calls = bed.device.residency().driver_calls();
    if let Some(control) = &bed.control {
        assert_eq!(control.calls(NullCall::Residency), calls);
    }
    calls
}

fn submit(bed: &Bed) {
    bed.session().stage("tell").fence().unwrap().wait().unwrap();
}

fn r1_changes_wait_for_the_next_submission(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let keep = bed.device.alloc(5000).unwrap();
    submit(&bed);
    assert_eq!((told(&bed), residency.staged(), residency.count()), (1, 0, 1));
    for dedicated in [false, true] {
        let before = told(&bed);
        let all: Vec<_> = (0..100)
            .map(|i| Request::new(i * 5000 + 1))
            .map(|request| if dedicated { request.dedicated() } else { request })
            .map(|request| bed.device.alloc(request).unwrap())
            .collect();
        assert_eq!(residency.count(), 101);
        drop(all);
        assert_eq!((residency.count(), told(&bed)), (1, before));
        assert!(residency.staged() > 0);
        submit(&bed);
        assert_eq!((told(&bed), residency.staged()), (before + 1, 0));
        assert_eq!(residency.count(), 1);
    }
    drop(keep);
}

fn r1_a_submission_without_changes_makes_no_call(on: &Setup) {
    let bed = on.open();
    submit(&bed);
    assert_eq!(told(&bed), 0);
    let mut buffer = bed.device.alloc(70_000).unwrap();
    submit(&bed);
    for _ in 0..20 {
        drop(buffer);
        buffer = bed.device.alloc(70_000).unwrap();
        submit(&bed);
    }
    assert_eq!(told(&bed), 1, "memory that the driver knows is used again");
    let _ = bed.device.residency().remove(&buffer).unwrap();
    let mut session = bed.session();
    let mut stage = session.stage("more");
    stage.fill(&buffer, 1).unwrap();
    stage.submit().unwrap();
    session.stage("and more").submit().unwrap();
    assert_eq!(told(&bed), 2);
}

fn r1_a_failed_call_loses_no_change(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let buffer = bed.device.alloc(10_000).unwrap();
    let staged = residency.staged();
    let error = forebay_device::Error::Driver { call: "residency", code: 7, detail: "planted".into() };
    bed.control().fail(NullCall::Residency, 1, error);
    assert!(bed.session().stage("fails").fence().is_err());
    assert_eq!((residency.staged(), residency.driver_calls(), residency.count()), (staged, 0, 1));
    submit(&bed);
    assert_eq!((residency.staged(), residency.driver_calls()), (0, 1));
    drop(buffer);
    assert_eq!(residency.count(), 0);
}

fn r2_the_count_moves_at_once_and_never_below_zero(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let buffers =
        [bed.device.alloc(1000).unwrap(), bed.device.alloc(Request::new(1000).dedicated()).unwrap()];
    for buffer in &buffers {
        for _ in 0..3 {
            assert!(residency.remove(buffer).unwrap());
            assert_eq!(residency.count(), 1);
            assert!(!residency.remove(&buffer.slice(10..).unwrap()).unwrap());
            assert_eq!(residency.count(), 1);
            assert!(residency.add(&buffer.clone()).unwrap());
            assert_eq!(residency.count(), 2);
            assert!(!residency.add(buffer).unwrap());
            assert_eq!(residency.count(), 2);
        }
    }
    for buffer in &buffers {
        assert!(residency.remove(buffer).unwrap());
        assert!(!residency.remove(buffer).unwrap());
    }
    assert_eq!((residency.count(), told(&bed)), (0, 0));
    drop(buffers);
    assert_eq!((residency.count(), bed.device.pool().stats().members), (0, 0));
}

fn r3_a_buffer_removed_by_hand_ends_once(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let other = bed.device.alloc(100).unwrap();
    for dedicated in [false, true] {
        for (removed, added) in [(false, false), (true, false), (true, true)] {
            let request = Request::new(50_000);
            let buffer = bed.device.alloc(if dedicated { request.dedicated() } else { request }).unwrap();
            let clone = buffer.clone();
            assert_eq!(removed && residency.remove(&buffer).unwrap(), removed);
            assert_eq!(added && residency.add(&clone).unwrap(), added);
            drop(buffer);
            assert_eq!(residency.count(), 1 + u64::from(!removed || added));
            drop(clone);
            assert_eq!(residency.count(), 1, "{other:?}");
        }
    }
}

fn r3_memory_removed_by_hand_comes_back_to_the_set(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let buffer = bed.device.alloc(50_000).unwrap();
    let address = buffer.address();
    assert!(residency.remove(&buffer).unwrap());
    submit(&bed);
    drop(buffer);
    let next = bed.device.alloc(50_000).unwrap();
    assert_eq!((next.address(), residency.count()), (address, 1));
    // The driver was told that these bytes go; now it has to hear that they are back.
    let before = told(&bed);
    submit(&bed);
    assert_eq!(told(&bed), before + 1);
}

fn r4_scratch_in_flight_leaves_the_set_and_its_work_is_right(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let mut session = bed.session();
    let out = bed.device.alloc(3 * MIB).unwrap();
    let wanted = pattern(6, 3 * MIB);
    for dedicated in [false, true] {
        let request = Request::new(3 * MIB);
        let scratch = bed.device.alloc(if dedicated { request.dedicated() } else { request }).unwrap();
        scratch.copy_from(&wanted).unwrap();
        let gate = bed.gate(&mut session);
        let mut stage = session.stage("slow");
        stage.copy(&scratch, &out).unwrap();
        let fence = stage.fence().unwrap();
        assert_eq!(residency.count(), 2);
        let before = told(&bed);
        drop(scratch);
        assert_eq!((residency.count(), told(&bed)), (1, before), "the count falls at once");
        let others: Vec<Buffer> = (0..5).map(|_| bed.device.alloc(3 * MIB).unwrap()).collect();
        others.iter().for_each(|other| other.write::<u8>().unwrap().fill(0xEE));
        session.stage("next").submit().unwrap();
        assert_eq!((told(&bed), residency.staged()), (before + 1, 0));
        assert!(!fence.is_done());
        gate.open();
        fence.wait().unwrap();
        holds(&out, &wanted);
        out.write::<u8>().unwrap().fill(0);
        others.iter().for_each(|other| is_filled(other, 0xEE));
    }
}

fn r5_a_device_without_a_set_does_nothing(on: &Setup) {
    let bed = on.open_with(|options| options.residency(false));
    let residency = bed.device.residency();
    assert!(!residency.enabled() && on.open().device.residency().enabled());
    let buffer = bed.device.alloc(Request::new(70_000).dedicated()).unwrap();
    assert!(!residency.add(&buffer).unwrap() && !residency.remove(&buffer).unwrap());
    bed.device.pool().register(&buffer).unwrap();
    if bed.device.caps().unified {
        let outside = bed.device.adopt(vec![0u8; 100]).unwrap();
        bed.device.pool().register(&outside).unwrap();
        assert_eq!(residency.count(), 0);
        let _ = bed.device.pool().unregister(&outside);
    }
    submit(&bed);
    drop(buffer);
    bed.device.pool().trim(0).unwrap();
    submit(&bed);
    assert_eq!((residency.count(), residency.staged(), told(&bed)), (0, 0, 0));
}

fn r6_devices_do_not_see_each_other(on: &Setup) {
    let (one, two) = (on.open(), on.open());
    let held: Vec<_> = (0..5).map(|_| one.device.alloc(1000).unwrap()).collect();
    submit(&one);
    assert_eq!((one.device.residency().count(), told(&one)), (5, 1));
    assert_eq!((two.device.residency().count(), told(&two), two.device.residency().staged()), (0, 0, 0));
    let other = two.device.alloc(1000).unwrap();
    assert_eq!((one.device.residency().count(), two.device.residency().count()), (5, 1));
    drop(held);
    // Pools of one device share its set.
    let pool = Pool::new(&two.device, PoolOptions::default()).unwrap();
    let third = pool.alloc(10).unwrap();
    assert_eq!((one.device.residency().count(), two.device.residency().count()), (0, 2));
    drop(pool);
    assert_eq!(two.device.residency().count(), 2, "{other:?} {third:?}");
    drop(third);
    assert_eq!(two.device.residency().count(), 1);
}

fn r7_nothing_happens_behind_the_back(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let buffer = bed.device.alloc(5 * MIB).unwrap();
    let mut stage = session.stage("use");
    stage.fill(&buffer, 1).unwrap();
    stage.fence().unwrap().wait().unwrap();
    let (calls, staged) = (told(&bed), bed.device.residency().staged());
    session.finish().unwrap().wait().unwrap();
    drop(buffer);
    let after = bed.device.residency().staged();
    thread::sleep(Duration::from_millis(60));
    assert_eq!((told(&bed), staged, bed.device.residency().staged()), (calls, 0, after));
}
