//! Hosts that wait: errors that stay, profiles that change nothing, timeouts, cancellation and the loss of a device.

use std::{
    thread,
    time::{Duration, Instant},
};

use forebay_device::{BackendKind, CancelToken, Error, Fence, Grid, NullCall};
use testkit::{Setup, Test, tests};

use crate::{ODD, empty, faulty, filled};

pub(crate) const TESTS: &[Test] = tests! {
    Every: s6_finish_waits_for_stages_with_and_without_a_fence,
        s6_a_session_without_work_is_finished_at_once,
        s13_a_wait_ends_after_its_time_and_the_work_goes_on,
        s13_a_cancelled_wait_ends_and_the_work_goes_on;
    Bytes: s13_a_guard_waits_no_longer_than_it_is_told,
        s12_profiling_does_not_wait;
    Steered: s6_a_failure_is_reported_at_every_wait_and_by_what_follows,
        s12_profiling_changes_no_submission,
        s13_a_lost_device_ends_every_wait,
        s13_a_lost_device_refuses_work_and_can_be_dropped;
    Rust: s6_a_fault_is_reported_at_every_wait;
    Kernels: s12_profiling_changes_neither_data_nor_errors;
};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(10);

fn s6_finish_waits_for_stages_with_and_without_a_fence(setup: &Setup) {
    let bed = setup.open();
    let buffer = empty(&bed);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("fenced");
    stage.fill(&buffer, 1).unwrap();
    let first = stage.fence().unwrap();
    let mut stage = session.stage("submitted");
    stage.fill(&buffer, 2).unwrap();
    stage.submit().unwrap();
    let end = session.finish().unwrap();
    assert!(!first.is_done() && !end.is_done());
    gate.open();
    end.wait().unwrap();
    end.wait().unwrap();
    first.wait().unwrap();
    if setup.bytes {
        assert!(buffer.try_read::<u8>().unwrap().iter().all(|&byte| byte == 2));
    }
}

fn s6_a_session_without_work_is_finished_at_once(setup: &Setup) {
    let bed = setup.open();
    let mut busy = bed.session();
    let gate = bed.gate(&mut busy);
    let end = bed.session().finish().unwrap();
    assert!(end.is_done());
    end.wait().unwrap();
    gate.open();
    busy.finish().unwrap().wait().unwrap();
}

fn is_planted(outcome: &Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::Driver { code: 77, .. }))
}

fn planted() -> Error {
    Error::Driver { call: "planted", code: 77, detail: "for the test".into() }
}

fn s6_a_failure_is_reported_at_every_wait_and_by_what_follows(setup: &Setup) {
    let bed = setup.open();
    let (mut failing, mut other) = (bed.session(), bed.session());
    let queue = failing.queue().id();
    bed.control().hold(queue, true);
    let good = failing.stage("good").fence().unwrap();
    let bad = failing.stage("bad").fence().unwrap();
    let after = failing.stage("after").fence().unwrap();
    let beside = other.stage("beside").fence().unwrap();
    assert!(bed.control().complete(queue));
    assert!(bed.control().complete_with(queue, Err(planted())));
    bed.control().hold(queue, false);
    failing.stage("without a fence").submit().unwrap();
    let end = failing.finish().unwrap();
    for _ in 0..3 {
        good.wait().unwrap();
        beside.wait().unwrap();
        for fence in [&bad, &after, &end] {
            assert!(is_planted(&fence.wait()), "{fence:?}");
            assert!(is_planted(&fence.wait_for(SHORT)));
            assert!(is_planted(&fence.wait_unless(&CancelToken::new())));
            assert!(fence.is_done());
        }
    }
    let follower = {
        let mut stage = other.stage("needs the failed one");
        stage.after(&bad).unwrap();
        stage.fence().unwrap()
    };
    assert!(is_planted(&follower.wait()), "a failure reaches what was told to come after it");
}

