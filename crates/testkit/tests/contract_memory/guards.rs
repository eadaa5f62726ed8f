//! B6: the host touches bytes through guards that wait for the device and keep others out.

use std::{thread, time::Duration};

use forebay_device::{Buffer, CancelToken, Error, Holder};
use testkit::{Setup, Test};

use crate::{holds, is_filled, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Bytes:
        b6_many_read_or_one_writes,
        b6_guards_of_other_bytes_do_not_meet,
        b6_work_on_guarded_bytes_is_refused_and_other_work_is_not,
        b6_a_guard_waits_for_the_device,
        b6_reading_does_not_wait_for_readers,
        b6_a_wait_ends_by_time_or_by_cancel,
        b6_a_recording_is_refused_like_a_stage,
        b6_threads_never_hold_two_writers;
};

fn busy<T>(result: Result<T, Error>) -> Holder {
    match result {
        Err(Error::Busy { holder, .. }) => holder,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("busy was expected"),
    }
}

fn b6_many_read_or_one_writes(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.upload(&pattern(1, 1000)).unwrap();
    let clone = buffer.clone();
    {
        let (one, two) = (buffer.read::<u8>().unwrap(), clone.try_read::<u32>().unwrap());
        assert_eq!((one.len(), two.len()), (1000, 250));
        assert_eq!(busy(clone.write::<u8>()), Holder::HostRead);
        assert_eq!(busy(buffer.slice(999..).unwrap().try_write::<u8>()), Holder::HostRead);
        assert_eq!(busy(buffer.copy_from(&pattern(2, 1000))), Holder::HostRead);
        drop(one);
        assert_eq!(busy(clone.write::<u8>()), Holder::HostRead, "the other still reads");
    }
    holds(&buffer, &pattern(1, 1000));
    let mut guard = clone.write::<u8>().unwrap();
    guard[999] = 1;
    assert_eq!(busy(buffer.read::<u8>()), Holder::HostWrite);
    assert_eq!(busy(buffer.try_write::<u8>()), Holder::HostWrite);
    assert_eq!(busy(buffer.slice(999..1000).unwrap().to_vec::<u8>()), Holder::HostWrite);
    drop(guard);
    assert_eq!(buffer.read::<u8>().unwrap()[999], 1);
}

fn b6_guards_of_other_bytes_do_not_meet(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.upload(&[0u8; 1000]).unwrap();
    let parts: Vec<Buffer> = (0..10).map(|i| buffer.slice(i * 100..(i + 1) * 100).unwrap()).collect();
    let mut guards: Vec<_> = parts.iter().map(|part| part.write::<u8>().unwrap()).collect();
    for (i, guard) in guards.iter_mut().enumerate() {
        guard.fill(i as u8);
    }
    let (across, empty) = (buffer.slice(99..101).unwrap(), buffer.slice(50..50).unwrap());
    assert_eq!(busy(across.read::<u8>()), Holder::HostWrite);
    assert_eq!(empty.write::<u8>().unwrap().len(), 0, "no bytes clash with nothing");
    drop(guards.remove(0));
    assert_eq!(busy(across.read::<u8>()), Holder::HostWrite, "half of it is free");
    drop(guards.remove(0));
    assert_eq!(across.to_vec::<u8>().unwrap(), [0, 1]);
    let neighbour = bed.device.alloc(1000).unwrap();
    neighbour.write::<u8>().unwrap().fill(9);
    drop(guards);
    let wanted: Vec<u8> = (0..1000u32).map(|i| (i / 100) as u8).collect();
    holds(&buffer, &wanted);
}

fn b6_work_on_guarded_bytes_is_refused_and_other_work_is_not(on: &Setup) {
    let bed = on.open();
    let (buffer, other) = (bed.device.upload(&[1u8; 1000]).unwrap(), bed.device.upload(&[2u8; 500]).unwrap());
    let (low, high) = (buffer.slice(..500).unwrap(), buffer.slice(500..).unwrap());
    let mut session = bed.session();
    // What the host holds of the lower half, and what work then may do with both halves.
    for writes in [true, false] {
        let guards =
            (writes.then(|| low.write::<u8>().unwrap()), (!writes).then(|| low.read::<u8>().unwrap()));
        let holder = if writes { Holder::HostWrite } else { Holder::HostRead };
        let mut stage = session.stage("writes guarded bytes");
        stage.fill(&low.slice(499..).unwrap(), 7).unwrap();
        assert_eq!(busy(stage.fence()), holder);
        let mut stage = session.stage("reads guarded bytes");
        stage.copy(&low, &other).unwrap();
        let read = stage.fence();
        assert_eq!(read.is_ok(), !writes, "reading together is fine");
        let mut stage = session.stage("whole");
        stage.fill(&buffer, 7).unwrap();
        assert_eq!(busy(stage.submit()), holder);
        let mut stage = session.stage("other half");
        stage.fill(&high, 3).unwrap();
        stage.fence().unwrap().wait().unwrap();
        drop(guards);
    }
    // What was refused has changed nothing and stands in no one's way.
    is_filled(&low, 1);
    is_filled(&high, 3);
    let mut stage = session.stage("whole");
    stage.fill(&buffer, 7).unwrap();
    stage.fence().unwrap().wait().unwrap();
    is_filled(&buffer, 7);
}

