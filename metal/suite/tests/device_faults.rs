//! The backend where the device does badly: command buffers that fail, memory that is not there, systems that are old,
//! texts that do not compile; and that nothing is left behind.
//!
//! What a test changes in the software device concerns the whole process, so these run one after the other.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use forebay_device::{
    Buffer, Device, DeviceOptions, Error, Fence, Grid, ImageFormat, KernelDef, Param, PoolOptions, QueueKind,
    Request, Session, Signature,
};
use testkit::{
    BLOCK, Kernels,
    softmetal::{self, Ending},
};

const ODD: usize = 1001;
/// Long enough for what is to end, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn open() -> Device {
    Device::open(&DeviceOptions::metal()).unwrap()
}

fn filled(device: &Device, value: u32) -> Buffer {
    device.upload(&[value; ODD]).unwrap()
}

/// A stage with a launch of `add`.
fn add(
    kernels: &Kernels,
    session: &mut Session,
    label: &'static str,
    a: &Buffer,
    b: &Buffer,
    out: &Buffer,
) -> Fence {
    let mut stage = session.stage(label);
    kernels.add(&mut stage, a, b, out).unwrap();
    stage.fence().unwrap()
}

fn ends(fence: &Fence) -> Result<(), Error> {
    fence.wait_for(PATIENCE)
}

fn is_fault(outcome: &Result<(), Error>, label: &str) -> bool {
    matches!(outcome, Err(Error::KernelFault { kernel, stage, .. }) if &**kernel == "add" && &**stage == label)
}

#[test]
fn a_command_buffer_that_fails_fails_its_stage_and_what_needs_it_and_no_more() {
    let _alone = alone();
    let device = open();
    let kernels = Kernels::load(&device).unwrap();
    let [a, b, c, d] = [1, 2, 0, 0].map(|value| filled(&device, value));
    let mut session = device.session().unwrap();
    let mut other = device.session_on(device.open_queue(QueueKind::Compute).unwrap()).unwrap();
    let mut bystander = device.session().unwrap();
    let good = add(&kernels, &mut session, "good", &a, &b, &c);
    ends(&good).unwrap();
    softmetal::end_next(0, Ending::PageFault);
    let bad = add(&kernels, &mut session, "bad", &a, &b, &d);
    // Committed before anybody knows, and on another queue after it.
    let after = add(&kernels, &mut session, "after", &a, &a, &d);
    let mut stage = other.stage("told to come after");
    stage.after(&bad).unwrap();
    let follower = stage.fence().unwrap();
    let beside = add(&kernels, &mut bystander, "beside", &b, &b, &c);
    for _ in 0..2 {
        assert!(is_fault(&ends(&bad), "bad"), "{:?}", ends(&bad));
        assert!(is_fault(&ends(&after), "bad"), "{:?}", ends(&after));
        assert!(is_fault(&ends(&follower), "bad"), "{:?}", ends(&follower));
        ends(&good).unwrap();
        ends(&beside).unwrap();
    }
    assert_eq!(c.to_vec::<u32>().unwrap(), vec![4; ODD], "the queue goes on");
    let late = session.stage("late").fence().unwrap();
    assert!(is_fault(&ends(&late), "bad"));
    let mut fresh = device.session().unwrap();
    ends(&add(&kernels, &mut fresh, "fresh", &a, &b, &d)).unwrap();
    assert_eq!(d.to_vec::<u32>().unwrap(), vec![3; ODD]);
}

#[test]
fn another_queue_that_waits_on_the_device_for_a_failed_one_goes_on() {
    let _alone = alone();
    let device = open();
    let kernels = Kernels::load(&device).unwrap();
    let [a, b, c] = [1, 2, 0].map(|value| filled(&device, value));
    let mut one = device.session().unwrap();
    let mut two = device.session_on(device.open_queue(QueueKind::Copy).unwrap()).unwrap();
    for after in 0..3 {
        softmetal::end_next(after, Ending::PageFault);
        let writes = [(); 3].map(|()| add(&kernels, &mut one, "writes", &a, &b, &c));
        // For the order alone, so that the failure is none of its own.
        let mut stage = two.stage("overwrites");
        stage.fill(&c, 7).unwrap();
        let overwrites = stage.fence().unwrap();
        ends(&overwrites).unwrap();
        let failed = writes.iter().position(|fence| ends(fence).is_err());
        assert_eq!(failed, Some(after as usize));
        // Who reads what a failed stage should have written is told; a copy that came later is nobody's fault.
        assert!(is_fault(&c.to_vec::<u8>().map(drop), "writes"));
        let seen = filled(&device, 0);
        let mut stage = two.stage("looks");
        stage.copy(&c, &seen).unwrap();
        ends(&stage.fence().unwrap()).unwrap();
        assert_eq!(seen.to_vec::<u8>().unwrap(), vec![7; 4 * ODD]);
        one = device.session().unwrap();
    }
}

