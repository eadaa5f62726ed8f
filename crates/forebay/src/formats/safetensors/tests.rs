//! Safetensors files, right and wrong in every way that the format has rules for.

use super::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![7; data]].concat()
}

fn parse(header: &str, data: usize) -> Result<Safetensors> {
    Safetensors::parse("t.safetensors", &file(header, data))
}

fn fault_of(bytes: &[u8]) -> (Place, u64, Fault) {
    match Safetensors::parse("t.safetensors", bytes) {
        Err(Error::Format(error)) => (error.place, error.offset, error.fault),
        other => panic!("no format error: {other:?}"),
    }
}

fn fault(header: &str, data: usize) -> Fault {
    fault_of(&file(header, data)).2
}

fn row(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [{start}, {end}]}}"#)
}

fn table(rows: &[String]) -> String {
    format!("{{{}}}", rows.join(", "))
}

#[test]
fn tensors_keep_the_order_of_the_header() {
    let rows =
        [row("b", "F32", "[2, 3]", 8, 32), row("a", "I64", "[]", 0, 8), row("odd", "F6_E2M3", "[3]", 32, 35)];
    let header = format!(r#"{{"__metadata__": {{"format": "pt", "a": "b"}}, {}"#, &table(&rows)[1..]);
    let safetensors = parse(&header, 35).unwrap();
    let names: Vec<&str> = safetensors.tensors().iter().map(Tensor::name).collect();
    assert_eq!(names, ["b", "a", "odd"]);
    let b = safetensors.tensor("b").unwrap();
    assert_eq!((b.shape(), b.dtype().unwrap(), b.elements()), (&[2, 3][..], DType::F32, 6));
    let start = 8 + header.len() as u64;
    assert_eq!(b.range(), start + 8..start + 32);
    assert_eq!(safetensors.metadata()[1], ("a".to_owned(), "b".to_owned()));
    let error = safetensors.tensor("odd").unwrap().dtype().unwrap_err().to_string();
    assert!(error.contains("tensor \"odd\"") && error.contains("F6_E2M3"), "{error}");
    assert!(matches!(safetensors.tensor("c"), Err(Error::MissingTensor { .. })));
}

#[test]
fn headers_that_are_none_are_named() {
    assert_eq!(fault_of(b"").2, Fault::Truncated { needed: 8, left: 0 });
    assert_eq!(fault_of(b"1234567").2, Fault::Truncated { needed: 8, left: 7 });
    assert!(matches!(fault_of(b"GGUF\x03\0\0\0rest").2, Fault::Magic { .. }));
    for claim in [3, u64::MAX] {
        let bytes = [&claim.to_le_bytes()[..], b"{}"].concat();
        let count = Fault::Count { what: "bytes of header", found: claim, most: 2 };
        assert_eq!(fault_of(&bytes).2, count);
    }
    for header in ["{", "{]", "[]", r#"{"a": 1}"#, r#"{"a": {"dtype": "F32"}}"#, "{}x", "{\"\\ud800\": 1}"] {
        assert!(matches!(fault(header, 0), Fault::Json { .. } | Fault::Magic { .. }), "{header}");
    }
    let negative = row("a", "U8", "[1]", 0, 1).replace("[1]", "[-1]");
    assert!(matches!(fault(&table(&[negative]), 1), Fault::Json { .. }));
    assert_eq!(parse("{}", 0).unwrap().tensors().len(), 0);
    assert_eq!(parse("{}  ", 0).unwrap().tensors().len(), 0);
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert!(matches!(fault(&deep, 0), Fault::Json { .. }));
}

#[test]
fn rows_say_what_can_be() {
    let one = |dtype, shape, start, end| fault(&table(&[row("a", dtype, shape, start, end)]), 64);
    assert_eq!(one("F32", "[2]", 0, 4), Fault::RangeLength { found: 4, wanted: 8 });
    assert_eq!(one("F32", "[2]", 8, 0), Fault::RangeLength { found: 0, wanted: 8 });
    assert_eq!(one("F32", "[17]", 0, 68), Fault::PastEnd { end: 68, len: 64 });
    assert_eq!(one("F32", "[1]", u64::MAX - 4, u64::MAX), Fault::PastEnd { end: u64::MAX, len: 64 });
    assert_eq!(one("F32", "[0, 4]", 0, 0), Fault::Zero { shape: vec![0, 4] });
    assert_eq!(one("F6", "[4]", 4, 4), Fault::RangeLength { found: 0, wanted: 1 });
    let shape = vec![1 << 32, 1 << 32];
    assert_eq!(one("U8", "[4294967296, 4294967296]", 0, 64), Fault::Overflow { shape });
    let shape = vec![1 << 62];
    assert_eq!(one("F64", "[4611686018427387904]", 0, 64), Fault::Overflow { shape });
    assert!(matches!(one("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1), Fault::Count { what: "dimensions", .. }));
    let twice = table(&[row("a", "U8", "[1]", 0, 1), row("a", "U8", "[1]", 1, 2)]);
    assert_eq!(fault(&twice, 2), Fault::Duplicate);
    assert_eq!(fault(&table(&[row("", "U8", "[1]", 0, 1)]), 1), Fault::Unnamed);
    let over = table(&[row("b", "U8", "[4]", 2, 6), row("a", "U8", "[4]", 0, 4)]);
    let (place, offset, fault) = fault_of(&file(&over, 8));
    assert_eq!(place, Place::Tensor("b".to_owned()));
    assert_eq!((offset, fault), (8 + over.len() as u64 + 2, Fault::Overlap { other: "a".to_owned() }));
}

#[test]
fn every_shorter_file_is_an_error_and_no_byte_panics() {
    let bytes = file(&table(&[row("a", "F16", "[2]", 0, 4), row("b", "U8", "[3]", 4, 7)]), 7);
    assert!(Safetensors::parse("t", &bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(Safetensors::parse("t", &bytes[..len]).is_err(), "{len} bytes were enough");
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let _ = Safetensors::parse("t", &bytes);
        }
    }
}

fn named(name: &str, rows: &[String], data: usize) -> Safetensors {
    Safetensors::parse(name, &file(&table(rows), data)).unwrap()
}

#[test]
fn shards_fit_their_index() {
    let json = br#"{"metadata": {"total_size": 2}, "weight_map": {"x": "2.st", "y": "1.st"}}"#;
    let index = Index::parse("dir/index.json", json).unwrap();
    let files: Vec<&Path> = index.files().collect();
    assert_eq!(files, [Path::new("dir/2.st"), Path::new("dir/1.st")]);
    let x = || named("dir/2.st", &[row("x", "U8", "[1]", 0, 1)], 1);
    let y = || named("dir/1.st", &[row("y", "U8", "[1]", 0, 1), row("z", "U8", "[1]", 1, 2)], 2);
    let model = Shards::join(vec![x(), y()], Some(&index)).unwrap();
    assert_eq!(model.find("z").map(|(part, tensor)| (part, tensor.name())), Some((1, "z")));
    assert_eq!(model.tensors().count(), 3);

    let fault = |parts| Shards::join(parts, Some(&index)).unwrap_err().to_string();
    assert!(fault(vec![y(), x()]).contains("1.st: lacks tensor \"x\""));
    assert!(fault(vec![x()]).contains("1.st: is missing, dir/index.json names it"));
    assert!(fault(vec![x(), x()]).contains("holds tensor \"x\", which dir/2.st holds as well"));
}

#[test]
fn an_index_names_files_beside_it_only() {
    for name in ["../x", "/x", "a/b", "", "..", "."] {
        let json = format!(r#"{{"weight_map": {{"t": "{name}"}}}}"#);
        let error = Index::parse("i.json", json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("tensor \"t\"") && error.contains("no file beside the index"), "{error}");
    }
    for json in ["", "{}", "[]", r#"{"weight_map": 3}"#] {
        assert!(matches!(Index::parse("i.json", json.as_bytes()), Err(Error::Format(_))), "{json}");
    }
    assert!(Index::parse("i.json", br#"{"weight_map": {"t": 3}}"#).is_err());
}