fn b6_a_guard_waits_for_the_device(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let (buffer, out) = (bed.device.upload(&[1u8; 5000]).unwrap(), bed.device.upload(&[0u8; 5000]).unwrap());
    for round in 0..5u8 {
        let gate = bed.gate(&mut session);
        let mut stage = session.stage("slow");
        stage.copy(&buffer, &out).unwrap();
        stage.fill(&buffer, 100 + round).unwrap();
        stage.submit().unwrap();
        assert_eq!(busy(buffer.try_read::<u8>()), Holder::Device);
        assert_eq!(busy(buffer.try_write::<u8>()), Holder::Device);
        assert_eq!(busy(out.try_read::<u8>()), Holder::Device);
        thread::scope(|threads| {
            threads.spawn(|| buffer.slice(7..4000).unwrap().write::<u8>().unwrap().fill(round));
            threads.spawn(|| is_filled(&out, if round == 0 { 1 } else { 99 + round }));
            thread::sleep(Duration::from_millis(3));
            gate.open();
        });
        let got = buffer.to_vec::<u8>().unwrap();
        assert!(got[7..4000].iter().all(|&byte| byte == round), "the host came after the device");
        assert!(got[..7].iter().chain(&got[4000..]).all(|&byte| byte == 100 + round));
        buffer.write::<u8>().unwrap().fill(100 + round);
    }
}

fn b6_reading_does_not_wait_for_readers(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let (buffer, out) = (bed.device.upload(&[1u8; 100]).unwrap(), bed.device.alloc(100).unwrap());
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("slow read");
    stage.copy(&buffer, &out).unwrap();
    let fence = stage.fence().unwrap();
    is_filled(&buffer, 1);
    assert!(!fence.is_done());
    assert_eq!(busy(buffer.try_write::<u8>()), Holder::Device, "writing does");
    gate.open();
    buffer.write::<u8>().unwrap().fill(2);
    is_filled(&out, 1);
}

fn b6_a_wait_ends_by_time_or_by_cancel(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let buffer = bed.device.upload(&[1u8; 100]).unwrap();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("slow");
    stage.fill(&buffer, 2).unwrap();
    stage.submit().unwrap();
    let short = Duration::from_millis(5);
    assert!(matches!(buffer.read_within::<u8>(short, None), Err(Error::Timeout { after }) if after == short));
    let token = CancelToken::new();
    thread::scope(|threads| {
        let waiter = threads.spawn(|| buffer.read_within::<u8>(Duration::from_secs(25), Some(&token)).err());
        thread::sleep(short);
        token.cancel();
        assert!(matches!(waiter.join().unwrap(), Some(Error::Cancelled)));
    });
    gate.open();
    assert_eq!(*buffer.read_within::<u8>(Duration::from_secs(25), None).unwrap(), [2; 100]);
}

fn b6_a_recording_is_refused_like_a_stage(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let (from, to) = (bed.device.upload(&[1u8; 64]).unwrap(), bed.device.upload(&[0u8; 64]).unwrap());
    let mut stage = session.stage("copy");
    stage.copy(&from, &to).unwrap();
    let recording = stage.record().unwrap();
    let guard = to.slice(63..).unwrap();
    let guard = guard.write::<u8>().unwrap();
    assert_eq!(busy(session.replay(&recording)), Holder::HostWrite);
    drop(guard);
    is_filled(&to, 0);
    session.replay(&recording).unwrap().wait().unwrap();
    is_filled(&to, 1);
}

fn b6_threads_never_hold_two_writers(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.upload(&[0u64; 64]).unwrap();
    let rounds = 300;
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let mut done = 0;
                while done < rounds {
                    // Adding one to each in two steps shows anybody who comes between them.
                    if let Ok(mut guard) = buffer.try_write::<u64>() {
                        let before = guard[0];
                        assert!(guard.iter().all(|&x| x == before));
                        guard.iter_mut().for_each(|x| *x += 1);
                        done += 1;
                    } else {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(buffer.to_vec::<u64>().unwrap(), [4 * rounds; 64]);
}
