//! The trace as a whole, with a file that a test holds in its hands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{self, Read, Write};

use super::options::{Keep, TraceOptions};
use crate::{
    Device, DeviceOptions, Entry, Error, Event, Pool, PoolOptions, Request, TraceReader,
    sync::{Arc, Mutex, lock},
};

/// A file with room for so many bytes.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Writer {
    fn with_room(room: usize) -> Self {
        Self { bytes: Arc::default(), room }
    }

    fn bytes(&self) -> Vec<u8> {
        lock(&self.bytes).clone()
    }

    fn device(&self) -> Device {
        let options = TraceOptions { keep: Keep::Writer(self.clone()) };
        Device::open(&DeviceOptions::null().trace(options)).unwrap()
    }
}

impl Write for Writer {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let mut bytes = lock(&self.bytes);
        let count = from.len().min(self.room - bytes.len());
        if count == 0 && !from.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.extend(&from[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn entries(bytes: &[u8]) -> (Vec<Entry>, Option<Error>) {
    let mut entries = Vec::new();
    match TraceReader::new(bytes) {
        Err(error) => (entries, Some(error)),
        Ok(mut reader) => loop {
            match reader.next() {
                None => return (entries, None),
                Some(Ok(entry)) => entries.push(entry),
                Some(Err(error)) => {
                    assert!(reader.next().is_none(), "nothing comes after an error");
                    return (entries, Some(error));
                }
            }
        },
    }
}

/// A trace with two sections of each kind, in which everything that is frequent happens.
fn small_trace() -> Vec<u8> {
    let file = Writer::with_room(usize::MAX);
    let device = file.device();
    let mut session = device.session().unwrap();
    let kept = session.alloc(Request::new(1000).label("kept")).unwrap();
    let mut stage = session.stage("fill it");
    stage.fill(&kept, 1).unwrap();
    stage.fence().unwrap().wait().unwrap();
    device.trace().unwrap().flush().unwrap();
    drop(device.alloc(Request::new(1 << 20).label(String::from("gone at once"))).unwrap());
    device.pool().trim(0).unwrap();
    drop((kept, session, device));
    file.bytes()
}

#[test]
fn a_file_that_is_cut_off_anywhere_gives_its_whole_events_and_one_error() {
    let whole = small_trace();
    let (all, error) = entries(&whole);
    assert!(error.is_none() && all.len() > 10, "{error:?} after {}", all.len());
    // Found without the reader: where the header ends, where each section does, and where each record does.
    let word = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 64 + word(56);
    let (mut clean, mut ends, mut sections) = (vec![at], Vec::new(), 0);
    while at < whole.len() {
        let (name, start) = (&whole[at..at + 4], at + 8);
        at = start + word(at + 4);
        if name == b"RECS" {
            ends.extend((start + 32..=at).step_by(32));
        }
        clean.push(at);
        sections += 1;
    }
    assert!(sections >= 4 && ends.len() == all.len());
    for cut in 0..whole.len() {
        let (some, error) = entries(&whole[..cut]);
        assert_eq!(some, all[..ends.iter().filter(|end| **end <= cut).count()], "cut at {cut}");
        match error {
            None => assert!(clean.contains(&cut), "cut at {cut} went unnoticed"),
            Some(Error::Trace { offset, what, .. }) => {
                assert!(!clean.contains(&cut));
                assert_eq!((offset, what), (cut as u64, "the file is cut off here"));
            }
            Some(other) => panic!("{other}"),
        }
    }
}

#[test]
fn damaged_and_random_files_never_panic_and_name_the_place() {
    let whole = small_trace();
    let (all, _) = entries(&whole);
    let mut seed = 1u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..4000 {
        let mut bytes = whole.clone();
        let at = next(bytes.len());
        bytes[at] ^= 1 << next(8);
        let (some, error) = entries(&bytes);
        match error {
            Some(Error::Trace { offset, .. }) => {
                assert!(offset as usize <= bytes.len() && some.len() <= all.len());
            }
            Some(other) => panic!("{other}"),
            None => assert_eq!(some.len(), all.len(), "byte {at}"),
        }
    }
    for round in 0..2000 {
        let mut bytes: Vec<u8> = (0..next(400)).map(|_| next(256) as u8).collect();
        // Half of them get past the header.
        if round % 2 == 0 {
            bytes.splice(0..0, whole[..64 + word(&whole, 56)].iter().copied());
            bytes.splice(bytes.len().min(100).., *b"RECS\xff\xff\xff\xffLABL\xff\xff\xff\xff");
        }
        let (some, error) = entries(&bytes);
        assert!(some.len() < 20 && (error.is_some() || bytes.len() == 64 + word(&whole, 56)));
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn labels_that_were_never_given_and_long_ones_are_refused() {
    let whole = small_trace();
    let labels = whole.windows(4).position(|name| name == b"LABL").unwrap();
    let mut bytes = whole.clone();
    bytes[labels + 8..labels + 10].copy_from_slice(&1025u16.to_le_bytes());
    let (some, error) = entries(&bytes);
    assert!(
        some.is_empty()
            && matches!(error, Some(Error::Trace { offset, .. }) if offset as usize == labels + 8)
    );

    // Without the labels, the first event that names one is refused.
    let end = labels + 8 + word(&whole, labels + 4);
    bytes = whole.clone();
    bytes.drain(labels..end);
    let error = entries(&bytes).1.unwrap().to_string();
    assert!(error.contains("the label was never given"), "{error}");
}

#[test]
fn a_full_disk_ends_the_trace_and_nothing_else() {
    for room in [200, 5_000, 100_000] {
        let file = Writer::with_room(room);
        let device = file.device();
        let mut session = device.session().unwrap();
        for _ in 0..200 {
            for size in 1..200 {
                drop(device.alloc(Request::new(size * 100).label("scratch")).unwrap());
            }
            let buffer = device.alloc(64).unwrap();
            let mut stage = session.stage("step");
            stage.fill(&buffer, 3).unwrap();
            stage.fence().unwrap().wait().unwrap();
        }
        assert_eq!((session.stats().submissions, device.pool().stats().in_use), (200, 0));
        let trace = device.trace().unwrap();
        for _ in 0..2 {
            let Err(Error::Io { action: "write to", source, .. }) = trace.flush() else { panic!("{room}") };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull, "whoever asks is told");
        }
        let copy = std::env::temp_dir().join(format!("forebay-never-made-{}", std::process::id()));
        assert!(trace.save(&copy).is_err() && !copy.exists());
        drop((session, device, trace));

        let bytes = file.bytes();
        assert_eq!(bytes.len(), room, "it was written as far as it went");
        let (some, error) = entries(&bytes);
        assert!(matches!(error, Some(Error::Trace { offset, .. }) if offset as usize == room));
        assert!(some.len() + 20 >= room.saturating_sub(200) / 32, "{} events in {room} bytes", some.len());
        assert!(some.iter().zip(0..).all(|(entry, number)| entry.number == number));
    }
}

#[test]
fn the_writer_comes_without_being_called_and_goes_with_the_device() {
    let file = Writer::with_room(usize::MAX);
    let device = file.device();
    drop(device.alloc(Request::new(1000).label("seen")).unwrap());
    let begun = std::time::Instant::now();
    while !entries(&file.bytes()).0.iter().any(|entry| matches!(entry.event, Event::FreeRequested { .. })) {
        assert!(begun.elapsed().as_secs() < 20, "nobody wrote");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(device);
    // The device, its thread and its recorder are gone: nobody but this test holds the file.
    assert_eq!(Arc::strong_count(&file.bytes), 1);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_an_error_of_open() {
    let options = TraceOptions { keep: Keep::Writer(Writer::with_room(10)) };
    let error = Device::open(&DeviceOptions::null().trace(options)).unwrap_err();
    assert!(matches!(error, Error::Io { action: "write to", .. }), "{error}");
    if std::path::Path::new("/dev/full").exists() {
        let error = Device::open(&DeviceOptions::null().trace(TraceOptions::file("/dev/full"))).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}

#[test]
fn what_threads_do_at_once_is_numbered_without_gaps() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 30_000;
    let file = Writer::with_room(usize::MAX);
    let device = file.device();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let device = &device;
            scope.spawn(move || {
                let pool = Pool::new(device, PoolOptions::default()).unwrap();
                let mut session = device.session().unwrap();
                for round in 0..ROUNDS {
                    // The size says who and when.
                    drop(pool.alloc(Request::new(round * THREADS + thread + 1)).unwrap());
                    if round % 1000 == 0 {
                        session.stage("mark").submit().unwrap();
                    }
                    if round % 7000 == 0 {
                        device.trace().unwrap().flush().unwrap();
                    }
                }
            });
        }
    });
    let trace = device.trace().unwrap();
    drop(device);
    let recorded = trace.events();
    let (all, error) = entries(&file.bytes());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(all.len() as u64, recorded);
    let mut rounds = [0; THREADS as usize];
    let (mut ticks, mut last) = (0, std::time::Duration::ZERO);
    for (entry, number) in all.iter().zip(0..) {
        assert_eq!(entry.number, number);
        assert!(entry.at >= last, "time never runs back");
        last = entry.at;
        match &entry.event {
            Event::Allocated { bytes, .. } => {
                let thread = ((bytes - 1) % THREADS) as usize;
                assert_eq!((bytes - 1) / THREADS, rounds[thread], "events of one thread keep their order");
                rounds[thread] += 1;
            }
            Event::Submitted { at, .. } => {
                ticks += 1;
                assert_eq!((at.queue, at.tick), (0, ticks));
            }
            _ => {}
        }
    }
    assert_eq!((rounds, ticks), ([ROUNDS; THREADS as usize], THREADS * ROUNDS.div_ceil(1000)));
}

#[test]
fn a_reader_that_fails_is_an_error_of_its_own() {
    struct Broken(Vec<u8>);
    impl Read for Broken {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::other("the cable is loose"));
            }
            let count = to.len().min(self.0.len()).min(7);
            to[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }
    let whole = small_trace();
    let (all, _) = entries(&whole);
    let mut reader = TraceReader::new(Broken(whole)).unwrap();
    for entry in all {
        assert_eq!(reader.next().unwrap().unwrap(), entry);
    }
    assert!(matches!(reader.next(), Some(Err(Error::Io { action: "read", .. }))));
    assert!(reader.next().is_none());
}
