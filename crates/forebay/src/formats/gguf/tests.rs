//! What the reader of GGUF files accepts and refuses, on files built in memory.
//!
//! Every refusal is checked for what it names. Next: `builder`, which makes the files.

use super::builder::{Builder, string};
use super::*;

fn parse(builder: Builder) -> Result<Gguf> {
    Gguf::parse("t.gguf", &builder.bytes())
}

/// The fault of a broken file, with where it was found.
fn fault(builder: Builder) -> (Place, u64, Fault) {
    match parse(builder) {
        Err(Error::Format(error)) => (error.place, error.offset, error.fault),
        other => panic!("no format error: {other:?}"),
    }
}

fn named(name: &str) -> Place {
    Place::Tensor(name.to_owned())
}

#[test]
fn tensors_keep_the_order_of_the_file_and_their_bytes() {
    let bytes = Builder::new()
        .text("general.architecture", "x")
        .tensor("b", 0, &[3, 2], &[1; 24])
        .tensor("a", 2, &[64], &[2; 36])
        .tensor("scalar", 1, &[], &[3; 2])
        .bytes();
    let gguf = Gguf::parse("t.gguf", &bytes).unwrap();
    let names: Vec<&str> = gguf.tensors().iter().map(Tensor::name).collect();
    assert_eq!(names, ["b", "a", "scalar"]);
    for (name, shape, fill, len) in [("b", &[2, 3][..], 1, 24), ("a", &[64], 2, 36), ("scalar", &[], 3, 2)] {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!(tensor.shape(), shape);
        let range = tensor.range();
        assert_eq!(&bytes[range.start as usize..range.end as usize], vec![fill; len]);
        assert_eq!(range.start % 32, 0);
    }
    assert_eq!(gguf.tensor("b").unwrap().elements(), 6);
    assert!(matches!(gguf.tensor("c"), Err(Error::MissingTensor { tensor, .. }) if tensor == "c"));
}

#[test]
fn a_tensor_of_an_unknown_type_stays_in_the_table() {
    let gguf = parse(Builder::new().tensor("odd", 77, &[5], &[7; 40]).tensor("f", 0, &[1], &[0; 4]).tensor(
        "last",
        4,
        &[1],
        &[0; 9],
    ))
    .unwrap();
    let odd = gguf.tensor("odd").unwrap();
    let error = odd.dtype().unwrap_err().to_string();
    assert_eq!(error, "t.gguf: tensor \"odd\" has an element type that is not known: number 77");
    assert_eq!((odd.kind(), odd.range().end - odd.range().start), (77, 64));
    assert_eq!(gguf.tensor("f").unwrap().dtype().unwrap(), DType::F32);
    assert_eq!(gguf.tensor("last").unwrap().range().count(), 9);
}

#[test]
fn alignment_follows_the_metadata() {
    let mut builder = Builder::new().u32("general.alignment", 64);
    builder.alignment = 64;
    let bytes = builder.tensor("a", 24, &[65], &[1; 65]).tensor("b", 24, &[2], &[2; 2]).bytes();
    let gguf = Gguf::parse("t.gguf", &bytes).unwrap();
    let range = gguf.tensor("b").unwrap().range();
    assert_eq!(range.start % 64, 0);
    assert_eq!(&bytes[range.start as usize..range.end as usize], [2, 2]);
    for found in [0, 48, 1 << 31] {
        let (place, offset, fault) = fault(Builder::new().u32("general.alignment", found));
        assert_eq!(place, Place::Key("general.alignment".to_owned()));
        assert_eq!((offset, fault), (24, Fault::Alignment { found: found.into() }));
    }
}

