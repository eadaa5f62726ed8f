//! P10: what happens when there is no memory left: the pool trims, waits for what retires, tries again, then says why.
//!
//! After every refusal the counters are what they were and the pool serves what fits.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use forebay_device::{Buffer, Error, MemoryReport, NullOptions, Pool, PoolOptions, Request, Tag};
use testkit::{Bed, Setup, Test};

use crate::MIB;

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Every:
        p10_past_the_limit_is_an_error_with_the_numbers,
        p10_reserved_never_passes_the_limit,
        p10_a_budget_is_refused_without_waiting,
        p10_pools_share_the_limit_of_their_device,
        p10_a_dead_pool_gives_its_memory_to_the_next,
        p10_sizes_past_everything_are_errors,
        p10_the_program_is_asked_before_it_is_refused,
        p10_dedicated_memory_waits_as_well,
        p10_any_queue_may_give_the_memory_back,
        p6_a_batch_comes_whole_or_not_at_all;
    Steered:
        p10_a_full_device_is_exhausted,
        p10_absurd_sizes_on_an_absurd_device;
};

fn pool(bed: &Bed, limit: u64) -> Pool {
    Pool::new(&bed.device, PoolOptions::default().limit(limit).patience(Duration::from_secs(20))).unwrap()
}

fn refused(result: Result<Buffer, Error>) -> MemoryReport {
    match result {
        Err(Error::LimitExceeded(report)) => *report,
        other => panic!("refused by the limit was expected, not {other:?}"),
    }
}

fn p10_past_the_limit_is_an_error_with_the_numbers(on: &Setup) {
    let bed = on.open();
    let pool = pool(&bed, 32 * MIB);
    let held = [10, 8, 4].map(|n| pool.alloc(Request::new(n * MIB).tag(Tag::Kv).label("held")).unwrap());
    let before = pool.stats();
    let report = refused(pool.alloc(20 * MIB));
    assert_eq!((report.asked, report.limit, report.live), (20 * MIB, 32 * MIB, 22 * MIB));
    assert_eq!((report.retiring, report.tag.as_str()), (0, ""));
    assert!(report.largest_free <= report.free && report.reserved <= 32 * MIB, "{report:?}");
    assert_eq!(report.by_tag, [("kv".to_owned(), 22 * MIB)]);
    let text = Error::LimitExceeded(Box::new(report)).to_string();
    for part in ["20.0 MiB", "32.0 MiB", "22.0 MiB live", "drop buffers"] {
        assert!(text.contains(part), "{text}");
    }
    let after = pool.stats();
    assert_eq!((after.in_use, after.live, after.taken), (before.in_use, before.live, before.taken));
    // Nothing is lost: what fits is served, also from what is free only in pieces.
    drop(pool.alloc(6 * MIB).unwrap());
    let [a, b, c] = held;
    drop(b);
    drop(pool.alloc(8 * MIB).unwrap());
    drop((a, c));
    drop(pool.alloc(30 * MIB).unwrap());
}

fn p10_reserved_never_passes_the_limit(on: &Setup) {
    let bed = on.open();
    let pool = pool(&bed, 24 * MIB);
    let mut held: Vec<Buffer> = Vec::new();
    let mut refusals = 0;
    for i in 0..2000u64 {
        let n = (i * 2_654_435_761) % (3 * MIB) + 1;
        match pool.alloc(n) {
            Ok(buffer) => held.push(buffer),
            Err(Error::LimitExceeded(report)) => {
                refusals += 1;
                // The driver gives whole pages, and a slab is cut no smaller than what is asked.
                assert!(report.live + n + 2 * MIB * (held.len() as u64 + 1) > 24 * MIB, "{report:?}");
                held.drain(..held.len() / 2);
            }
            Err(other) => panic!("{other}"),
        }
        if i % 3 == 0 && !held.is_empty() {
            held.swap_remove((i % held.len() as u64) as usize);
        }
        let stats = pool.stats();
        assert!(stats.reserved <= 24 * MIB && stats.peak_reserved <= 24 * MIB, "{stats:?}");
        assert!(bed.control.as_ref().is_none_or(|control| control.used() == stats.reserved));
    }
    assert!(refusals > 0);
    held.clear();
    drop(pool.alloc(22 * MIB).unwrap());
}

