//! What goes in an unusual order, and what a failing driver may not lose.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use forebay_device::{
    Arena, Buffer, Device, DeviceOptions, Error, Grid, KernelDef, NullCall, NullControl, NullOptions, Param,
    Pool, PoolOptions, Request, Signature,
};

const MIB: u64 = 1 << 20;

fn null(options: NullOptions, device: DeviceOptions) -> (Device, NullControl) {
    options.open(&device).unwrap()
}

/// Submits a fill of the buffer, which stays queued until the test completes it.
fn use_later(device: &Device, control: &NullControl, buffer: &Buffer) {
    control.hold(0, true);
    let mut session = device.session().unwrap();
    let mut stage = session.stage("held");
    stage.fill(buffer, 7).unwrap();
    stage.submit().unwrap();
}

#[test]
fn what_a_lost_device_still_had_in_line_never_runs() {
    let (device, control) = null(NullOptions::default(), DeviceOptions::null());
    let buffer = device.alloc(64 * MIB).unwrap();
    use_later(&device, &control, &buffer);
    control.lose("unplugged");
    drop(buffer);
    device.pool().trim(0).unwrap();
    // The bytes are no longer there: carrying the fill out would end the process.
    control.complete(0);
    assert_eq!(control.pending(0), 0);
    drop(device);
}

#[test]
fn elements_without_size_fail_the_stage() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let def = KernelDef::new("nothing", Signature::new([Param::read::<[u64; 0]>()])).cpu(|group| {
        assert!(group.read::<[u64; 0]>(0).as_ptr().is_aligned());
        std::hint::black_box(group.read::<[u64; 0]>(0).len());
    });
    let kernel = device.load(&def).unwrap();
    let buffer = device.alloc(16).unwrap().slice(1..).unwrap();
    let mut session = device.session().unwrap();
    let mut stage = session.stage("nothing");
    stage.launch(&kernel, Grid::linear(1, 1), &[buffer.arg()]).unwrap();
    let failed = stage.fence().unwrap().wait();
    assert!(
        matches!(&failed, Err(Error::KernelFault { detail, .. }) if detail.contains("no size")),
        "{failed:?}"
    );
}

#[test]
fn a_driver_that_fails_while_room_is_made_loses_nothing() {
    for page in [2 * MIB, 0] {
        let limited = DeviceOptions::null().pool(PoolOptions::default().limit(64 * MIB));
        let (device, control) = null(NullOptions::default().page(page), limited);
        let pool = device.pool();
        let [low, between, high] = [28, 2, 28].map(|mib| pool.alloc(mib * MIB).unwrap());
        drop((low, high));
        let call = if page == 0 { NullCall::RegionRelease } else { NullCall::RegionUnmap };
        control.fail(call, 1, Error::Driver { call: "unmap", code: 1, detail: "no".into() });
        let failed = pool.alloc(40 * MIB);
        assert!(matches!(failed, Err(Error::Driver { .. })), "{page}: {failed:?}");
        let stats = pool.stats();
        assert_eq!(stats.reserved, stats.taken + stats.retiring + stats.free, "{page}: {stats:?}");
        assert_eq!(control.used(), stats.reserved, "{page}: the driver counts what the pool counts");
        drop(between);
        let all = pool.alloc(64 * MIB);
        assert!(all.is_ok(), "{page}: {all:?}");
    }
}

#[test]
fn address_space_that_runs_out_climbs_the_ladder_too() {
    let (device, control) = null(NullOptions::default(), DeviceOptions::null());
    for nth in 1..100 {
        control.fail(NullCall::RegionReserve, nth, Error::Exhausted(Box::default()));
    }
    let refused = device.alloc(MIB);
    assert!(matches!(&refused, Err(Error::Exhausted(report)) if report.asked == MIB), "{refused:?}");
}

#[test]
fn sizes_past_what_one_region_can_hold_are_too_large_and_take_nothing() {
    for page in [2 * MIB, 0] {
        let options = NullOptions::default().memory(u64::MAX).page(page).backed(false);
        let (device, control) = null(options, DeviceOptions::null());
        for bytes in [2 << 40, u64::MAX - 1000, u64::MAX] {
            for request in [Request::new(bytes), Request::new(bytes).dedicated()] {
                let refused = device.alloc(request);
                assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
            }
        }
        assert_eq!((control.used(), control.calls(NullCall::RegionReserve)), (0, 0));
    }
}

#[test]
fn a_report_never_names_who_has_the_lease_of_a_freed_block_now() {
    let (device, _control) = null(NullOptions::default(), DeviceOptions::null());
    let pool = Pool::new(&device, PoolOptions::default()).unwrap();
    let mut arena = Arena::new(&pool);
    let mut cuts: Vec<_> = (0..64).map(|_| arena.alloc(256).unwrap()).collect();
    let before = pool.alloc(Request::new(4096).label("before")).unwrap();
    assert!(pool.report().beside_largest.contains(&"before".to_owned()), "{:?}", pool.report());
    drop(before);
    // The block is kept whole beside the hole; its lease is the next that the arena cuts, without the pool's lock.
    cuts.push(arena.alloc(Request::new(256).label("cut")).unwrap());
    let beside = pool.report().beside_largest;
    assert!(beside.iter().all(|label| label != "cut" && label != "before"), "{beside:?}");
}

