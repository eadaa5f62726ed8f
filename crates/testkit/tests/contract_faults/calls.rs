//! Every driver call fails once, at every place of a workload that uses all of them.

use forebay_device::{
    Arena, Device, Error, NullCall, NullControl, NullOptions, QueueKind, Request, Result, Tag,
};
use testkit::{Bed, Kernels, Setup, Test, tests};

pub(crate) const TESTS: &[Test] = tests! {
    Steered: a_call_that_fails_anywhere_is_told_and_loses_nothing,
        memory_that_runs_out_anywhere_is_told_and_loses_nothing,
        a_refused_submission_leaves_no_trace;
};

const CALLS: [NullCall; 12] = [
    NullCall::RegionReserve,
    NullCall::RegionMap,
    NullCall::RegionUnmap,
    NullCall::RegionRelease,
    NullCall::RegionImport,
    NullCall::Residency,
    NullCall::QueueOpen,
    NullCall::Submit,
    NullCall::KernelLoad,
    NullCall::Graph,
    NullCall::Read,
    NullCall::Write,
];

fn planted() -> Error {
    Error::Driver { call: "planted", code: 77, detail: "for the test".into() }
}

/// Uses memory in every way, and submits in every way.
fn workload(device: &Device, bytes: bool) -> Result<()> {
    let kernels = Kernels::load(device)?;
    let small = device.alloc(300)?;
    let zeroed = device.alloc(Request::new(70_000).zeroed())?;
    let weights = device.alloc(Request::new(3 << 20).tag(Tag::Weights))?;
    let own = device.alloc(Request::new(1 << 20).dedicated())?;
    let batch = device.pool().alloc_batch(&[Request::new(100), Request::new(9 << 20)])?;
    let mut arena = Arena::new(device.pool());
    let scratch = arena.alloc(5000)?;
    if bytes {
        small.copy_from(&[1u32; 75])?;
        assert_eq!(small.to_vec::<u32>()?, [1; 75]);
        let adopted = device.adopt(vec![0u32; 75])?;
        let mut session = device.session()?;
        let mut stage = session.stage("adopted");
        stage.copy(&small, &adopted)?;
        stage.fence()?.wait()?;
        assert_eq!(adopted.to_vec::<u32>()?, [1; 75]);
    }
    let mut session = device.session()?;
    let mut copies = device.session_on(device.queue(QueueKind::Copy)?)?;
    let mut stage = session.stage("records");
    kernels.fill(&mut stage, &zeroed, 3)?;
    stage.copy(&zeroed.slice(..5000)?, &scratch)?;
    let recording = stage.record()?;
    for _ in 0..2 {
        let fence = session.replay(&recording)?;
        let mut stage = copies.stage("copies");
        stage.after(&fence)?;
        stage.copy(&scratch, &weights.slice(..5000)?)?;
        let fence = stage.fence()?;
        let mut stage = session.stage("fills");
        stage.after(&fence)?;
        stage.fill(&own, 1)?;
        stage.submit()?;
    }
    drop((small, weights, own, batch, scratch));
    arena.reset();
    device.pool().trim(0)?;
    let last = session.alloc(2000)?;
    let mut stage = session.stage("last");
    stage.fill(&last, 2)?;
    stage.fence()?.wait()?;
    copies.finish()?.wait()?;
    session.finish()?.wait()
}

/// Opens a device, lets one call fail while the workload runs, and hands everything to `check`. False when the workload
/// does not come that far.
fn fails_at(setup: &Setup, call: NullCall, nth: u64, error: &Error, memory: u64) -> bool {
    let Bed { device, control, .. } =
        setup.open_null(NullOptions::default().memory(memory), |options| options);
    let control: NullControl = control.unwrap();
    let before = control.calls(call);
    control.fail(call, nth, error.clone());
    let outcome = workload(&device, setup.bytes);
    let reached = control.calls(call) - before >= nth;
    let place = format!("{call:?} {nth}");
    match &outcome {
        Ok(()) => {}
        Err(Error::Driver { code: 77, .. }) => assert!(reached, "{place}"),
        Err(Error::Exhausted(_)) if matches!(error, Error::Exhausted(_)) => {}
        Err(other) => panic!("{place}: {other}"),
    }
    // An error that a drop could not return comes once more, and never again.
    let deferred = device.session().and_then(|session| session.finish()).map(drop);
    assert!(
        matches!(deferred, Ok(()) | Err(Error::Driver { code: 77, .. } | Error::Exhausted(_))),
        "{place}"
    );
    let stats = device.pool().stats();
    assert_eq!((stats.in_use, stats.live), (0, 0), "{place}: {stats:?}");
    if reached {
        workload(&device, setup.bytes).unwrap_or_else(|error| panic!("{place}, afterwards: {error}"));
    }
    // Past the end of the workload it is this call that fails, once.
    if !reached && device.pool().trim(0).is_err() {
        assert!(control.calls(call) - before >= nth, "{place}");
    }
    device.pool().trim(0).unwrap();
    drop(device);
    // What the driver did not take back is the driver's.
    if call != NullCall::RegionRelease {
        assert_eq!(control.used(), 0, "{place}");
    }
    reached
}

fn at_every_place(setup: &Setup, calls: &[NullCall], error: &Error) -> u64 {
    let mut places = 0;
    for &call in calls {
        let mut nth = 1;
        while fails_at(setup, call, nth, error, 1 << 30) {
            nth += 1;
            places += 1;
        }
    }
    places
}

fn a_call_that_fails_anywhere_is_told_and_loses_nothing(setup: &Setup) {
    let places = at_every_place(setup, &CALLS, &planted());
    assert!(places > 20, "{places}");
}

fn memory_that_runs_out_anywhere_is_told_and_loses_nothing(setup: &Setup) {
    let places = at_every_place(
        setup,
        &[NullCall::RegionReserve, NullCall::RegionMap],
        &Error::Exhausted(Box::default()),
    );
    assert!(places > 2, "{places}");
}

fn a_refused_submission_leaves_no_trace(setup: &Setup) {
    let bed = setup.open();
    let buffer = bed.device.alloc(4096).unwrap();
    let mut session = bed.session();
    let before = session.stats();
    for fenced in [true, false] {
        bed.control().fail(NullCall::Submit, 1, planted());
        let mut stage = session.stage("refused");
        stage.fill(&buffer, 1).unwrap();
        let outcome = if fenced { stage.fence().map(drop) } else { stage.submit() };
        assert!(matches!(outcome, Err(Error::Driver { code: 77, .. })), "{outcome:?}");
        assert_eq!(session.stats(), before);
        assert_eq!(bed.device.pool().stats().in_use, 1, "the stage still holds the buffer");
        if setup.bytes {
            assert!(buffer.try_write::<u8>().is_ok(), "the buffer waits for work that was never queued");
        }
    }
    let mut stage = session.stage("next");
    assert!(stage.is_empty());
    stage.fill(&buffer, 2).unwrap();
    let fence = stage.fence().unwrap();
    assert_eq!(fence.tick(), 1, "a refused submission takes no tick");
    fence.wait().unwrap();
    assert_eq!(bed.control().submissions().len(), 1);
}
