//! Sizes, ranges and handles that cannot be.

use forebay_device::{Device, DeviceOptions, Error, Grid, QueueKind, Request};
use testkit::{BLOCK, Kernels, Setup, Test, tests};

pub(crate) const TESTS: &[Test] = tests! {
    Every: sizes_past_the_device_are_refused_with_the_most_there_is,
        ranges_past_the_end_are_errors,
        what_belongs_to_another_device_is_refused,
        a_queue_too_many_is_refused_and_the_others_work;
    Bytes: a_guard_that_was_leaked_ends_with_its_buffer,
        a_buffer_of_its_own_region_is_not_handed_on;
    Kernels: counts_of_workers_from_one_to_the_most;
};

fn sizes_past_the_device_are_refused_with_the_most_there_is(setup: &Setup) {
    let bed = setup.open();
    let (pool, most) = (bed.device.pool(), bed.device.caps().max_buffer);
    for asked in [most + 1, 1 << 62, u64::MAX - 255, u64::MAX] {
        for request in [Request::new(asked), Request::new(asked).exact(), Request::new(asked).dedicated()] {
            let outcome = pool.alloc(request.zeroed());
            assert!(
                matches!(outcome, Err(Error::TooLarge { asked: told, most: m }) if told == asked && m == most),
                "{asked}: {outcome:?}"
            );
        }
    }
    assert!(matches!(pool.alloc(Request::elements::<u64>(usize::MAX)), Err(Error::TooLarge { .. })));
    assert!(pool.alloc_batch(&vec![Request::new(u64::MAX); 3]).is_err());
    assert_eq!((pool.stats().in_use, pool.stats().live), (0, 0));
    assert_eq!(pool.alloc(1000).unwrap().len(), 1000, "the pool goes on");
}

fn ranges_past_the_end_are_errors(setup: &Setup) {
    let bed = setup.open();
    let buffer = bed.device.alloc(1000).unwrap();
    let inner = buffer.slice(100..200).unwrap();
    let is_out = |outcome: Result<_, Error>| matches!(outcome, Err(Error::OutOfBounds { .. }));
    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    {
        assert!(is_out(buffer.slice(2..1)));
        assert!(is_out(buffer.slice(u64::MAX..0)));
    }
    assert!(
        is_out(buffer.slice(..1001)) && is_out(buffer.slice(..=1000)) && is_out(buffer.slice(..=u64::MAX))
    );
    assert!(
        is_out(buffer.slice(u64::MAX..)) && is_out(inner.slice(..101)) && is_out(inner.slice(0..u64::MAX))
    );
    assert_eq!(inner.slice(100..).unwrap().len(), 0);
    let mut session = bed.session();
    let mut stage = session.stage("lengths");
    assert!(matches!(stage.copy(&buffer, &inner), Err(Error::Length { .. })));
    assert!(stage.copy(&inner, &buffer.slice(150..250).unwrap()).is_err(), "overlap");
    assert!(stage.is_empty());
}

fn what_belongs_to_another_device_is_refused(setup: &Setup) {
    let (ours, theirs) = (setup.open(), setup.open());
    let (mine, foreign) = (ours.device.alloc(64).unwrap(), theirs.device.alloc(64).unwrap());
    let mut their_session = theirs.session();
    let fence = their_session.stage("theirs").fence().unwrap();
    let recording = their_session.stage("theirs").record().unwrap();
    let kernels = Kernels::load(&theirs.device).unwrap();
    let named = |outcome: Result<(), Error>, wanted: &str| match outcome {
        Err(Error::ForeignDevice { what, .. }) => assert_eq!(what, wanted),
        other => panic!("{wanted}: {other:?}"),
    };
    let mut session = ours.session();
    named(session.replay(&recording).map(drop), "recording");
    let mut stage = session.stage("ours");
    named(stage.after(&fence), "fence");
    named(stage.fill(&foreign, 1), "buffer");
    named(stage.copy(&mine, &foreign), "buffer");
    named(stage.copy(&foreign, &mine), "buffer");
    named(kernels.fill(&mut stage, &mine, 1), "kernel");
    let args = [foreign.arg(), 1u32.into(), 1u32.into()];
    named(stage.launch(&ours.kernels().fill, Grid::linear(1, BLOCK), &args), "buffer");
    assert!(stage.is_empty());
    drop(stage);
    named(ours.device.pool().register(&foreign), "buffer");
    named(ours.device.residency().add(&foreign).map(drop), "buffer");
    named(ours.device.residency().remove(&foreign).map(drop), "buffer");
    assert!(!ours.device.pool().unregister(&foreign));
    for kind in [QueueKind::Compute, QueueKind::Copy] {
        named(ours.device.session_on(theirs.device.open_queue(kind).unwrap()).map(drop), "queue");
    }
    let queue = theirs.device.open_queue(QueueKind::Compute).unwrap();
    drop((their_session, fence, recording, kernels, foreign, theirs));
    named(ours.device.session_on(queue).map(drop), "queue");
    session.stage("still works").fence().unwrap().wait().unwrap();
}

