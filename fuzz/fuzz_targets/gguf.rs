//! Any bytes as a GGUF file: whatever is read from it lies inside of it.

#![no_main]

use forebay::formats::gguf::{Gguf, Split, part_paths};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::parse("f-00001-of-00002.gguf", bytes) else { return };
    let mut ranges: Vec<_> = gguf.tensors().iter().map(|tensor| tensor.range()).collect();
    ranges.sort_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        assert!(pair[0].end <= pair[1].start);
    }
    for tensor in gguf.tensors() {
        let range = tensor.range();
        assert!(range.start < range.end && range.end <= bytes.len() as u64);
        assert_eq!(gguf.find(tensor.name()), Some(tensor));
        if let Ok(dtype) = tensor.dtype() {
            let blocks = (range.end - range.start) / dtype.block_bytes() as u64;
            assert_eq!(blocks * dtype.block_elements() as u64, tensor.elements());
        }
    }
    for (key, value) in gguf.metadata().iter() {
        assert_eq!(gguf.metadata().value(key).map(|found| found.value_type()), Some(value.value_type()));
        let _ = gguf.metadata().find::<&str>(key).map_err(|error| error.to_string());
        let _ = gguf.metadata().find::<Vec<u32>>(key).map_err(|error| error.to_string());
    }
    let _ = part_paths(&gguf);
    let _ = Split::join(vec![gguf.clone(), gguf]);
});
