//! P9: memory that queued work still uses goes to the same queue at once, and to everybody else when the work is done.
//!
//! Each test holds work back, lets go of what the work reads, and tries to overwrite it in every way there is. What the
//! work copied shows whether somebody came too early.

use std::{thread, time::Duration};

use forebay_device::{Buffer, Fence, Pool, PoolOptions, Request, Session};
use testkit::{Bed, Setup, Test};

use crate::{KIB, MIB, holds, is_filled, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Bytes:
        p9_the_same_queue_goes_on_at_once,
        p9_another_queue_and_the_host_get_other_memory,
        p9_another_queue_waits_for_memory_taken_early,
        p9_the_host_waits_for_memory_taken_early,
        p9_what_two_queues_use_is_taken_early_by_neither,
        p9_zeroed_memory_is_never_taken_early,
        p9_a_pool_without_other_memory_waits,
        p9_memory_in_flight_is_not_trimmed,
        p9_slices_hold_back_the_whole_range,
        p9_a_pool_that_goes_leaves_its_memory_to_the_work,
        p9_dedicated_memory_is_not_taken_early;
    Kernels:
        p9_kernels_never_see_memory_given_away;
};

const LEN: u64 = 300 * KIB + 4;

/// Work that is held back and copies a buffer which nobody holds any more.
struct InFlight {
    /// Where the bytes were.
    address: u64,
    wanted: Vec<u8>,
    out: Buffer,
    copied: Fence,
}

impl InFlight {
    fn start(bed: &Bed, session: &mut Session, pool: &Pool) -> Self {
        Self::start_with(bed, session, pool.alloc(LEN).unwrap())
    }

    fn start_with(bed: &Bed, session: &mut Session, source: Buffer) -> Self {
        let wanted = pattern(source.address(), source.len());
        source.copy_from(&wanted).unwrap();
        let out = bed.device.alloc(source.len()).unwrap();
        let mut stage = session.stage("slow copy");
        stage.copy(&source, &out).unwrap();
        let copied = stage.fence().unwrap();
        Self { address: source.address(), wanted, out, copied }
    }

    fn check(self) {
        self.copied.wait().unwrap();
        holds(&self.out, &self.wanted);
    }
}

fn fill(session: &mut Session, buffer: &Buffer, byte: u8) -> Fence {
    let mut stage = session.stage("fill");
    stage.fill(buffer, byte).unwrap();
    stage.fence().unwrap()
}

fn p9_the_same_queue_goes_on_at_once(on: &Setup) {
    let bed = on.open();
    let (mut session, pool) = (bed.session(), bed.device.pool());
    let gate = bed.gate(&mut session);
    let first = InFlight::start(&bed, &mut session, pool);
    // Three more owners of the same bytes, one after the other, without a wait.
    let mut results = Vec::new();
    for byte in 1..4 {
        let before = pool.stats().early_reuses;
        let again = session.alloc(LEN).unwrap();
        assert_eq!(again.address(), first.address);
        assert_eq!(pool.stats().early_reuses, before + 1);
        let out = bed.device.alloc(LEN).unwrap();
        let mut stage = session.stage("again");
        stage.fill(&again, byte).unwrap();
        stage.copy(&again, &out).unwrap();
        stage.submit().unwrap();
        results.push((byte, out));
    }
    assert!(!first.copied.is_done());
    gate.open();
    first.check();
    results.iter().for_each(|(byte, out)| is_filled(out, *byte));
}

fn p9_another_queue_and_the_host_get_other_memory(on: &Setup) {
    let bed = on.open();
    let (mut slow, mut quick) = (bed.session(), bed.other_session());
    let gate = bed.gate(&mut slow);
    let first = InFlight::start(&bed, &mut slow, bed.device.pool());
    let mut others = Vec::new();
    for i in 0..20u8 {
        let (theirs, ours) = (quick.alloc(LEN).unwrap(), bed.device.alloc(LEN).unwrap());
        let _ = fill(&mut quick, &theirs, 0xE0 + i);
        ours.write::<u8>().unwrap().fill(i);
        assert!(![&theirs, &ours].iter().any(|other| other.address() == first.address));
        others.push((i, theirs, ours));
    }
    assert!(!first.copied.is_done(), "the gate is closed");
    for (i, theirs, ours) in &others {
        is_filled(theirs, 0xE0 + i);
        is_filled(ours, *i);
    }
    drop(others);
    gate.open();
    let address = first.address;
    first.check();
    // Now it is free for all.
    let all: Vec<_> = (0..60).map(|_| bed.device.alloc(LEN).unwrap()).collect();
    assert!(all.iter().any(|buffer| buffer.address() == address));
}