fn p10_a_budget_is_refused_without_waiting(on: &Setup) {
    let bed = on.open();
    let options = PoolOptions::default().budget(Tag::Kv, 10 * MIB).patience(Duration::from_secs(30));
    let pool = Pool::new(&bed.device, options).unwrap();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let (busy, kv) = (pool.alloc(MIB).unwrap(), pool.alloc(Request::new(9 * MIB).tag(Tag::Kv)).unwrap());
    let mut stage = session.stage("busy");
    stage.fill(&busy, 1).unwrap();
    stage.submit().unwrap();
    drop(busy);
    let start = Instant::now();
    for request in [Request::new(MIB + 1), Request::new(MIB + 1).dedicated()] {
        let report = refused(pool.alloc(request.tag(Tag::Kv)));
        assert_eq!((report.tag.as_str(), report.limit), ("kv", 10 * MIB));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "no work in flight can change a budget");
    drop(pool.alloc(Request::new(MIB).tag(Tag::Kv)).unwrap());
    drop(pool.alloc(20 * MIB).unwrap());
    drop(kv);
    drop(pool.alloc(Request::new(10 * MIB).tag(Tag::Kv)).unwrap());
    gate.open();
}

fn p10_pools_share_the_limit_of_their_device(on: &Setup) {
    let bed = on.open_with(|options| options.memory_limit(40 * MIB));
    let (one, two) = (pool(&bed, u64::MAX), pool(&bed, u64::MAX));
    let held = one.alloc(22 * MIB).unwrap();
    let report = refused(two.alloc(22 * MIB));
    assert_eq!((report.limit, report.live), (40 * MIB, 0));
    assert!(!two.would_fit(22 * MIB) && two.would_fit(10 * MIB));
    // What is idle in one pool is there for the other.
    drop(held);
    assert!(one.stats().free >= 22 * MIB);
    let taken = two.alloc(30 * MIB).unwrap();
    assert_eq!((one.stats().reserved, taken.len()), (0, 30 * MIB));
    let dedicated = two.alloc(Request::new(6 * MIB).dedicated()).unwrap();
    drop((taken, dedicated));
    drop(one.alloc(Request::new(38 * MIB).dedicated()).unwrap());
}

fn p10_a_dead_pool_gives_its_memory_to_the_next(on: &Setup) {
    let bed = on.open_with(|options| options.memory_limit(40 * MIB));
    let (dead, next) = (pool(&bed, u64::MAX), pool(&bed, u64::MAX));
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let buffer = dead.alloc(30 * MIB).unwrap();
    let mut stage = session.stage("last use");
    stage.fill(&buffer, 1).unwrap();
    let fence = stage.fence().unwrap();
    drop((buffer, dead));
    gate.open();
    fence.wait().unwrap();
    assert_eq!(next.alloc(30 * MIB).unwrap().len(), 30 * MIB);
}

fn p10_sizes_past_everything_are_errors(on: &Setup) {
    let bed = on.open();
    let most = bed.device.caps().max_buffer;
    for n in [u64::MAX, u64::MAX - 1, u64::MAX - 255, u64::MAX - 256, u64::MAX / 2 + 1, 1 << 62, most + 1] {
        for request in [Request::new(n), Request::new(n).exact(), Request::new(n).dedicated()] {
            match bed.device.alloc(request.zeroed()) {
                Err(Error::TooLarge { asked, most: told }) => assert_eq!((asked, told), (n, most)),
                other => panic!("{n}: {other:?}"),
            }
        }
        assert!(bed.device.pool().alloc_batch(&[Request::new(5), Request::new(n)]).is_err());
        assert!(!bed.device.pool().would_fit(n));
    }
    assert!(bed.device.alloc(Request::elements::<u64>(usize::MAX)).is_err());
    let stats = bed.device.pool().stats();
    assert_eq!((stats.in_use, stats.live, stats.taken), (0, 0, 0));
    drop(bed.device.alloc(1).unwrap());
}

fn p10_the_program_is_asked_before_it_is_refused(on: &Setup) {
    let bed = on.open();
    let cache: Arc<Mutex<Vec<Buffer>>> = Arc::default();
    let asked = Arc::new(AtomicU64::new(0));
    let (hoard, told) = (cache.clone(), asked.clone());
    let options = PoolOptions::default().limit(20 * MIB).on_pressure(|_| 0).on_pressure(move |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
        hoard.lock().unwrap().drain(..).map(|buffer| buffer.len()).sum()
    });
    let pool = Pool::new(&bed.device, options).unwrap();
    cache.lock().unwrap().extend([6, 6].map(|n| pool.alloc(n * MIB).unwrap()));
    drop(pool.alloc(7 * MIB).unwrap());
    assert_eq!(asked.load(Ordering::Relaxed), 0, "there was enough");
    let large = pool.alloc(14 * MIB).unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), cache.lock().unwrap().len()), (14 * MIB, 0));
    assert_eq!(refused(pool.alloc(14 * MIB)).live, large.len());
}

