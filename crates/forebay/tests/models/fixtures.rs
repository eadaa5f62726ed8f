//! Reads reference files, runs models, and compares.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use forebay::{
    Engine, EngineOptions,
    formats::{safetensors::Safetensors, weights::Precision},
    generate::step::SequenceOptions,
};
use forebay_device::DeviceOptions;
use forebay_tensor::DType;

/// A folder of the fixtures, if there are any.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    match std::env::var_os("FOREBAY_FIXTURES") {
        Some(root) => Some(PathBuf::from(root).join(name)),
        None => {
            println!("left out: FOREBAY_FIXTURES is not set");
            None
        }
    }
}

/// The GGUF files of a model, by what stands between the model's name and the ending.
pub(crate) fn ggufs(model: &Path) -> BTreeMap<String, PathBuf> {
    let files = std::fs::read_dir(model.join("gguf")).unwrap();
    let name =
        |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().split_once('.').unwrap().1.to_owned();
    files.map(|file| file.unwrap().path()).map(|path| (name(&path), path)).collect()
}

/// The tensors of a reference file.
pub(crate) struct Reference {
    bytes: Vec<u8>,
    table: Safetensors,
}

impl Reference {
    pub(crate) fn open(path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).unwrap();
        let table = Safetensors::parse(&path, &bytes).unwrap();
        Self { bytes, table }
    }

    fn words<T>(&self, name: &str, from: impl Fn([u8; 4]) -> T) -> Vec<T> {
        let range = self.table.tensor(name).unwrap().range();
        let bytes = &self.bytes[range.start as usize..range.end as usize];
        bytes.as_chunks().0.iter().map(|bytes| from(*bytes)).collect()
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name, f32::from_le_bytes)
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name, u32::from_le_bytes)
    }
}

/// Opens a model on so many threads with such a cache, to be computed in floats.
pub(crate) fn open(path: &Path, threads: usize, kv: DType) -> Engine {
    open_with(path, threads, kv, Precision::Strict)
}

/// Opens a model so that so many of its last layers are on another device than the others.
pub(crate) fn open_divided(path: &Path, threads: usize, kv: DType, layers: usize) -> Engine {
    let device = DeviceOptions::cpu().threads(threads);
    let options = EngineOptions::default().device(device).kv(kv).context(400).gpu_layers(layers);
    Engine::open_with(path, &options.precision(Precision::Strict)).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens a model on so many threads with such a cache.
pub(crate) fn open_with(path: &Path, threads: usize, kv: DType, precision: Precision) -> Engine {
    let device = DeviceOptions::cpu().threads(threads);
    let options = EngineOptions::default().device(device).kv(kv).context(400).precision(precision);
    Engine::open_with(path, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Logits of all tokens, computed so many at a time.
pub(crate) fn logits(engine: &Engine, ids: &[u32], chunk: usize) -> Vec<f32> {
    let options = SequenceOptions { chunk, all_logits: true, ..engine.sequence_options() };
    let mut all = Vec::new();
    let mut sequence = engine.sequence_with(&options).unwrap();
    sequence
        .feed_each(ids, |rows| {
            all.extend_from_slice(rows);
            Ok(())
        })
        .unwrap();
    all
}

/// The largest distance between two lists; they must be of one length and finite.
pub(crate) fn distance(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().all(|x| x.is_finite()));
    got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// How far rounding of activations moves logits: the root of the mean square of the differences, relative to that of the
/// logits.
pub(crate) fn relative(got: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().all(|x| x.is_finite()));
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let difference = square(&mut got.iter().zip(wanted).map(|(a, b)| a - b));
    (difference / square(&mut wanted.iter().copied())).sqrt()
}

/// What follows a prompt, the largest logit each time.
pub(crate) fn greedy(engine: &Engine, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut sequence = engine.sequence().unwrap();
    sequence.feed(prompt).unwrap();
    let mut ids = vec![sequence.greedy().unwrap()];
    while ids.len() < count {
        sequence.feed(&ids[ids.len() - 1..]).unwrap();
        ids.push(sequence.greedy().unwrap());
    }
    ids
}