#[test]
fn headers_that_are_none_say_what_they_are() {
    let header = |bytes: &[u8]| match Gguf::parse("t.gguf", bytes) {
        Err(Error::Format(error)) => error.fault,
        other => panic!("{other:?}"),
    };
    assert!(matches!(header(b""), Fault::Magic { found, .. } if found.is_empty()));
    assert!(matches!(header(b"GGU"), Fault::Magic { found, .. } if found == b"GGU"));
    assert!(matches!(header(b"GGUF"), Fault::Truncated { needed: 4, left: 0 }));
    let mut builder = Builder::new();
    builder.version = 3u32.swap_bytes();
    assert_eq!(fault(builder), (Place::Header, 4, Fault::BigEndian));
    for found in [0, 1, 4] {
        let mut builder = Builder::new();
        builder.version = found;
        assert_eq!(fault(builder).2, Fault::Version { found });
    }
    let mut builder = Builder::new();
    builder.version = 2;
    assert_eq!(parse(builder).unwrap().version(), 2);
}

#[test]
fn counts_that_no_file_can_hold_are_refused_before_anything_is_allocated() {
    for count in [1, u64::MAX / 24, u64::MAX] {
        let mut builder = Builder::new();
        builder.tensor_count = Some(count);
        assert!(matches!(fault(builder).2, Fault::Count { what: "tensors", found, .. } if found == count));
        let mut builder = Builder::new();
        builder.entry_count = Some(count);
        let what = "metadata entries";
        assert!(
            matches!(fault(builder).2, Fault::Count { what: w, found, .. } if w == what && found == count)
        );
        for element in [0, 8, 9, 12] {
            let (place, _, fault) = fault(Builder::new().array("k", element, count, b""));
            assert_eq!(place, Place::Key("k".to_owned()));
            assert!(matches!(fault, Fault::Count { found, most: 0, .. } if found == count));
        }
    }
    let huge = [&u64::MAX.to_le_bytes()[..], b"text"].concat();
    assert!(matches!(fault(Builder::new().raw(b"k", 8, &huge)).2, Fault::Truncated { left: 4, .. }));
}

#[test]
fn names_are_there_and_there_once() {
    let twice = Builder::new().u32("k", 1).u32("k", 2);
    assert_eq!(fault(twice), (Place::Key("k".to_owned()), 24 + 8 + 1 + 8, Fault::Duplicate));
    assert_eq!(fault(Builder::new().u32("", 1)).2, Fault::Unnamed);
    assert_eq!(fault(Builder::new().raw(b"\xff", 4, &[0; 4])).2, Fault::NotUtf8);
    let twice = Builder::new().tensor("t", 0, &[1], &[0; 4]).tensor("t", 0, &[1], &[0; 4]);
    assert_eq!(fault(twice).2, Fault::Duplicate);
    assert_eq!(fault(Builder::new().tensor("", 0, &[1], &[0; 4])).2, Fault::Unnamed);
}

#[test]
fn ranges_lie_in_the_file_and_not_over_each_other() {
    let base = || Builder::new().tensor("a", 24, &[100], &[0; 100]);
    assert_eq!(fault(base().tensor_at("b", 24, &[4], 8)).2, Fault::Misaligned { offset: 8, align: 32 });
    let overlap = Fault::Overlap { other: "a".to_owned() };
    assert_eq!(fault(base().tensor_at("b", 24, &[4], 64)), (named("b"), 24 + 8 + 1 + 24, overlap.clone()));
    assert_eq!(fault(base().tensor_at("b", 24, &[4], 0)).2, overlap);
    assert_eq!(fault(base().tensor_at("b", 99, &[4], 0)).2, overlap);
    assert!(matches!(fault(base().tensor_at("b", 24, &[4], 128)).2, Fault::PastEnd { .. }));
    let far = u64::MAX - 31;
    assert!(matches!(fault(base().tensor_at("b", 24, &[4], far)).2, Fault::PastEnd { end: u64::MAX, .. }));
    assert!(matches!(fault(Builder::new().tensor("a", 24, &[9], &[0; 8])).2, Fault::PastEnd { .. }));
}

