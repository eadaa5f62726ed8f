//! What a session counts, what is submitted and under which label, and what becomes of a stage that is dropped.

use forebay_device::{Error, Fence, Grid, Session};
use testkit::{BLOCK, Setup, Test, tests};

use crate::{ODD, empty, faulty, filled};

pub(crate) const TESTS: &[Test] = tests! {
    Every: s1_each_fence_counts_once_and_nothing_else_counts,
        s1_a_fence_comes_back_while_the_work_is_held,
        s2_every_stage_waits_for_the_fence_before_it,
        s4_one_event_stands_behind_all_fences,
        s8_a_dropped_stage_leaves_nothing_behind,
        s8_a_forgotten_stage_does_not_reach_the_next,
        s9_a_session_is_lent_from_layer_to_layer,
        s10_a_stage_is_one_submission;
    Bytes: s8_dropping_the_session_does_not_wait_and_its_work_completes,
        s8_the_device_can_go_before_its_work;
    Steered: s2_the_device_is_told_what_to_wait_for,
        s5_each_submission_carries_its_own_label;
    Rust: s5_a_fault_names_the_label_of_its_stage;
    Driven: s5_a_launch_that_the_driver_refuses_names_the_label_of_its_stage;
};

fn s1_each_fence_counts_once_and_nothing_else_counts(setup: &Setup) {
    let bed = setup.open();
    let buffer = empty(&bed);
    let mut session = bed.session();
    assert_eq!(session.stats().fences, 0);
    for count in 1..=3 {
        let mut stage = session.stage("counted");
        for byte in 0..4 {
            stage.fill(&buffer, byte).unwrap();
        }
        assert_eq!(stage.len(), 4);
        let fence = stage.fence().unwrap();
        assert_eq!(session.stats().fences, count);
        session.stage("not counted").submit().unwrap();
        drop(session.stage("dropped"));
        fence.wait().unwrap();
        assert!(fence.is_done());
        assert_eq!(session.stats().fences, count);
    }
    assert_eq!((session.stats().fences, session.stats().submissions), (3, 6));
}

fn s1_a_fence_comes_back_while_the_work_is_held(setup: &Setup) {
    let bed = setup.open();
    let buffer = empty(&bed);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let fences: Vec<Fence> = (0..5)
        .map(|byte| {
            let mut stage = session.stage("held");
            stage.fill(&buffer, byte).unwrap();
            stage.fence().unwrap()
        })
        .collect();
    assert!(fences.iter().all(|fence| !fence.is_done()), "a host waited, or the gate does not hold");
    gate.open();
    fences.iter().rev().for_each(|fence| fence.wait().unwrap());
    if setup.bytes {
        assert_eq!(buffer.to_vec::<u8>().unwrap(), vec![4; buffer.len() as usize]);
    }
}

fn s2_every_stage_waits_for_the_fence_before_it(setup: &Setup) {
    for stages in [1, 2, 5, 40] {
        let bed = setup.open();
        let mut session = bed.session();
        for _ in 0..stages {
            session.stage("fenced").fence().unwrap().wait().unwrap();
        }
        assert_eq!((session.stats().fences, session.stats().waits), (stages, stages - 1));
        session.stage("successor").submit().unwrap();
        assert_eq!((session.stats().fences, session.stats().waits), (stages, stages));
        session.stage("after no fence").submit().unwrap();
        assert_eq!(session.stats().waits, stages);
    }
}

fn s2_the_device_is_told_what_to_wait_for(setup: &Setup) {
    let bed = setup.open();
    let mut session = bed.session();
    let queue = session.queue().id();
    bed.control().hold(queue, true);
    let fences: Vec<Fence> = (0..5).map(|_| session.stage("fenced").fence().unwrap()).collect();
    let waits: Vec<_> = bed.control().submissions().into_iter().map(|seen| seen.waits).collect();
    let wanted: Vec<Vec<_>> = (0..5)
        .map(|i| fences[..i].last().map(|before| (queue, before.tick())).into_iter().collect())
        .collect();
    assert_eq!(waits, wanted);
    for (done, fence) in fences.iter().enumerate() {
        assert!(!fence.is_done());
        assert_eq!(bed.control().pending(queue), 5 - done);
        assert!(bed.control().complete(queue));
        assert!(fence.is_done());
    }
    bed.control().hold(queue, false);
}