fn s6_a_fault_is_reported_at_every_wait(setup: &Setup) {
    let bed = setup.open();
    let kernel = faulty(&bed);
    let mut session = bed.session();
    session.stage("good").fence().unwrap().wait().unwrap();
    let mut stage = session.stage("bad");
    stage.launch(&kernel, Grid::linear(1, 1), &[1u32.into()]).unwrap();
    let bad = stage.fence().unwrap();
    let after = session.stage("after").fence().unwrap();
    session.stage("without a fence").submit().unwrap();
    let end = session.finish().unwrap();
    for fence in [&end, &after, &bad, &bad, &after, &end] {
        let outcome = fence.wait();
        assert!(
            matches!(&outcome, Err(Error::KernelFault { stage, .. }) if &**stage == "bad"),
            "{fence:?}: {outcome:?}"
        );
    }
    // Without a fence of its own a failure reaches what the session does next all the same.
    let mut session = bed.session();
    let mut stage = session.stage("bad");
    stage.launch(&kernel, Grid::linear(1, 1), &[1u32.into()]).unwrap();
    stage.submit().unwrap();
    let next = session.stage("next").fence().unwrap();
    assert!(matches!(next.wait(), Err(Error::KernelFault { .. })));
    let mut session = bed.session();
    session.stage("another session").fence().unwrap().wait().unwrap();
}

fn s12_profiling_changes_no_submission(setup: &Setup) {
    let log = |profiling: bool| {
        let bed = setup.open();
        let (a, b) = (empty(&bed), empty(&bed));
        let (mut session, mut other) = (bed.session(), bed.other_session());
        session.set_profiling(profiling);
        other.set_profiling(profiling);
        for round in 0..4 {
            let mut stage = session.stage("one");
            bed.kernels().fill(&mut stage, &a, round).unwrap();
            bed.kernels().copy(&mut stage, &a, &b).unwrap();
            let fence = stage.fence().unwrap();
            assert_eq!(fence.profile().is_some(), profiling);
            let mut stage = other.stage("two");
            stage.copy(&b, &a).unwrap();
            stage.submit().unwrap();
        }
        bed.control().fail(NullCall::Submit, 1, planted());
        assert!(is_planted(&session.stage("refused").submit()));
        (bed.control().submissions(), session.stats())
    };
    assert_eq!(log(false), log(true));
}

fn s12_profiling_does_not_wait(setup: &Setup) {
    let bed = setup.open();
    let buffer = filled(&bed, 0);
    let mut session = bed.session();
    session.set_profiling(true);
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("profiled");
    stage.fill(&buffer, 3).unwrap();
    let fence = stage.fence().unwrap();
    assert!(!fence.is_done());
    assert_eq!(fence.profile().unwrap().launches.len(), 0, "nothing ran yet");
    gate.open();
    fence.wait().unwrap();
}

fn s12_profiling_changes_neither_data_nor_errors(setup: &Setup) {
    let bed = setup.open();
    let fault = (setup.kind == BackendKind::Cpu).then(|| faulty(&bed));
    for profiling in [false, true] {
        let (a, b, sum) = (filled(&bed, 0), filled(&bed, 0), bed.device.upload(&[0u32]).unwrap());
        let mut session = bed.session();
        session.set_profiling(profiling);
        let mut stage = session.stage("sums");
        bed.kernels().spin(&mut stage, &a, 2, Duration::from_millis(5)).unwrap();
        bed.kernels().add(&mut stage, &a, &a, &b).unwrap();
        bed.kernels().reduce_sum(&mut stage, &b, &sum).unwrap();
        stage.fill(&a, 0).unwrap();
        let fence = stage.fence().unwrap();
        assert_eq!(sum.to_vec::<u32>().unwrap(), [4 * ODD as u32]);
        fence.wait().unwrap();
        if profiling {
            let profile = fence.profile().unwrap();
            let names: Vec<_> = profile.launches.iter().map(|launch| &*launch.kernel).collect();
            assert_eq!(names, ["spin", "add", "reduce_sum", "copy or fill"]);
            assert!(profile.launches[0].took >= Duration::from_millis(5));
            assert!(profile.launches.windows(2).all(|pair| pair[0].start + pair[0].took <= pair[1].start));
        } else {
            assert!(fence.profile().is_none());
        }
        let Some(kernel) = &fault else { continue };
        let mut stage = session.stage("fails");
        stage.launch(kernel, Grid::linear(3, 1), &[1u32.into()]).unwrap();
        assert!(matches!(stage.fence().unwrap().wait(), Err(Error::KernelFault { .. })));
    }
}