fn a_queue_too_many_is_refused_and_the_others_work(setup: &Setup) {
    let bed = setup.open();
    let buffer = bed.device.alloc(1 << 12).unwrap();
    let mut sessions = Vec::new();
    let refused = loop {
        let kind = if sessions.len() % 2 == 0 { QueueKind::Compute } else { QueueKind::Copy };
        match bed.device.open_queue(kind) {
            Ok(queue) => sessions.push(bed.device.session_on(queue).unwrap()),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Error::Option { name: "queues", .. }), "{refused:?}");
    assert_eq!(sessions.len(), 16);
    for round in 0..20u8 {
        for (at, session) in sessions.iter_mut().enumerate() {
            let mut stage = session.stage("one of many");
            stage.fill(&buffer, round.wrapping_mul(16) + at as u8).unwrap();
            stage.submit().unwrap();
        }
    }
    for session in sessions {
        session.finish().unwrap().wait().unwrap();
    }
    if setup.bytes {
        let last = 19u8.wrapping_mul(16) + 15;
        assert_eq!(
            buffer.to_vec::<u8>().unwrap(),
            vec![last; 1 << 12],
            "each queue waited for the one before it"
        );
    }
}

fn a_guard_that_was_leaked_ends_with_its_buffer(setup: &Setup) {
    let bed = setup.open();
    for writes in [false, true] {
        let buffer = bed.device.alloc(3000).unwrap();
        match writes {
            true => std::mem::forget(buffer.write::<u8>().unwrap()),
            false => std::mem::forget(buffer.read::<u8>().unwrap()),
        }
        assert!(matches!(buffer.write::<u8>().map(drop), Err(Error::Busy { .. })), "it still stands");
        drop(buffer);
        let next: Vec<_> = (0..70).map(|_| bed.device.alloc(3000).unwrap()).collect();
        assert!(next.iter().all(|buffer| buffer.write::<u8>().is_ok()), "the next owner is refused");
    }
}

fn a_buffer_of_its_own_region_is_not_handed_on(setup: &Setup) {
    let bed = setup.open();
    let keeper = bed.device.alloc(64).unwrap();
    let mut session = bed.session();
    let reserved = bed.device.pool().stats().reserved;
    for len in [4096u64, 900_000, 5 << 20] {
        let own = bed.device.alloc(Request::new(len).dedicated()).unwrap();
        let gate = bed.gate(&mut session);
        let mut stage = session.stage("in flight");
        stage.fill(&own, 1).unwrap();
        let fence = stage.fence().unwrap();
        drop(own);
        let next: Vec<_> = (0..4).map(|_| session.alloc(len - len / 20).unwrap()).collect();
        gate.open();
        fence.wait().unwrap();
        drop(next);
        bed.device.pool().trim(0).unwrap();
        assert!(bed.device.pool().stats().reserved <= reserved, "{len}: it did not go back as it came");
    }
    drop(keeper);
}

fn counts_of_workers_from_one_to_the_most(setup: &Setup) {
    if setup.kind != forebay_device::BackendKind::Cpu || setup.threads.is_some() {
        return;
    }
    for threads in [0, 1025, usize::MAX] {
        let outcome = Device::open(&DeviceOptions::cpu().threads(threads));
        assert!(matches!(outcome, Err(Error::Option { name: "threads", .. })), "{threads}");
    }
    for threads in [1, 2, 7, 64, 300] {
        let device = Device::open(&DeviceOptions::cpu().threads(threads)).unwrap();
        assert_eq!(device.caps().workers, threads);
        let kernels = Kernels::load(&device).unwrap();
        let [a, b] = [0; 2].map(|_| device.alloc(4 * 30_001).unwrap());
        let sum = device.alloc(4).unwrap();
        let mut session = device.session().unwrap();
        for round in 1..4 {
            let mut stage = session.stage("shared by many");
            kernels.fill(&mut stage, &a, round).unwrap();
            kernels.add(&mut stage, &a, &a, &b).unwrap();
            kernels.reduce_sum(&mut stage, &b, &sum).unwrap();
            stage.fence().unwrap().wait().unwrap();
            assert_eq!(sum.to_vec::<u32>().unwrap(), [2 * round * 30_001], "{threads} workers");
        }
    }
}