fn s4_one_event_stands_behind_all_fences(setup: &Setup) {
    let bed = setup.open();
    let mut session = bed.session();
    session.stage("without").submit().unwrap();
    assert_eq!(session.stats().events, 0);
    for _ in 0..10 {
        session.stage("with").fence().unwrap().wait().unwrap();
        assert_eq!(session.stats().events, 1);
    }
}

fn s5_each_submission_carries_its_own_label(setup: &Setup) {
    let bed = setup.open();
    let mut session = bed.session();
    session.stage("first").submit().unwrap();
    session.stage("renamed").fence_as(String::from("at the fence")).unwrap().wait().unwrap();
    session.stage("").submit().unwrap();
    let recording = session.stage("kept").record().unwrap();
    session.stage(String::from("made up")).submit().unwrap();
    session.replay(&recording).unwrap().wait().unwrap();
    let labels: Vec<_> = bed.control().submissions().into_iter().map(|seen| seen.label).collect();
    assert_eq!(labels, ["first", "at the fence", "", "made up", "kept"]);
}

fn s5_a_fault_names_the_label_of_its_stage(setup: &Setup) {
    let bed = setup.open();
    let kernel = faulty(&bed);
    for label in ["first", "second"] {
        let mut session = bed.session();
        let mut stage = session.stage(label);
        stage.launch(&kernel, Grid::linear(1, 1), &[1u32.into()]).unwrap();
        let Err(Error::KernelFault { kernel, stage, detail }) = stage.fence().unwrap().wait() else {
            panic!("the fault is gone");
        };
        assert_eq!((&*kernel, &*stage), ("faulty", label));
        assert!(detail.contains("planted"), "{detail}");
    }
}

fn s5_a_launch_that_the_driver_refuses_names_the_label_of_its_stage(setup: &Setup) {
    let bed = setup.open();
    let (first, last) = (filled(&bed, 1), filled(&bed, 1));
    for label in ["first", "second"] {
        let mut session = bed.session();
        let mut stage = session.stage(label);
        stage.fill(&first, 0).unwrap();
        let args = [last.arg(), 9u32.into(), 4u32.into()];
        // No card has groups of so many threads.
        stage.launch(&bed.kernels().fill, Grid::linear(1, 1 << 20), &args).unwrap();
        stage.fill(&last, 0).unwrap();
        let fence = stage.fence().unwrap();
        for _ in 0..2 {
            let Err(Error::KernelFault { kernel, stage, .. }) = fence.wait() else {
                panic!("the fault is gone");
            };
            assert_eq!((&*kernel, &*stage), ("fill", label));
        }
        let cascade = session.stage("after it").fence().unwrap().wait();
        assert!(matches!(cascade, Err(Error::KernelFault { .. })), "{cascade:?}");
    }
    let mut session = bed.session();
    let mut stage = session.stage("the queue goes on");
    bed.kernels().fill(&mut stage, &first, 5).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(first.to_vec::<u32>().unwrap(), vec![5; ODD]);
}

fn s8_a_dropped_stage_leaves_nothing_behind(setup: &Setup) {
    let bed = setup.open();
    let kept = filled(&bed, 7);
    let mut session = bed.session();
    for _ in 0..3 {
        let bound = empty(&bed);
        let before = bed.device.pool().stats().in_use;
        let mut stage = session.stage("dropped");
        stage.fill(&kept, 0).unwrap();
        stage.copy(&kept, &bound).unwrap();
        drop(bound);
        assert_eq!(bed.device.pool().stats().in_use, before, "a stage keeps what it binds");
        drop(stage);
        assert_eq!(bed.device.pool().stats().in_use, before - 1, "a dropped stage keeps nothing");
    }
    assert_eq!((session.stats().submissions, session.stats().fences), (0, 0));
    let mut stage = session.stage("next");
    assert_eq!((stage.len(), stage.barriers()), (0, 0));
    let copy = empty(&bed);
    stage.copy(&kept, &copy).unwrap();
    assert_eq!((stage.len(), stage.barriers()), (1, 0), "the dropped stage's ranges are forgotten");
    stage.fence().unwrap().wait().unwrap();
    if setup.bytes {
        assert_eq!(copy.to_vec::<u32>().unwrap(), vec![7; crate::ODD]);
    }
}