fn p9_another_queue_waits_for_memory_taken_early(on: &Setup) {
    let bed = on.open();
    let (mut slow, mut quick) = (bed.session(), bed.other_session());
    let gate = bed.gate(&mut slow);
    let first = InFlight::start(&bed, &mut slow, bed.device.pool());
    let again = slow.alloc(LEN).unwrap();
    assert_eq!(again.address(), first.address);
    // Asked for on one queue, used on the other: the device has to wait, the host does not.
    let filled = fill(&mut quick, &again, 0xEE);
    let copy = bed.device.alloc(LEN).unwrap();
    let mut stage = quick.stage("copy");
    stage.copy(&again, &copy).unwrap();
    let copied = stage.fence().unwrap();
    assert!(filled.wait_for(Duration::from_millis(3)).is_err() && !copied.is_done());
    gate.open();
    copied.wait().unwrap();
    first.check();
    is_filled(&copy, 0xEE);
}

fn p9_the_host_waits_for_memory_taken_early(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let first = InFlight::start(&bed, &mut session, bed.device.pool());
    let again = session.alloc(LEN).unwrap();
    assert_eq!(again.address(), first.address);
    assert!(again.try_write::<u8>().is_err() && again.try_read::<u8>().is_err());
    thread::scope(|threads| {
        threads.spawn(|| again.write::<u8>().unwrap().fill(0x77));
        thread::sleep(Duration::from_millis(5));
        gate.open();
    });
    first.check();
    is_filled(&again, 0x77);
}

fn p9_what_two_queues_use_is_taken_early_by_neither(on: &Setup) {
    let bed = on.open();
    let (mut one, mut two) = (bed.session(), bed.other_session());
    let gates = [bed.gate(&mut one), bed.gate(&mut two)];
    let source = bed.device.alloc(LEN).unwrap();
    let first = InFlight::start_with(&bed, &mut one, source.clone());
    let other = bed.device.alloc(LEN).unwrap();
    let mut stage = two.stage("other copy");
    stage.copy(&source, &other).unwrap();
    let copied = stage.fence().unwrap();
    drop(source);
    for session in [&mut one, &mut two] {
        for byte in 0..4 {
            let buffer = session.alloc(LEN).unwrap();
            assert_ne!(buffer.address(), first.address);
            let _ = fill(session, &buffer, byte);
        }
    }
    let [gate_one, gate_two] = gates;
    gate_one.open();
    first.copied.wait().unwrap();
    // One of the two is done: still nobody's.
    let next: Vec<_> = (0..6).map(|_| one.alloc(LEN).unwrap()).collect();
    assert!(next.iter().all(|buffer| buffer.address() != first.address));
    next.iter().for_each(|buffer| drop(fill(&mut one, buffer, 0xEE)));
    gate_two.open();
    copied.wait().unwrap();
    holds(&other, &first.wanted);
    first.check();
}

fn p9_zeroed_memory_is_never_taken_early(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let first = InFlight::start(&bed, &mut session, bed.device.pool());
    let zeroed = session.alloc(Request::new(LEN).zeroed()).unwrap();
    assert!(zeroed.address() != first.address);
    is_filled(&zeroed, 0);
    gate.open();
    first.check();
}

fn p9_a_pool_without_other_memory_waits(on: &Setup) {
    let bed = on.open();
    // Room for one and not for two.
    let options = PoolOptions::default().limit(8 * MIB).patience(Duration::from_secs(20));
    let pool = Pool::new(&bed.device, options).unwrap();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let first = InFlight::start_with(&bed, &mut session, pool.alloc(7 * MIB).unwrap());
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        gate.open();
    });
    let next = pool.alloc(7 * MIB).unwrap();
    assert!(first.copied.is_done() && next.address() == first.address);
    next.write::<u8>().unwrap().fill(0xEE);
    first.check();
    opener.join().unwrap();
}

