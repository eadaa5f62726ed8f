//! Any bytes as the header of a safetensors file, an index and a folder's configuration, each behind a zero byte; the
//! byte behind the next one says how much data there is.

#![no_main]

use forebay::formats::{
    mlx::{Quantization, weights},
    safetensors::{Index, Safetensors, Shards},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(4, |byte| *byte == 0);
    let [header, index, config, data] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let data = data.first().copied().unwrap_or_default();
    let index = Index::parse("dir/model.safetensors.index.json", index);
    let quantization = Quantization::parse("dir/config.json", config);
    for index in index.iter() {
        assert!(index.files().all(|file| file.parent() == Some("dir".as_ref())));
    }
    // The length is put in front, since hardly any bytes begin with one that is right.
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &vec![0; usize::from(data)]].concat();
    let _ = Safetensors::parse("raw", header);
    let Ok(file) = Safetensors::parse("dir/model.safetensors", &bytes) else { return };
    for tensor in file.tensors() {
        let range = tensor.range();
        assert!(range.start < range.end && range.end <= bytes.len() as u64);
    }
    let Ok(shards) = Shards::join(vec![file], index.as_ref().ok()) else { return };
    let quantization = quantization.ok().flatten();
    if let Ok(weights) = weights(&shards, quantization.as_ref()) {
        assert!(weights.iter().all(|weight| shards.find(weight.name).is_some()));
    }
});