#[test]
fn a_kernel_may_drop_the_last_handle_on_its_own_device() {
    for threads in [1, 2] {
        let device = Device::open(&DeviceOptions::cpu().threads(threads)).unwrap();
        let last = Arc::new(std::sync::Mutex::new(Some(device.clone())));
        let (go_on, wait) = mpsc::sync_channel(1);
        let wait = std::sync::Mutex::new(wait);
        let (tell, hear) = mpsc::sync_channel(1);
        let params = [Param::write::<u8>().per_group(64)];
        let def = KernelDef::new("closing", Signature::new(params)).cpu(move |group| {
            let bytes = group.write::<u8>(0);
            // On the last worker, which is no queue's own thread if there are two.
            if group.index() == 1 {
                let own = last.lock().unwrap().take();
                wait.lock().unwrap().recv().unwrap();
                drop(own);
                bytes.fill(1);
                tell.send(bytes[63]).unwrap();
            }
        });
        let kernel = device.load(&def).unwrap();
        let buffer = device.alloc(128).unwrap();
        let mut session = device.session().unwrap();
        let mut stage = session.stage("closing");
        stage.launch(&kernel, Grid::linear(2, 1), &[buffer.arg()]).unwrap();
        stage.submit().unwrap();
        drop((buffer, session, kernel, def, device));
        go_on.send(()).unwrap();
        assert_eq!(hear.recv_timeout(Duration::from_secs(10)), Ok(1), "{threads} workers");
    }
}

#[test]
fn a_guard_that_was_forgotten_does_not_outlive_its_buffer() {
    let (device, _control) = null(NullOptions::default(), DeviceOptions::null());
    let buffer = device.alloc(4096).unwrap();
    std::mem::forget(buffer.write::<u8>().unwrap());
    assert!(buffer.read::<u8>().is_err(), "it is still the writer's");
    drop(buffer);
    let next = device.alloc(4096).unwrap();
    next.write::<u8>().unwrap().fill(1);

    let mut arena = Arena::new(device.pool());
    for _ in 0..3 {
        let cut = arena.alloc(512).unwrap();
        std::mem::forget(cut.write::<u8>().unwrap());
        drop(cut);
        let _ = arena.reset();
    }
}

#[test]
fn a_kernel_that_no_launch_could_serve_is_refused_when_it_is_loaded() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let kernel = |name: &str, count| {
        let params: Vec<_> = (0..count).map(|_| Param::read::<u8>()).collect();
        KernelDef::new(name, Signature::new(params)).cpu(|_| {})
    };
    assert!(device.load(&kernel("most", 24)).is_ok());
    let refused = device.load(&kernel("too many", 25)).unwrap_err();
    assert!(matches!(&refused, Error::Module { name, .. } if name == "too many"), "{refused}");
}

#[test]
fn the_cpu_promises_no_more_memory_than_there_is() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let memory = device.caps().memory;
    let pool = Pool::new(&device, PoolOptions::default()).unwrap();
    // Nothing is touched, so the system itself would go along with all of it.
    let half = pool.alloc(Request::new(memory / 2).exact()).unwrap();
    let refused = pool.alloc(Request::new(memory / 2 + (64 << 20)).exact()).unwrap_err();
    assert!(matches!(refused, Error::Exhausted(_)), "{refused}");
    drop(half);
    assert!(pool.alloc(Request::new(memory / 2 + (64 << 20)).exact()).is_ok());
}

#[test]
fn a_batch_asks_the_program_before_it_is_refused() {
    let (device, _control) = null(NullOptions::default(), DeviceOptions::null());
    let spare = Arc::new(std::sync::Mutex::new(Vec::new()));
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (from, heard) = (spare.clone(), asked.clone());
    let options = PoolOptions::default().limit(8 << 20).on_pressure(move |lacks| {
        heard.lock().unwrap().push(lacks);
        from.lock().unwrap().drain(..).map(|buffer: forebay_device::Buffer| buffer.len()).sum()
    });
    let pool = Pool::new(&device, options).unwrap();
    spare.lock().unwrap().push(pool.alloc(6 << 20).unwrap());
    let two = [Request::new(2 << 20), Request::new(2 << 20)];
    assert_eq!(pool.alloc_batch(&two).unwrap().len(), 2, "what was spare is gone");
    assert_eq!(*asked.lock().unwrap(), [2 << 20]);
    let _both = pool.alloc(5 << 20).unwrap();
    assert!(matches!(pool.alloc_batch(&two), Err(Error::LimitExceeded(_))), "nothing is spare any more");
    assert_eq!(pool.stats().in_use, 1);
}