fn p9_memory_in_flight_is_not_trimmed(on: &Setup) {
    let bed = on.open();
    let pool = Pool::new(&bed.device, PoolOptions::default().retain(0)).unwrap();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let first = InFlight::start_with(&bed, &mut session, pool.alloc(5 * MIB).unwrap());
    pool.trim(0).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.retiring, stats.reserved >= 5 * MIB), (0, 5 * MIB, true));
    gate.open();
    first.check();
    pool.trim(0).unwrap();
    assert_eq!((pool.stats().retiring, pool.stats().reserved), (0, 0));
}

fn p9_slices_hold_back_the_whole_range(on: &Setup) {
    let bed = on.open();
    let (mut slow, mut quick) = (bed.session(), bed.other_session());
    let gate = bed.gate(&mut slow);
    let whole = bed.device.alloc(LEN).unwrap();
    let range = whole.address()..whole.address() + LEN;
    let first = InFlight::start_with(&bed, &mut slow, whole.slice(100_000..200_000).unwrap());
    drop(whole);
    for i in 0..30 {
        let other = quick.alloc(LEN / 3 * (i % 4 + 1)).unwrap();
        assert!(!range.contains(&other.address()) && !range.contains(&(other.address() + other.len() - 1)));
        let _ = fill(&mut quick, &other, 0xEE);
    }
    gate.open();
    first.check();
}

fn p9_a_pool_that_goes_leaves_its_memory_to_the_work(on: &Setup) {
    let bed = on.open();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let pool = Pool::new(&bed.device, PoolOptions::default()).unwrap();
    let first = InFlight::start(&bed, &mut session, &pool);
    let second = InFlight::start_with(&bed, &mut session, pool.alloc(Request::new(LEN).dedicated()).unwrap());
    drop(pool);
    let others: Vec<_> = (0..20).map(|_| bed.device.alloc(LEN).unwrap()).collect();
    others.iter().for_each(|buffer| buffer.write::<u8>().unwrap().fill(0xEE));
    gate.open();
    first.check();
    second.check();
    // The next submission sweeps up after it.
    session.stage("next").fence().unwrap().wait().unwrap();
    let used = bed.control.as_ref().map_or(0, |control| control.used());
    assert!(used <= bed.device.pool().stats().reserved, "{used} bytes are still taken");
}

fn p9_dedicated_memory_is_not_taken_early(on: &Setup) {
    let bed = on.open();
    let (mut session, pool) = (bed.session(), bed.device.pool());
    let gate = bed.gate(&mut session);
    let dedicated = pool.alloc(Request::new(4608).dedicated()).unwrap();
    let first = InFlight::start_with(&bed, &mut session, dedicated);
    // As many bytes when rounded to a class.
    let other = session.alloc(4300).unwrap();
    assert_ne!(other.address(), first.address);
    gate.open();
    first.check();
    drop(other);
    session.stage("next").fence().unwrap().wait().unwrap();
    pool.trim(0).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.taken + stats.retiring + stats.free, stats.reserved, "{stats:?}");
}

fn p9_kernels_never_see_memory_given_away(on: &Setup) {
    let bed = on.open();
    let kernels = bed.kernels();
    let mut sessions = [bed.session(), bed.other_session()];
    let mut results = Vec::new();
    for i in 0..24u32 {
        let session = &mut sessions[i as usize % 2];
        let (source, sum) = (session.alloc(4000).unwrap(), bed.device.alloc(4).unwrap());
        let mut stage = session.stage("slow");
        kernels.spin(&mut stage, &source, i, Duration::from_millis(1)).unwrap();
        kernels.reduce_sum(&mut stage, &source, &sum).unwrap();
        stage.submit().unwrap();
        results.push((i, sum));
    }
    for (i, sum) in &results {
        assert_eq!(sum.to_vec::<u32>().unwrap(), [i * 1000]);
    }
    assert!(bed.device.pool().stats().early_reuses > 0);
}
