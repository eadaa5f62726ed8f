//! What Python writes is read, and nothing else does any harm.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use super::*;

/// A dictionary of the kind of a snapshot, pickled by Python with protocol 4.
pub(in crate::history) const BY_PYTHON: &[u8] = include_bytes!("../../../tests/data/snapshot.pickle");

fn error(bytes: &[u8]) -> Wrong {
    Pickle::read(bytes).unwrap_err()
}

#[test]
fn what_python_pickles_is_read() {
    let pickle = Pickle::read(BY_PYTHON).unwrap();
    let segments = pickle.list(pickle.get(pickle.root, "segments").unwrap()).unwrap();
    assert_eq!(segments.len(), 1);
    assert_eq!(pickle.get(segments[0], "address"), Some(Value::Int(0x7f00_0000_0000)));
    assert_eq!(pickle.get(segments[0], "is_expandable"), Some(Value::Bool(false)));
    let id = pickle.get(segments[0], "segment_pool_id").unwrap();
    assert_eq!(pickle.list(id), Some(&[Value::Int(0), Value::Int(0)][..]));
    let settings = pickle.get(pickle.root, "allocator_settings").unwrap();
    assert_eq!(pickle.get(settings, "max_split_size"), Some(Value::Int(-1)));
    assert_eq!(pickle.get(settings, "garbage_collection_threshold"), Some(Value::Float(0.0)));
    assert_eq!(pickle.get(settings, "big"), Some(Value::Int(1 << 70)));
    assert_eq!(pickle.number(Value::Int(-1)), None);
}

#[test]
fn what_is_written_is_read_back() {
    let mut writer = PickleWriter::start();
    let numbers = [0, 255, 256, 0x7FFF_FFFF, 0x8000_0000, u64::MAX];
    writer.dict(|writer| {
        writer.text("numbers");
        writer.list(|writer| numbers.iter().for_each(|number| writer.int(*number)));
        writer.text("again");
        writer.tuple(|writer| {
            writer.text("again");
            writer.bool(true);
        });
    });
    let bytes = writer.finish();
    let pickle = Pickle::read(&bytes).unwrap();
    let list = pickle.list(pickle.get(pickle.root, "numbers").unwrap()).unwrap();
    assert!(list.iter().map(|value| pickle.number(*value).unwrap()).eq(numbers));
    let again = pickle.list(pickle.get(pickle.root, "again").unwrap()).unwrap();
    assert_eq!((pickle.text(again[0]), again[1]), (Some("again"), Value::Bool(true)));
}

#[test]
fn code_is_never_run() {
    for bytes in [
        b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00idtR.".as_slice(),
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"\x80\x02(ios\nsystem\n.",
        b"\x80\x02}}b.",
        b"\x80\x04)\x81.",
        b"\x80\x02P1\n.",
        b"\x80\x02\x82\x01.",
    ] {
        let (offset, what) = error(bytes);
        assert_eq!(what, "the pickle wants to run code, which no snapshot needs");
        assert!(offset > 1 && (offset as usize) < bytes.len());
    }
}

#[test]
fn a_pickle_that_is_cut_off_or_damaged_is_an_error_and_no_more() {
    for cut in 0..BY_PYTHON.len() {
        let (offset, what) = error(&BY_PYTHON[..cut]);
        assert_eq!((offset, what), (cut as u64, CUT_OFF));
    }
    let mut seed = 1u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = BY_PYTHON.to_vec();
        for shift in [5, 25] {
            let at = (seed >> shift) as usize % bytes.len();
            bytes[at] = (seed >> 48) as u8;
        }
        if let Err((offset, _)) = Pickle::read(&bytes) {
            assert!(offset as usize <= bytes.len());
        }
        // Whatever it says, making events of it ends too.
        let _ = crate::history::snapshot::read(&bytes);
    }
}

#[test]
fn nesting_costs_no_stack_and_lengths_are_not_believed() {
    let deep = |op: &[u8]| [b"\x80\x02", op.repeat(1_000_000).as_slice(), b"."].concat();
    assert!(Pickle::read(&deep(b"]")).is_ok());
    // Each list holds the one before.
    assert!(Pickle::read(&deep(b"]\x85")).is_ok());
    assert!(Pickle::read(&deep(b"(")).is_err());
    for bytes in [b"\x80\x02X\xff\xff\xff\xff.".as_slice(), b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff."]
    {
        assert_eq!(error(bytes).1, CUT_OFF);
    }
    for (bytes, why) in [
        (b"\x80\x02\x85.".as_slice(), "too little"),
        (b"\x80\x02N(\x85.", "too little"),
        (b"\x80\x02a.", "too little"),
        (b"\x80\x02NNa.", "no list"),
        (b"\x80\x02}(Nu.", "no value"),
        (b"\x80\x02h\x05.", "remembered"),
        (b"\x80\x02q\x05.", "nothing to remember"),
        (b"\x80\x02t.", "no mark"),
        (b"\x80\x09.", "protocol 2 to 5"),
        (b"\x80\x02\x8a\x20.", "longer"),
        (b"\x80\x02!.", "opcode"),
    ] {
        assert!(error(bytes).1.contains(why), "{why}: {}", error(bytes).1);
    }
    let wide = [b"\x80\x02}(".as_slice(), &b"K\x01N".repeat(MOST_PAIRS + 1), b"u."].concat();
    assert!(error(&wide).1.contains("so many keys"));
}