#[test]
fn shapes_can_be_counted() {
    let one = |kind, dimensions: &[u64]| fault(Builder::new().tensor("t", kind, dimensions, &[0; 64])).2;
    assert_eq!(one(0, &[4, 0]), Fault::Zero { shape: vec![0, 4] });
    assert_eq!(one(99, &[0]), Fault::Zero { shape: vec![0] });
    assert_eq!(one(0, &[1 << 32, 1 << 32]), Fault::Overflow { shape: vec![1 << 32, 1 << 32] });
    assert_eq!(one(28, &[1 << 61]), Fault::Overflow { shape: vec![1 << 61] });
    assert_eq!(one(99, &[1 << 63]), Fault::Overflow { shape: vec![1 << 63] });
    assert_eq!(one(12, &[128, 2]), Fault::PartialBlock { row: 128, block: 256 });
    assert_eq!(one(2, &[]), Fault::PartialBlock { row: 1, block: 32 });
    assert!(matches!(one(0, &[1; 5]), Fault::Count { what: "dimensions", found: 5, most: 4 }));
}

#[test]
fn values_come_out_as_what_they_are() {
    let nested = [&4u32.to_le_bytes()[..], &2u64.to_le_bytes(), &7u32.to_le_bytes(), &8u32.to_le_bytes()];
    let gguf = parse(
        Builder::new()
            .raw(b"u8", 0, &[200])
            .raw(b"i8", 1, &[200])
            .raw(b"i64", 11, &(-5i64).to_le_bytes())
            .raw(b"f64", 12, &0.5f64.to_le_bytes())
            .raw(b"odd", 8, &string(b"\xff"))
            .bool("yes", true)
            .texts("words", &["a", "", "bc"])
            .i32s("ids", &[1, -2])
            .f32s("scores", &[1.5, -2.0])
            .array("nested", 9, 1, &nested.concat()),
    )
    .unwrap();
    let meta = gguf.metadata();
    assert_eq!(meta.get::<u32>("u8").unwrap(), 200);
    assert_eq!(meta.get::<i32>("i8").unwrap(), -56);
    assert_eq!(meta.get::<i64>("i64").unwrap(), -5);
    assert_eq!(meta.get::<f32>("f64").unwrap(), 0.5);
    assert!(meta.get::<bool>("yes").unwrap());
    let words = meta.get::<Strings<'_>>("words").unwrap();
    assert_eq!(words.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
    assert_eq!((words.get(2), words.get(3)), (Some(&b"bc"[..]), None));
    assert_eq!(meta.get::<Vec<i32>>("ids").unwrap(), [1, -2]);
    assert_eq!(meta.get::<Vec<f32>>("scores").unwrap(), [1.5, -2.0]);
    let arrays = meta.get::<&Array>("nested").unwrap().arrays().unwrap();
    assert_eq!(arrays[0].scalars().unwrap().collect::<Vec<_>>(), [Value::U32(7), Value::U32(8)]);
    let wrong = |error: Error| error.to_string().split(" holds ").nth(1).unwrap().to_owned();
    let no_bool = wrong(meta.get::<bool>("u8").unwrap_err());
    assert_eq!(no_bool, "the u8 200, a bool is needed");
    let no_index = wrong(meta.get::<u64>("i64").unwrap_err());
    assert_eq!(no_index, "the i64 -5, a whole number that is not negative is needed");
    let no_text = wrong(meta.get::<&str>("odd").unwrap_err());
    assert_eq!(no_text, "a string that is not UTF-8, a string in UTF-8 is needed");
    let no_list = wrong(meta.get::<Vec<u32>>("ids").unwrap_err());
    assert_eq!(no_list, "an array of 2 i32, an array of whole numbers from 0 to 2^32-1 is needed");
    assert!(matches!(meta.get::<u32>("none"), Err(Error::MissingKey { .. })));
    assert_eq!(meta.find::<u32>("none").unwrap(), None);
}

#[test]
fn types_and_depths_that_are_unknown_are_refused() {
    assert_eq!(fault(Builder::new().raw(b"k", 13, &[0; 8])).2, Fault::ValueType { found: 13 });
    let deep = |depth: usize| {
        let one = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
        let last = [4u32.to_le_bytes().to_vec(), 0u64.to_le_bytes().to_vec()].concat();
        Builder::new().raw(b"k", 9, &[one.repeat(depth), last].concat())
    };
    assert!(parse(deep(3)).is_ok());
    assert_eq!(fault(deep(4)).2, Fault::Nested { most: 4 });
    assert_eq!(fault(deep(100_000)).2, Fault::Nested { most: 4 });
}

#[test]
fn every_shorter_file_is_an_error_and_none_panics() {
    let bytes = Builder::new()
        .text("general.architecture", "llama")
        .texts("words", &["a", "bc"])
        .f32s("scores", &[1.0, 2.0])
        .tensor("a", 0, &[3, 2], &[1; 24])
        .tensor("b", 8, &[32], &[1; 34])
        .bytes();
    assert!(Gguf::parse("t.gguf", &bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(Gguf::parse("t.gguf", &bytes[..len]).is_err(), "{len} bytes were enough");
    }
    // Any byte may be anything: a result of either kind, but a result.
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let _ = Gguf::parse("t.gguf", &bytes);
        }
    }
}