fn s8_a_forgotten_stage_does_not_reach_the_next(setup: &Setup) {
    let bed = setup.open();
    let kept = filled(&bed, 7);
    let mut session = bed.session();
    let mut stage = session.stage("forgotten");
    stage.fill(&kept, 0).unwrap();
    std::mem::forget(stage);
    let stage = session.stage("next");
    assert_eq!((stage.len(), stage.barriers()), (0, 0));
    stage.fence().unwrap().wait().unwrap();
    if setup.bytes {
        assert_eq!(kept.to_vec::<u32>().unwrap(), vec![7; crate::ODD]);
    }
}

fn s8_dropping_the_session_does_not_wait_and_its_work_completes(setup: &Setup) {
    let bed = setup.open();
    let (source, target) = (filled(&bed, 7), filled(&bed, 0));
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("left alone");
    stage.copy(&source, &target).unwrap();
    let fence = stage.fence().unwrap();
    drop(session);
    drop(source);
    assert!(!fence.is_done(), "the drop waited, or the gate does not hold");
    // Whoever gets memory now must not get what the copy has yet to read.
    let others: Vec<_> = (0..8).map(|_| filled(&bed, 9)).collect();
    gate.open();
    assert_eq!(target.to_vec::<u32>().unwrap(), vec![7; crate::ODD]);
    fence.wait().unwrap();
    drop(others);

    let mut session = bed.session();
    let mut stage = session.stage("still usable");
    stage.fill(&target, 3).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(target.to_vec::<u8>().unwrap(), vec![3; target.len() as usize]);
}

fn s8_the_device_can_go_before_its_work(setup: &Setup) {
    let bed = setup.open();
    let (source, target) = (filled(&bed, 7), filled(&bed, 0));
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("outlives the device");
    stage.copy(&source, &target).unwrap();
    let fence = stage.fence().unwrap();
    drop((session, source, bed));
    gate.open();
    fence.wait().unwrap();
    assert_eq!(target.to_vec::<u32>().unwrap(), vec![7; crate::ODD]);
}

fn s9_a_session_is_lent_from_layer_to_layer(setup: &Setup) {
    fn layer(session: &mut Session, depth: u64) -> Vec<Fence> {
        let mut fences = vec![session.stage("layer").fence().unwrap()];
        if depth > 1 {
            fences.extend(layer(session, depth - 1));
        }
        fences
    }
    let bed = setup.open();
    let mut session = bed.session();
    let fences = layer(&mut session, 12);
    assert!(fences.windows(2).all(|pair| pair[0].tick() < pair[1].tick()));
    assert_eq!((session.stats().fences, session.stats().waits), (12, 11));
    session.finish().unwrap().wait().unwrap();
    assert!(fences.iter().all(Fence::is_done));
}

fn s10_a_stage_is_one_submission(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (empty(&bed), empty(&bed));
    let mut session = bed.session();
    for _ in 0..5 {
        let mut stage = session.stage("two launches");
        for out in [&a, &b] {
            let args = [out.arg(), 3u32.into(), (crate::ODD as u32).into()];
            stage.launch(&bed.kernels().fill, Grid::linear(4, BLOCK), &args).unwrap();
        }
        stage.fence().unwrap().wait().unwrap();
    }
    assert_eq!(session.stats().submissions, 5);
    if let Some(control) = &bed.control {
        let seen = control.submissions();
        assert_eq!(seen.len(), 5);
        assert!(seen.iter().all(|seen| seen.launches == ["fill", "fill"] && seen.barriers == 0));
    }
}