fn s13_a_wait_ends_after_its_time_and_the_work_goes_on(setup: &Setup) {
    let bed = setup.open();
    let buffer = filled(&bed, 0);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("held");
    stage.fill(&buffer, 3).unwrap();
    let fence = stage.fence().unwrap();
    for patience in [Duration::ZERO, SHORT] {
        let start = Instant::now();
        let outcome = fence.wait_for(patience);
        assert!(matches!(outcome, Err(Error::Timeout { after }) if after == patience), "{outcome:?}");
        assert!(start.elapsed() >= patience);
    }
    gate.open();
    fence.wait_for(Duration::MAX).unwrap();
    fence.wait_for(Duration::ZERO).unwrap();
    if setup.bytes {
        assert_eq!(buffer.to_vec::<u8>().unwrap(), vec![3; 4 * ODD]);
    }
}

fn s13_a_cancelled_wait_ends_and_the_work_goes_on(setup: &Setup) {
    let bed = setup.open();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let fence = session.stage("held").fence().unwrap();
    let cancel = CancelToken::new();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| fence.wait_unless(&cancel));
        thread::sleep(SHORT);
        assert!(!waiting.is_finished());
        cancel.cancel();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Cancelled)));
    });
    assert!(cancel.is_cancelled() && !fence.is_done());
    assert!(matches!(fence.wait_unless(&cancel), Err(Error::Cancelled)), "it stays cancelled");
    gate.open();
    fence.wait().unwrap();
    fence.wait_unless(&cancel).unwrap();
}

fn s13_a_guard_waits_no_longer_than_it_is_told(setup: &Setup) {
    let bed = setup.open();
    let buffer = filled(&bed, 0);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("held");
    stage.fill(&buffer, 3).unwrap();
    let fence = stage.fence().unwrap();
    assert!(matches!(buffer.read_within::<u32>(SHORT, None), Err(Error::Timeout { .. })));
    let cancel = CancelToken::new();
    cancel.cancel();
    assert!(matches!(buffer.read_within::<u32>(LONG, Some(&cancel)), Err(Error::Cancelled)));
    assert!(matches!(buffer.try_read::<u32>(), Err(Error::Busy { .. })));
    gate.open();
    let read = buffer.read_within::<u32>(LONG, None).unwrap();
    assert!(read.iter().all(|&x| x == 0x0303_0303));
    drop(read);
    fence.wait().unwrap();
}

fn s13_a_lost_device_ends_every_wait(setup: &Setup) {
    let bed = setup.open();
    let (mut session, mut other) = (bed.session(), bed.other_session());
    let buffer = empty(&bed);
    let done = session.stage("done").fence().unwrap();
    for session in [&session, &other] {
        bed.control().hold(session.queue().id(), true);
    }
    let mut stage = session.stage("held");
    stage.fill(&buffer, 1).unwrap();
    let held: Vec<Fence> = vec![stage.fence().unwrap(), other.stage("held").fence().unwrap()];
    let is_lost = |outcome: Result<(), Error>| matches!(outcome, Err(Error::Lost { .. }));
    thread::scope(|threads| {
        let waits: Vec<_> = held
            .iter()
            .flat_map(|fence| {
                [
                    threads.spawn(|| fence.wait()),
                    threads.spawn(|| fence.wait_for(LONG)),
                    threads.spawn(|| fence.wait_unless(&CancelToken::new())),
                ]
            })
            .collect();
        thread::sleep(SHORT);
        bed.control().lose("unplugged");
        assert!(waits.into_iter().all(|wait| is_lost(wait.join().unwrap())));
    });
    for fence in &held {
        assert!(fence.is_done() && is_lost(fence.wait()) && is_lost(fence.wait_for(Duration::ZERO)));
    }
    done.wait().unwrap();
    assert!(is_lost(session.finish().unwrap().wait()));
}

fn s13_a_lost_device_refuses_work_and_can_be_dropped(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 1), filled(&bed, 2));
    let mut session = bed.session();
    let queue = session.queue().id();
    bed.control().hold(queue, true);
    let mut stage = session.stage("held");
    stage.copy(&a, &b).unwrap();
    let held = stage.fence().unwrap();
    let recording = session.stage("kept").record().unwrap();
    bed.control().lose("unplugged");
    assert!(matches!(session.stage("late").fence(), Err(Error::Lost { .. })));
    assert!(matches!(session.replay(&recording), Err(Error::Lost { .. })));
    let control = bed.control().clone();
    // What is lost never runs, so the memory may go; neither letting go nor dropping may touch it afterwards.
    drop((a, b));
    bed.device.pool().trim(0).unwrap();
    control.complete(queue);
    control.hold(queue, false);
    drop((session, recording, bed));
    assert!(matches!(held.wait(), Err(Error::Lost { .. })));
    drop(held);
    assert_eq!(control.used(), 0);
}