fn part(number: u16, count: u16, tensor: &str) -> Gguf {
    let bytes = Builder::new()
        .raw(b"split.no", 2, &number.to_le_bytes())
        .raw(b"split.count", 2, &count.to_le_bytes())
        .raw(b"split.tensors.count", 5, &i32::from(count).to_le_bytes())
        .tensor(tensor, 0, &[1], &[0; 4])
        .bytes();
    Gguf::parse(format!("dir/m-{:05}-of-{count:05}.gguf", number + 1), &bytes).unwrap()
}

#[test]
fn parts_make_one_model() {
    let paths = part_paths(&part(1, 3, "b")).unwrap();
    let names = ["dir/m-00001-of-00003.gguf", "dir/m-00002-of-00003.gguf", "dir/m-00003-of-00003.gguf"];
    assert_eq!(paths, names.map(std::path::PathBuf::from));
    let model = Split::join(vec![part(0, 3, "a"), part(1, 3, "b"), part(2, 3, "c")]).unwrap();
    assert_eq!(model.find("c").map(|(part, tensor)| (part, tensor.name())), Some((2, "c")));
    assert_eq!(model.tensors().map(|(part, _)| part).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let fault = |parts| match Split::join(parts) {
        Err(error @ Error::Set { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let swapped = fault(vec![part(1, 2, "b"), part(0, 2, "a")]);
    assert!(swapped.contains("m-00002-of-00002.gguf") && swapped.contains("part 2 of 2, part 1 of 2"));
    assert!(fault(vec![part(0, 3, "a"), part(1, 3, "b")]).contains("part 1 of 3, part 1 of 2"));
    assert!(fault(vec![part(0, 2, "a"), part(1, 2, "a")]).contains("holds tensor \"a\""));
    let whole = parse(Builder::new().tensor("a", 0, &[1], &[0; 4])).unwrap();
    assert_eq!(part_paths(&whole).unwrap(), [std::path::PathBuf::from("t.gguf")]);
    assert!(fault(vec![whole, part(1, 2, "b")]).contains("part 1 of 1, part 1 of 2"));
    let renamed = Builder::new().raw(b"split.no", 2, &[0, 0]).raw(b"split.count", 2, &[2, 0]).bytes();
    let renamed = Gguf::parse("model.gguf", &renamed).unwrap();
    let error = part_paths(&renamed).unwrap_err().to_string();
    assert!(error.contains("NAME-00001-of-00002.gguf"), "{error}");
    let beyond = Builder::new().raw(b"split.no", 2, &[2, 0]).raw(b"split.count", 2, &[2, 0]).bytes();
    assert!(part_paths(&Gguf::parse("model.gguf", &beyond).unwrap()).is_err());
}