#[test]
fn more_work_than_may_fly_at_once_waits_in_line_and_not_the_host() {
    let _alone = alone();
    let device = open();
    let kernels = Kernels::load(&device).unwrap();
    let [one, mut from, mut to] = [1, 0, 0].map(|value| filled(&device, value));
    for profiling in [false, true] {
        let mut session = device.session().unwrap();
        session.set_profiling(profiling);
        let slow = device.alloc(4).unwrap();
        let mut stage = session.stage("slow");
        kernels.spin(&mut stage, &slow, 1, Duration::from_millis(100)).unwrap();
        let held = stage.fence().unwrap();
        // As submissions, and as the commands of one that is profiled.
        let stages = if profiling { 3 } else { 150 };
        for _ in 0..stages {
            let mut stage = session.stage("many");
            for _ in 0..300 / stages {
                kernels.add(&mut stage, &from, &one, &to).unwrap();
                std::mem::swap(&mut from, &mut to);
            }
            stage.submit().unwrap();
        }
        assert!(!held.is_done(), "the host waited for the device");
        ends(&session.finish().unwrap()).unwrap();
    }
    assert_eq!(from.to_vec::<u32>().unwrap(), vec![600; ODD]);
}

#[test]
fn memory_that_runs_out_in_flight_is_told_as_such() {
    let _alone = alone();
    let device = open();
    let mut session = device.session().unwrap();
    softmetal::end_next(0, Ending::OutOfMemory);
    let fence = session.stage("starved").fence().unwrap();
    assert!(matches!(ends(&fence), Err(Error::Exhausted(_))), "{:?}", ends(&fence));
}

#[test]
fn a_removed_device_ends_every_wait_and_lets_go() {
    let _alone = alone();
    let device = open();
    let kernels = Kernels::load(&device).unwrap();
    let [a, b, c] = [1, 2, 0].map(|value| filled(&device, value));
    let mut session = device.session().unwrap();
    let mut other = device.session_on(device.open_queue(QueueKind::Compute).unwrap()).unwrap();
    softmetal::end_next(0, Ending::DeviceRemoved);
    let gone = add(&kernels, &mut session, "gone", &a, &b, &c);
    let mut fences = Vec::new();
    for number in 0..100 {
        let session = if number % 2 == 0 { &mut session } else { &mut other };
        let mut stage = session.stage("after");
        kernels.add(&mut stage, &a, &b, &c).unwrap();
        match stage.fence() {
            Ok(fence) => fences.push(fence),
            Err(error) => assert!(matches!(error, Error::Lost { .. }), "{error}"),
        }
    }
    for fence in fences.iter().chain([&gone]) {
        assert!(matches!(ends(fence), Err(Error::Lost { .. })), "{:?}", ends(fence));
    }
    assert!(matches!(session.stage("late").fence(), Err(Error::Lost { .. })));
    drop((a, b, c, session, other, gone, fences, kernels, device));
}

#[test]
fn a_device_without_memory_says_so_and_goes_on() {
    let _alone = alone();
    let device = open();
    let kept = device.alloc(1000).unwrap();
    softmetal::refuse_buffers(true);
    let asked = device.alloc(Request::new(100 << 20));
    softmetal::refuse_buffers(false);
    assert!(matches!(asked, Err(Error::Exhausted(_))), "{asked:?}");
    assert_eq!(device.alloc(100 << 20).unwrap().len(), 100 << 20);
    assert_eq!(kept.len(), 1000);
}

#[test]
fn older_systems_have_no_residency_set_and_everything_else() {
    let _alone = alone();
    softmetal::set_macos(13);
    let device = open();
    let kernels = Kernels::load(&device).unwrap();
    let [a, b, c] = [1, 2, 0].map(|value| filled(&device, value));
    let mut session = device.session().unwrap();
    ends(&add(&kernels, &mut session, "old", &a, &b, &c)).unwrap();
    assert_eq!(c.to_vec::<u32>().unwrap(), vec![3; ODD]);
    drop((a, b));
    device.pool().trim(0).unwrap();
    ends(&session.finish().unwrap()).unwrap();
    softmetal::set_macos(12);
    let too_old = Device::open(&DeviceOptions::metal());
    softmetal::set_macos(15);
    assert!(
        matches!(&too_old, Err(Error::Unavailable { why, .. }) if why.contains("macOS 13")),
        "{too_old:?}"
    );
}

