//! Texts that run at once are those that run alone, on real and on random weights of every format and family.

use forebay::{
    Engine, Error,
    formats::weights::Precision,
    generate::{batch::Batch, step::SequenceOptions, text::Text},
};
use forebay_tensor::DType;

use crate::fixtures::{distance, folder, ggufs, open_with};

const TEXTS: [&[u32]; 3] = [&[1, 9, 8, 7, 30, 31], &[1], &[1, 9, 8, 7, 6, 5, 4, 3, 2, 33, 40]];

/// The largest distance between logits in a batch and alone, over a few steps.
fn far(engine: &Engine, mut batch: Batch, options: &SequenceOptions) -> f32 {
    let mut alone = Vec::new();
    for ids in TEXTS {
        let mut sequence = engine.sequence_with(options).unwrap();
        sequence.feed(ids).unwrap();
        alone.push((batch.join(ids).unwrap().unwrap(), sequence));
    }
    let mut far: f32 = 0.0;
    for step in 0..4 {
        let ids: Vec<_> = alone.iter().map(|(place, _)| (*place, 3 + 7 * step + *place as u32)).collect();
        batch.step(&ids).unwrap();
        for ((place, sequence), (_, id)) in alone.iter_mut().zip(ids) {
            sequence.feed(&[id]).unwrap();
            let together = batch.text(*place).unwrap().logits().unwrap();
            far = far.max(distance(&together, &sequence.logits().unwrap()));
        }
    }
    far
}

#[test]
fn texts_at_once_are_those_alone() {
    let Some(root) = folder("") else { return };
    let families = std::fs::read_dir(root.join("models")).unwrap().map(|entry| entry.unwrap().path());
    let (mut served, mut refused) = (0, 0);
    for folder in families.chain([root.join("stories260K")]) {
        for (name, path) in ggufs(&folder) {
            for (precision, kv) in [(Precision::Fast, DType::F16), (Precision::Strict, DType::BF16)] {
                let engine = open_with(&path, 2, kv, precision);
                let options = SequenceOptions { context: 32, ..engine.sequence_options() };
                match engine.batch_with(3, &options) {
                    Ok(batch) => {
                        let far = far(&engine, batch, &options);
                        assert!(far == 0.0, "{} {name}, {precision:?}: {far}", folder.display());
                        served += 1;
                    }
                    Err(Error::Option { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    println!("{served} models took several texts, {refused} did not");
    assert!(served > refused);
}
