//! Reads the vectors that other software made: safetensors files found through FOREBAY_FIXTURES.
//!
//! Without that variable the tests go over a few blocks of each format, cut out of the same vectors, which lie in
//! `tests/data`. This is no reader for model files.

use std::{collections::BTreeMap, ops::Range, path::PathBuf};

/// The tensors of one safetensors file, as bytes.
pub(crate) struct Vectors {
    bytes: Vec<u8>,
    ranges: BTreeMap<String, Range<usize>>,
}

impl Vectors {
    /// Opens `vectors/<name>.safetensors` of the fixtures, or what there is of them here.
    pub(crate) fn open(name: &str) -> Self {
        let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
            println!("left out: all but a few blocks, since FOREBAY_FIXTURES is not set");
            return Self::parse(include_bytes!("../data/blocks.safetensors").to_vec());
        };
        let path = PathBuf::from(root).join("vectors").join(format!("{name}.safetensors"));
        Self::parse(std::fs::read(path).unwrap())
    }

    fn parse(bytes: Vec<u8>) -> Self {
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let data = 8 + header_len;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
        let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
        let ranges = tensors.map(|(name, tensor)| {
            let offset = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
            (name.clone(), data + offset(0)..data + offset(1))
        });
        let ranges = ranges.collect();
        Self { bytes, ranges }
    }

    /// Names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.ranges.keys().map(String::as_str)
    }

    /// The bytes of a tensor.
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        &self.bytes[self.ranges.get(name).unwrap_or_else(|| panic!("no tensor {name}")).clone()]
    }

    /// The elements of an f32 tensor.
    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