/// A buffer of the pool that work on the session's queue uses, let go of.
fn retiring(pool: &Pool, session: &mut forebay_device::Session, bytes: u64) {
    let buffer = pool.alloc(bytes).unwrap();
    let mut stage = session.stage("last use");
    stage.fill(&buffer, 1).unwrap();
    stage.submit().unwrap();
}

fn p10_dedicated_memory_waits_as_well(on: &Setup) {
    let bed = on.open();
    let pool = pool(&bed, 20 * MIB);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    retiring(&pool, &mut session, 15 * MIB);
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        gate.open();
    });
    let dedicated = pool.alloc(Request::new(12 * MIB).dedicated());
    opener.join().unwrap();
    assert_eq!(dedicated.unwrap().len(), 12 * MIB);
}

fn p10_any_queue_may_give_the_memory_back(on: &Setup) {
    let bed = on.open();
    let pool = pool(&bed, 20 * MIB);
    let (mut stuck, mut slow) = (bed.session(), bed.other_session());
    let (never, soon) = (bed.gate(&mut stuck), bed.gate(&mut slow));
    retiring(&pool, &mut stuck, 4 * MIB);
    retiring(&pool, &mut slow, 12 * MIB);
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        soon.open();
    });
    let start = Instant::now();
    let buffer = pool.alloc(10 * MIB);
    let took = start.elapsed();
    opener.join().unwrap();
    assert_eq!(buffer.unwrap().len(), 10 * MIB);
    assert!(took < Duration::from_secs(10), "waited {took:?} for a queue that is stuck");
    never.open();
}

fn p6_a_batch_comes_whole_or_not_at_all(on: &Setup) {
    let bed = on.open();
    let options = PoolOptions::default().limit(32 * MIB).budget(Tag::Kv, 4 * MIB);
    let pool = Pool::new(&bed.device, options).unwrap();
    let held = pool.alloc(5 * MIB).unwrap();
    let before = pool.stats();
    let sizes = |all: &[u64]| all.iter().map(|n| Request::new(n * MIB)).collect::<Vec<_>>();
    let kv = [Request::new(MIB), Request::new(3 * MIB).tag(Tag::Kv), Request::new(2 * MIB).tag(Tag::Kv)];
    for batch in [&sizes(&[10, 10, 10])[..], &sizes(&[1, 40])[..], &kv[..]] {
        assert!(matches!(pool.alloc_batch(batch), Err(Error::LimitExceeded(_))));
        let after = pool.stats();
        assert_eq!((after.in_use, after.live, after.taken), (before.in_use, before.live, before.taken));
        assert_eq!((after.by_tag, after.members), (before.by_tag, before.members));
    }
    let whole = pool.alloc_batch(&sizes(&[10, 6, 8])).unwrap();
    assert_eq!(pool.stats().live, 29 * MIB);
    drop((whole, held));
    assert_eq!(pool.stats().live, 0);
}

fn p10_a_full_device_is_exhausted(on: &Setup) {
    let bed = on.open_null(NullOptions::default().memory(64 * MIB), |options| options);
    let pool = bed.device.pool();
    let held = [20, 20].map(|n| pool.alloc(n * MIB).unwrap());
    for request in [Request::new(30 * MIB), Request::new(30 * MIB).dedicated()] {
        match pool.alloc(request) {
            Err(Error::Exhausted(report)) => assert_eq!((report.asked, report.live), (30 * MIB, 40 * MIB)),
            other => panic!("{other:?}"),
        }
    }
    let batch = [20 * MIB, 10 * MIB].map(Request::new);
    assert!(matches!(pool.alloc_batch(&batch), Err(Error::Exhausted(_))));
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.live), (2, 40 * MIB));
    assert_eq!(bed.control().used(), stats.reserved);
    drop(held);
    // All of it is there for one, in whatever pieces it was used before.
    drop(pool.alloc(Request::new(60 * MIB).dedicated()).unwrap());
    drop(pool.alloc(60 * MIB).unwrap());
    pool.trim(0).unwrap();
    assert_eq!(bed.control().used(), 0);
}

fn p10_absurd_sizes_on_an_absurd_device(on: &Setup) {
    let bed = on.open_null(NullOptions::default().memory(u64::MAX), |options| options);
    let n = if on.bytes { u64::MAX - 300 } else { u64::MAX / 4 };
    let _held = bed.device.alloc(1000).unwrap();
    for request in [Request::new(n), Request::new(n).dedicated(), Request::new(u64::MAX - 300).dedicated()] {
        let result = bed.device.alloc(request);
        assert!(result.is_err() || !on.bytes, "{result:?}");
    }
    let stats = bed.device.pool().stats();
    assert_eq!((stats.in_use, stats.live), (1, 1000));
    assert_eq!(bed.control().used(), stats.reserved);
}