#[test]
fn a_text_that_does_not_compile_is_told_in_the_compilers_words() {
    let _alone = alone();
    let device = open();
    let load = |text: &str, entry: &str| {
        let def = KernelDef::new("mine", Signature::new([Param::write::<u32>()]));
        device.load(&def.image(ImageFormat::Msl, text.as_bytes(), entry)).map(drop)
    };
    let detail = |outcome: Result<(), Error>| match outcome {
        Err(Error::Module { name, detail }) if name == "mine" => detail,
        other => panic!("{other:?}"),
    };
    let good = "#include <metal_stdlib>\nkernel void k(device uint *out [[buffer(0)]]) { out[0] = 5; }\n";
    assert!(detail(load(&good.replace("= 5", "= nothing"), "k")).contains("nothing"));
    assert!(detail(load(good, "other")).contains("other"));
    assert!(detail(device.load(&KernelDef::new("mine", Signature::new([]))).map(drop)).contains("MSL"));
    load(good, "k").unwrap();
    let kernel = device.kernel("mine").unwrap();
    let out = device.upload(&[0u32; 3]).unwrap();
    let mut session = device.session().unwrap();
    let mut stage = session.stage("mine");
    stage.launch(&kernel, Grid::linear(1, 1), &[out.arg()]).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(out.to_vec::<u32>().unwrap(), [5, 0, 0]);
}

#[test]
fn shared_memory_beyond_the_devices_is_refused_and_what_fits_is_there() {
    let _alone = alone();
    let device = open();
    let text = "#include <metal_stdlib>\nusing namespace metal;\n\
        kernel void last(device uint *out [[buffer(0)]], constant uint &n [[buffer(1)]],\n\
        threadgroup uint *shared [[threadgroup(0)]], uint i [[thread_index_in_threadgroup]]) {\n\
        shared[n - 1 - i] = i;\n threadgroup_barrier(mem_flags::mem_threadgroup);\n out[i] = shared[i];\n}\n";
    let def = KernelDef::new("last", Signature::new([Param::write::<u32>(), Param::u32()]));
    let kernel = device.load(&def.image(ImageFormat::Msl, text.as_bytes(), "last")).unwrap();
    let out = device.upload(&[0u32; BLOCK as usize]).unwrap();
    for (shared_bytes, fits) in
        [(4 * BLOCK, true), (4 * BLOCK + 3, true), (32 << 10, true), ((32 << 10) + 1, false)]
    {
        let mut session = device.session().unwrap();
        let mut stage = session.stage("shares");
        let grid = Grid { shared_bytes, ..Grid::linear(1, BLOCK) };
        stage.launch(&kernel, grid, &[out.arg(), BLOCK.into()]).unwrap();
        let outcome = ends(&stage.fence().unwrap());
        assert_eq!(outcome.is_ok(), fits, "{shared_bytes}: {outcome:?}");
        if outcome.is_ok() {
            let reversed: Vec<u32> = (0..BLOCK).rev().collect();
            assert_eq!(out.to_vec::<u32>().unwrap(), reversed);
        } else {
            assert!(matches!(outcome, Err(Error::KernelFault { .. })), "{outcome:?}");
        }
    }
}

#[test]
fn nothing_is_left_of_a_device_that_was_used_and_dropped() {
    let _alone = alone();
    // Measuring how fast the slow kernel is makes a device that is dropped, too.
    drop(Kernels::load(&open()).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    let before = softmetal::live();
    for round in 0..3 {
        let device = Device::open(&DeviceOptions::metal().pool(PoolOptions::default())).unwrap();
        let kernels = Kernels::load(&device).unwrap();
        let [a, b, c] = [1, 2, 0].map(|value| filled(&device, value));
        let outside = device.adopt(vec![5u32; ODD]).unwrap();
        let mut session = device.session().unwrap();
        session.set_profiling(round == 1);
        for _ in 0..40 {
            let _ = add(&kernels, &mut session, "work", &a, &b, &c);
            let _ = add(&kernels, &mut session, "work", &c, &outside, &b);
        }
        let recording = session.stage("kept").record().unwrap();
        let _ = session.replay(&recording).unwrap();
        if round == 2 {
            softmetal::end_next(0, Ending::PageFault);
            assert!(ends(&add(&kernels, &mut session, "fails", &a, &b, &c)).is_err());
        }
    }
    // The framework lets go of the last handlers, and of what they hold, after the wait for them has ended.
    let start = Instant::now();
    while softmetal::live() != before && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(softmetal::live(), before);
    assert_eq!(softmetal::autoreleased_without_pool(), 0);
}
