//! What becomes of bytes that failed work was to write.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use forebay_device::{
    CancelToken, Device, DeviceOptions, Error, Grid, KernelDef, NullControl, NullOptions, Param, Signature,
};

fn null() -> (Device, NullControl) {
    NullOptions::default().open(&DeviceOptions::null()).unwrap()
}

fn fault() -> Error {
    Error::KernelFault { kernel: "k".into(), stage: "s".into(), detail: "as planned".into() }
}

#[test]
fn readers_are_told_until_somebody_writes_all_of_it_anew() {
    let (device, control) = null();
    let buffer = device.alloc(64).unwrap();
    let mut session = device.session().unwrap();
    control.hold(0, true);
    let mut stage = session.stage("s");
    stage.fill(&buffer, 1).unwrap();
    let fence = stage.fence().unwrap();
    assert!(control.complete_with(0, Err(fault())));
    for _ in 0..2 {
        assert!(matches!(fence.wait(), Err(Error::KernelFault { .. })));
        assert!(matches!(buffer.read::<u8>(), Err(Error::KernelFault { .. })));
    }
    buffer.slice(..32).unwrap().write::<u8>().unwrap().fill(2);
    assert!(buffer.read::<u8>().is_err(), "half of it is still nobody's result");
    buffer.write::<u8>().unwrap().fill(3);
    assert_eq!(buffer.to_vec::<u8>().unwrap(), [3; 64]);
}

#[test]
fn a_failed_reader_or_an_earlier_owner_that_failed_is_not_the_business_of_the_next() {
    let (device, control) = null();
    let read_only = KernelDef::new("look", Signature::new([Param::read::<u8>()])).cpu(|_| {});
    let look = device.load(&read_only).unwrap();
    let mut session = device.session().unwrap();
    let buffer = session.alloc(4096).unwrap();
    buffer.write::<u8>().unwrap().fill(5);
    control.hold(0, true);
    let mut stage = session.stage("s");
    stage.launch(&look, Grid::linear(1, 1), &[buffer.arg()]).unwrap();
    let _ = stage.fence().unwrap();
    control.complete_with(0, Err(fault()));
    assert_eq!(buffer.to_vec::<u8>().unwrap(), [5; 4096], "who failed only read it");

    // The same bytes, handed on while the work that fails is still queued.
    let mut session = device.session().unwrap();
    let mut stage = session.stage("s");
    stage.fill(&buffer, 1).unwrap();
    let _ = stage.fence().unwrap();
    let address = buffer.address();
    drop(buffer);
    let next = session.alloc(4096).unwrap();
    assert_eq!(next.address(), address, "reused at once on the same queue");
    assert!(matches!(next.try_read::<u8>(), Err(Error::Busy { .. })), "the earlier write is still to come");
    control.complete_with(0, Err(fault()));
    assert!(next.read::<u8>().is_ok(), "its failure is not the new owner's");
}

#[test]
fn a_failure_is_not_hidden_by_a_later_success_of_another_fence() {
    let (device, control) = null();
    control.hold(0, true);
    let (mut a, mut b) = (device.session().unwrap(), device.session().unwrap());
    let (first, second) = (a.stage("fails").fence().unwrap(), b.stage("goes well").fence().unwrap());
    control.complete_with(0, Err(fault()));
    control.complete(0);
    let mut c = device.session().unwrap();
    let mut stage = c.stage("needs both");
    stage.after(&first).unwrap();
    stage.after(&second).unwrap();
    let fence = stage.fence().unwrap();
    control.complete(0);
    assert!(matches!(fence.wait(), Err(Error::KernelFault { .. })));
}

#[test]
fn a_lost_device_lets_no_guard_through() {
    let (device, control) = null();
    let buffer = device.upload(&[1u8; 16]).unwrap();
    control.lose("unplugged");
    assert!(matches!(buffer.read::<u8>(), Err(Error::Lost { .. })));
    assert!(matches!(buffer.write::<u8>(), Err(Error::Lost { .. })));
    assert!(matches!(
        buffer.read_within::<u8>(std::time::Duration::ZERO, Some(&CancelToken::new())),
        Err(Error::Lost { .. })
    ));
}

#[test]
fn a_recording_waits_for_what_the_session_was_told_before_its_replay() {
    let (device, control) = null();
    let mut a = device.session().unwrap();
    let other = device.open_queue(forebay_device::QueueKind::Compute).unwrap();
    let mut b = device.session_on(other).unwrap();
    control.hold(0, true);
    let first = a.stage("slow").fence().unwrap();
    let mut stage = b.stage("kept");
    stage.after(&first).unwrap();
    assert!(matches!(stage.record(), Err(Error::Unsupported { .. })), "a wait would be lost in silence");
    let kept = b.stage("kept").record().unwrap();
    b.after(&first).unwrap();
    let fence = b.replay(&kept).unwrap();
    assert!(!fence.is_done());
    control.complete(0);
    fence.wait().unwrap();
    let again = b.replay(&kept).unwrap();
    again.wait().unwrap();
    assert_eq!(b.stats().waits, 2, "the fence once, and the first replay once");
}

#[test]
fn changes_of_residency_that_cancel_out_do_not_pile_up() {
    let (device, control) = null();
    for _ in 0..10_000 {
        drop(device.alloc(forebay_device::Request::new(256).dedicated()).unwrap());
    }
    assert!(device.residency().staged() < 5_000, "{}", device.residency().staged());
    device.session().unwrap().stage("tells").submit().unwrap();
    assert_eq!(control.calls(forebay_device::NullCall::Residency), 1);
}
