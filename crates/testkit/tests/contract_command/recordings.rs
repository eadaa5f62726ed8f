//! Recordings: replayed to the same bits, on any queue and session, with buffers that they alone keep.

use forebay_device::{Buffer, Error, QueueKind, Recording, Stage};
use testkit::{Bed, Setup, Test, tests};

use crate::{ODD, filled};

pub(crate) const TESTS: &[Test] = tests! {
    Kernels: k4_a_replay_is_equal_to_the_bit,
        k4_a_recording_keeps_its_buffers,
        k4_recordings_of_two_queues_and_sessions_are_ordered_by_what_they_touch;
    Every: k4_a_replay_is_a_stage_with_a_fence;
    Bytes: k4_a_replay_is_refused_while_the_host_holds_its_bytes,
        k4_a_recording_of_copies_replays_on_a_copy_queue;
};

fn k4_a_replay_is_equal_to_the_bit(setup: &Setup) {
    let bed = setup.open();
    let direct = rounds(&bed, false);
    assert_eq!(direct.len(), 10);
    assert!(direct.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(direct, rounds(&bed, true));
}

/// State and sum after each of ten rounds, whose seeds the host writes in between.
fn rounds(bed: &Bed, replayed: bool) -> Vec<(Vec<u32>, Vec<u32>)> {
    let (state, seed, between) = (filled(bed, 0x9E37_79B9), filled(bed, 0), filled(bed, 0));
    let sum = bed.device.upload(&[0u32]).unwrap();
    let kernels = bed.kernels();
    let mut session = bed.session();
    let record = |stage: &mut Stage<'_>| {
        kernels.add(stage, &state, &state, &between).unwrap();
        kernels.add(stage, &between, &seed, &state).unwrap();
        kernels.reduce_sum(stage, &state, &sum).unwrap();
    };
    let recording = replayed.then(|| {
        let mut stage = session.stage("round");
        record(&mut stage);
        stage.record().unwrap()
    });
    (0..10u32)
        .map(|round| {
            let seeds: Vec<u32> = (0..ODD as u32).map(|i| i.wrapping_mul(round ^ 0x5bd1_e995)).collect();
            seed.copy_from(&seeds).unwrap();
            match &recording {
                Some(recording) => session.replay(recording).unwrap().wait().unwrap(),
                None => {
                    let mut stage = session.stage("round");
                    record(&mut stage);
                    stage.fence().unwrap().wait().unwrap();
                }
            }
            (state.to_vec().unwrap(), sum.to_vec().unwrap())
        })
        .collect()
}

fn k4_a_recording_keeps_its_buffers(setup: &Setup) {
    let bed = setup.open();
    let out = filled(&bed, 0);
    let mut session = bed.session();
    let recording = {
        let hidden = filled(&bed, 21);
        let mut stage = session.stage("kept");
        bed.kernels().add(&mut stage, &hidden, &hidden, &out).unwrap();
        stage.record().unwrap()
    };
    assert_eq!((recording.bindings(), recording.label().as_str()), (2, "kept"));
    assert_eq!(bed.device.pool().stats().in_use, 2);
    // Whoever gets memory now must not get what only the recording holds.
    let others: Vec<Buffer> = (0..8).map(|_| filled(&bed, 9)).collect();
    for _ in 0..3 {
        out.write::<u32>().unwrap().fill(0);
        session.replay(&recording).unwrap().wait().unwrap();
        assert_eq!(out.to_vec::<u32>().unwrap(), vec![42; ODD]);
    }
    drop(others);
    let gate = bed.gate(&mut session);
    out.write::<u32>().unwrap().fill(0);
    let last = session.replay(&recording).unwrap();
    drop(recording);
    let others: Vec<Buffer> = (0..8).map(|_| filled(&bed, 9)).collect();
    gate.open();
    last.wait().unwrap();
    assert_eq!(out.to_vec::<u32>().unwrap(), vec![42; ODD], "a replay in flight keeps them too");
    drop(others);
    assert_eq!(bed.device.pool().stats().in_use, 1);
}

