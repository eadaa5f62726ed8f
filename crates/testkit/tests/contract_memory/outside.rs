#![allow(unsafe_code, reason = "a user of outside memory promises that it stays")]
//! P8, B7 and B8: memory of somebody else: registered, never owned, never handed out; and memory that is read-only.
//!
//! Rule for the unsafe code: O1, the memory is the keeper's own block, which lives until the keeper is dropped and
//! which nobody else touches before that.

use std::{
    fs,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use forebay_device::{BackendKind, Buffer, Error, MappedFile, Pool, PoolOptions, Request};
use testkit::{Bed, Setup, Test};

use crate::{MIB, holds, is_filled, overlap, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Bytes:
        p8_registering_twice_is_once_and_owns_nothing,
        p8_a_pool_that_goes_ends_its_registrations_and_no_more,
        p8_outside_memory_is_never_handed_out,
        p8_a_buffer_of_a_pool_counts_once,
        p8_memory_of_another_device_is_refused,
        b7_read_only_memory_refuses_writers,
        b8_a_keeper_outlives_the_work_that_uses_its_memory,
        b8_a_keeper_outlives_the_device,
        b8_a_keeper_may_hold_a_buffer_of_the_same_pool;
    Host: b7_a_mapped_file_is_used_where_it_lies,
        b8_outside_memory_is_used_in_place;
    Every: b8_where_bytes_are_elsewhere_it_is_an_error;
};

/// Bytes that tell, when dropped, what was in the first of them: of the heap, or pinned where the device wants that.
struct Keeper {
    bytes: NonNull<[u8]>,
    pinned: Option<Buffer>,
    first: Arc<AtomicU8>,
}

// SAFETY: O1: the keeper alone owns the block.
unsafe impl Send for Keeper {}
// SAFETY: as above.
unsafe impl Sync for Keeper {}

const ALIVE: u8 = 0xA1;

impl Keeper {
    fn new(bed: &Bed, len: usize, byte: u8) -> (Self, Arc<AtomicU8>) {
        let first = Arc::new(AtomicU8::new(ALIVE));
        let pinned = (bed.setup.kind == BackendKind::Cuda).then(|| {
            let buffer = testkit::pinned(len as u64).unwrap();
            buffer.write::<u8>().unwrap().fill(byte);
            buffer
        });
        let bytes = match &pinned {
            None => NonNull::from(Box::leak(vec![byte; len].into_boxed_slice())),
            Some(buffer) => {
                let start = std::ptr::with_exposed_provenance_mut(buffer.address() as usize);
                NonNull::slice_from_raw_parts(NonNull::new(start).unwrap(), len)
            }
        };
        (Self { bytes, pinned, first: first.clone() }, first)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: O1: the bytes are ours, and nobody uses them any more.
        self.first.store(unsafe { self.bytes.as_ref()[0] }, Ordering::SeqCst);
        if self.pinned.is_none() {
            // SAFETY: O1: the block is ours, and this is the end of it.
            drop(unsafe { Box::from_raw(self.bytes.as_ptr()) });
        }
    }
}

/// Outside memory of so many bytes, and what tells when it went.
fn import(bed: &Bed, len: usize, byte: u8) -> (Buffer, Arc<AtomicU8>) {
    let (keeper, first) = Keeper::new(bed, len, byte);
    let request = Request::new(len as u64).label("outside");
    // SAFETY: O1: the keeper goes with the block.
    let buffer = unsafe { bed.device.import(keeper.bytes.cast(), &request, false, Box::new(keeper)) };
    (buffer.unwrap(), first)
}

fn p8_registering_twice_is_once_and_owns_nothing(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let pool = Pool::new(&bed.device, PoolOptions::default()).unwrap();
    let (buffer, first) = import(&bed, 5000, 7);
    assert_eq!(residency.count(), 0);
    for _ in 0..3 {
        pool.register(&buffer).unwrap();
        pool.register(&buffer.slice(3..100).unwrap()).unwrap();
        assert_eq!(residency.count(), 1);
    }
    assert_eq!((pool.stats().reserved, pool.stats().in_use), (0, 0), "it is not the pool's");
    assert!(pool.unregister(&buffer) && !pool.unregister(&buffer));
    assert_eq!(residency.count(), 0);
    pool.register(&buffer).unwrap();
    is_filled(&buffer, 7);
    drop(buffer);
    assert_eq!((residency.count(), first.load(Ordering::SeqCst)), (0, 7), "the buffer ends it");
}

fn p8_a_pool_that_goes_ends_its_registrations_and_no_more(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let pool = Pool::new(&bed.device, PoolOptions::default()).unwrap();
    let other = Pool::new(&bed.device, PoolOptions::default()).unwrap();
    let all: Vec<_> = (0..6).map(|i| import(&bed, 3000, i)).collect();
    all[..3].iter().for_each(|(buffer, _)| pool.register(buffer).unwrap());
    all[3..].iter().for_each(|(buffer, _)| other.register(buffer).unwrap());
    let clone = pool.clone();
    drop(pool);
    assert_eq!(residency.count(), 6, "a clone of the pool is the pool");
    drop(clone);
    assert_eq!(residency.count(), 3);
    for (i, (buffer, first)) in all.iter().enumerate() {
        is_filled(buffer, i as u8);
        assert_eq!(first.load(Ordering::SeqCst), ALIVE);
    }
    drop(other);
    assert_eq!(residency.count(), 0);
}

fn p8_outside_memory_is_never_handed_out(on: &Setup) {
    let bed = on.open();
    let pool = bed.device.pool();
    let (outside, first) = import(&bed, 4096, 5);
    let (start, end) = (outside.address(), outside.address() + 4096);
    pool.register(&outside).unwrap();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("use");
    stage.fill(&outside, 9).unwrap();
    stage.submit().unwrap();
    drop(outside);
    let mut all: Vec<_> = (0..40).map(|_| session.alloc(4096).unwrap()).collect();
    gate.open();
    session.stage("end").fence().unwrap().wait().unwrap();
    all.extend((0..40).map(|_| pool.alloc(4096).unwrap()));
    assert!(all.iter().all(|other| other.address() >= end || other.address() + 4096 <= start));
    pool.trim(0).unwrap();
    assert_eq!(first.load(Ordering::SeqCst), 9, "it went after its last use, to whoever keeps it");
}

fn p8_a_buffer_of_a_pool_counts_once(on: &Setup) {
    let bed = on.open();
    let (pool, residency) = (bed.device.pool(), bed.device.residency());
    let buffers = [pool.alloc(1000).unwrap(), pool.alloc(Request::new(1000).dedicated()).unwrap()];
    for buffer in &buffers {
        pool.register(buffer).unwrap();
        assert_eq!(residency.count(), 2, "it is a member already");
    }
    drop(buffers);
    assert_eq!(residency.count(), 0);
    let again = pool.alloc(1000).unwrap();
    assert_eq!(residency.count(), 1, "{again:?}");
}

fn p8_memory_of_another_device_is_refused(on: &Setup) {
    let (bed, other) = (on.open(), on.open());
    let (theirs, ours) = (other.device.alloc(100).unwrap(), bed.device.alloc(100).unwrap());
    let foreign = |result: Result<(), Error>| {
        let Err(Error::ForeignDevice { .. }) = result else { panic!("{result:?}") };
    };
    foreign(bed.device.pool().register(&theirs));
    foreign(bed.device.residency().add(&theirs).map(drop));
    foreign(bed.device.residency().remove(&theirs).map(drop));
    assert!(!bed.device.pool().unregister(&theirs));
    let mut session = bed.session();
    let mut stage = session.stage("mixed");
    foreign(stage.fill(&theirs, 1));
    foreign(stage.copy(&theirs, &ours));
    foreign(stage.copy(&ours, &theirs));
    foreign(stage.launch(&other.kernels().fill, forebay_device::Grid::linear(1, 1), &[]));
    let kernels = bed.kernels().clone();
    foreign(kernels.fill(&mut stage, &theirs, 1));
    assert!(stage.is_empty());
    assert_eq!((bed.device.residency().count(), other.device.residency().count()), (1, 1));
}

fn refuses_writers(bed: &Bed, buffer: &Buffer, other: &Buffer) {
    let read_only = |result: Result<(), Error>| {
        let Err(Error::ReadOnly { label }) = result else { panic!("{result:?}") };
        assert_eq!(&*label, buffer.label().as_str());
    };
    let part = buffer.slice(4..8).unwrap();
    assert!(buffer.is_read_only() && part.is_read_only() && !other.is_read_only());
    for buffer in [buffer, &part] {
        read_only(buffer.write::<u8>().map(drop));
        read_only(buffer.try_write::<u8>().map(drop));
        read_only(buffer.copy_from(&vec![0u8; buffer.len() as usize]));
        let mut session = bed.session();
        let mut stage = session.stage("write");
        read_only(stage.fill(buffer, 1));
        read_only(stage.copy(&other.slice(..buffer.len()).unwrap(), buffer));
        read_only(bed.kernels().fill(&mut stage, buffer, 1));
        assert!(stage.is_empty(), "a refused launch leaves the stage as it was");
    }
}

fn b7_read_only_memory_refuses_writers(on: &Setup) {
    let bed = on.open();
    let (keeper, _) = Keeper::new(&bed, 1000, 3);
    let request = Request::new(1000).label("weights");
    // SAFETY: O1.
    let buffer = unsafe { bed.device.import(keeper.bytes.cast(), &request, true, Box::new(keeper)) }.unwrap();
    let out = bed.device.alloc(1000).unwrap();
    refuses_writers(&bed, &buffer, &out);
    let mut session = bed.session();
    let mut stage = session.stage("read");
    stage.copy(&buffer, &out).unwrap();
    stage.fence().unwrap().wait().unwrap();
    is_filled(&out, 3);
}

fn b7_a_mapped_file_is_used_where_it_lies(on: &Setup) {
    let bed = on.open();
    let folder = std::env::temp_dir().join(format!("forebay-contract-{}-{}", std::process::id(), on.name));
    fs::create_dir_all(&folder).unwrap();
    let bytes = pattern(4, 100_000);
    fs::write(folder.join("model"), &bytes).unwrap();
    fs::write(folder.join("empty"), []).unwrap();
    let file = MappedFile::open(folder.join("model")).unwrap();
    let buffer = bed.device.adopt_file(&file).unwrap();
    assert_eq!((buffer.len(), buffer.label().as_str()), (100_000, "model"));
    assert_eq!(bed.device.pool().stats().reserved, 0, "no copy was made");
    let out = bed.device.alloc(100_000).unwrap();
    refuses_writers(&bed, &buffer, &out);
    let out = out.slice(1..).unwrap();
    drop(file);
    let mut session = bed.session();
    let mut stage = session.stage("read");
    stage.copy(&buffer.slice(1..).unwrap(), &out).unwrap();
    let fence = stage.fence().unwrap();
    drop(buffer);
    fence.wait().unwrap();
    holds(&out, &bytes[1..]);
    let empty = bed.device.adopt_file(&MappedFile::open(folder.join("empty")).unwrap()).unwrap();
    assert_eq!((empty.len(), empty.read::<u8>().unwrap().len()), (0, 0));
    assert!(
        matches!(MappedFile::open(folder.join("none")), Err(Error::Io { path, .. }) if path.ends_with("none"))
    );
    assert!(MappedFile::open(&folder).is_err());
    fs::remove_dir_all(folder).unwrap();
}

fn b8_outside_memory_is_used_in_place(on: &Setup) {
    let bed = on.open();
    let vector: Vec<u32> = (0..5000).collect();
    let address = vector.as_ptr() as u64;
    let buffer = bed.device.adopt(vector).unwrap();
    assert_eq!((buffer.len(), buffer.address()), (20_000, address));
    let sum = bed.device.alloc(20_000).unwrap();
    let mut session = bed.session();
    let mut stage = session.stage("use");
    stage.copy(&buffer, &sum).unwrap();
    stage.fill(&buffer.slice(4..8).unwrap(), 0xFF).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(buffer.read::<u32>().unwrap()[..3], [0, u32::MAX, 2]);
    assert_eq!(sum.read::<u32>().unwrap()[4999], 4999);
    assert!(bed.device.adopt(Vec::<f32>::new()).unwrap().is_empty());
    // A shift that no allocator of vectors gives: typed access and kernels check the address itself.
    let bytes = bed.device.adopt(vec![0u8; 64]).unwrap();
    assert!(bytes.slice(1..5).unwrap().read::<u32>().is_err());
}

fn b8_a_keeper_outlives_the_work_that_uses_its_memory(on: &Setup) {
    let bed = on.open();
    let (buffer, first) = import(&bed, 70_000, 1);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("use");
    stage.fill(&buffer, 2).unwrap();
    let fence = stage.fence().unwrap();
    drop(buffer);
    bed.device.pool().trim(0).unwrap();
    assert_eq!(first.load(Ordering::SeqCst), ALIVE);
    gate.open();
    fence.wait().unwrap();
    // The next request finds out, and needs no other reason to look.
    drop(bed.device.alloc(100).unwrap());
    assert_eq!(first.load(Ordering::SeqCst), 2);
}

fn b8_a_keeper_outlives_the_device(on: &Setup) {
    let bed = on.open();
    let (buffer, first) = import(&bed, 70_000, 1);
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("use");
    stage.fill(&buffer, 2).unwrap();
    stage.submit().unwrap();
    drop((buffer, session));
    // The device finishes what was submitted while it is closed; a real one waits for the gate.
    let waits = bed.control.is_none();
    let opener = std::thread::spawn(move || {
        if waits {
            std::thread::sleep(Duration::from_millis(50));
            drop(gate);
            return None;
        }
        Some(gate)
    });
    drop(bed);
    let gate = opener.join().unwrap();
    assert_eq!(first.load(Ordering::SeqCst), 2, "the work came before the end of its memory");
    drop(gate);
}

fn b8_a_keeper_may_hold_a_buffer_of_the_same_pool(on: &Setup) {
    struct Window(#[allow(dead_code, reason = "is kept, not used")] Buffer);
    let bed = on.open();
    let pool = bed.device.pool();
    for in_flight in [false, true] {
        let whole = pool.alloc(MIB).unwrap();
        let host = std::ptr::with_exposed_provenance_mut(whole.address() as usize);
        let start = NonNull::new(host).unwrap();
        let request = Request::new(1000).label("window");
        // SAFETY: O1: the keeper holds the buffer, and nobody else uses it.
        let window =
            unsafe { bed.device.import(start, &request, false, Box::new(Window(whole.clone()))) }.unwrap();
        assert!(overlap(&window, &whole));
        drop(whole);
        let mut session = bed.session();
        if in_flight {
            let mut stage = session.stage("use");
            stage.fill(&window, 1).unwrap();
            stage.submit().unwrap();
        }
        drop(window);
        session.finish().unwrap().wait().unwrap();
        assert_eq!(pool.trim(u64::MAX).unwrap(), 0);
        assert_eq!(pool.stats().in_use, 0);
    }
}

fn b8_where_bytes_are_elsewhere_it_is_an_error(on: &Setup) {
    let bed = on.open();
    match bed.device.adopt(vec![1u32, 2]) {
        Ok(buffer) => assert!(bed.device.caps().unified && buffer.len() == 8),
        Err(Error::Unsupported { .. }) => assert!(!bed.device.caps().unified),
        Err(other) => panic!("{other}"),
    }
}