fn k4_recordings_of_two_queues_and_sessions_are_ordered_by_what_they_touch(setup: &Setup) {
    let bed = setup.open();
    let (one, x, y) = (filled(&bed, 1), filled(&bed, 0), filled(&bed, 0));
    let (mut first, mut second, mut beside) = (bed.session(), bed.other_session(), bed.session());
    let kernels = bed.kernels();
    let keep = |session: &mut forebay_device::Session, from: &Buffer, to: &Buffer| -> Recording {
        let mut stage = session.stage("half a round");
        kernels.add(&mut stage, from, &one, to).unwrap();
        stage.record().unwrap()
    };
    let (there, back) = (keep(&mut first, &x, &y), keep(&mut first, &y, &x));
    let gate = bed.gate(&mut first);
    let mut last = None;
    for _ in 0..20 {
        let _ = first.replay(&there).unwrap();
        let _ = second.replay(&back).unwrap();
        let _ = beside.replay(&there).unwrap();
        last = Some(second.replay(&back).unwrap());
    }
    gate.open();
    last.unwrap().wait().unwrap();
    assert_eq!(x.to_vec::<u32>().unwrap(), vec![80; ODD]);
    assert_eq!(y.to_vec::<u32>().unwrap(), vec![79; ODD]);
}

fn k4_a_replay_is_a_stage_with_a_fence(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 3), filled(&bed, 0));
    let mut session = bed.session();
    let mut stage = session.stage("kept");
    bed.kernels().copy(&mut stage, &a, &b).unwrap();
    stage.copy(&b, &a).unwrap();
    let recording = stage.record().unwrap();
    assert_eq!((session.stats().submissions, session.stats().fences), (0, 0), "recording submits nothing");
    for _ in 0..4 {
        session.replay(&recording).unwrap().wait().unwrap();
    }
    assert_eq!((session.stats().submissions, session.stats().fences, session.stats().waits), (4, 4, 3));
    if let Some(control) = &bed.control {
        let seen = control.submissions();
        assert!(seen.iter().all(|seen| seen.replayed && seen.launches == ["copy"] && seen.barriers == 1));
    }
    let other = setup.open();
    let foreign = other.session().replay(&recording).map(drop);
    assert!(matches!(foreign, Err(Error::ForeignDevice { what: "recording", .. })), "{foreign:?}");
    let copies = bed.device.queue(QueueKind::Copy).unwrap();
    let outcome = bed.device.session_on(copies).unwrap().replay(&recording).map(drop);
    assert!(matches!(outcome, Err(Error::Unsupported { .. })), "{outcome:?}");
}

fn k4_a_replay_is_refused_while_the_host_holds_its_bytes(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 3), filled(&bed, 0));
    let mut session = bed.session();
    let mut stage = session.stage("kept");
    stage.copy(&a, &b).unwrap();
    let recording = stage.record().unwrap();
    let write = a.write::<u32>().unwrap();
    assert!(matches!(session.replay(&recording), Err(Error::Busy { .. })));
    drop(write);
    let read = a.read::<u32>().unwrap();
    session.replay(&recording).unwrap().wait().unwrap();
    drop(read);
    let read = b.read::<u32>().unwrap();
    assert!(matches!(session.replay(&recording), Err(Error::Busy { .. })));
    assert_eq!(read[..], [3; ODD]);
    drop(read);
    assert_eq!(session.stats().submissions, 1, "what was refused is not counted");
}

fn k4_a_recording_of_copies_replays_on_a_copy_queue(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 3), filled(&bed, 0));
    let mut session = bed.session();
    let mut stage = session.stage("kept");
    stage.copy(&a, &b).unwrap();
    let recording = stage.record().unwrap();
    let mut copies = bed.device.session_on(bed.device.queue(QueueKind::Copy).unwrap()).unwrap();
    copies.replay(&recording).unwrap().wait().unwrap();
    assert_eq!(b.to_vec::<u32>().unwrap(), vec![3; ODD]);
}
