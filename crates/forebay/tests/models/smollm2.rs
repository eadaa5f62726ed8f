//! A real chat model against what llama.cpp computed with its decoded weights. Found through FOREBAY_SMOLLM2, with the references
//! among the fixtures.

use std::path::Path;

use forebay::formats::weights::Precision;
use forebay_tensor::DType;

use crate::fixtures::{Reference, distance, folder, logits, open_with, relative};

#[test]
fn a_real_model_gives_the_logits_of_its_references() {
    let Some(path) = std::env::var_os("FOREBAY_SMOLLM2") else {
        println!("left out: FOREBAY_SMOLLM2 is not set");
        return;
    };
    let Some(root) = folder("smollm2") else { return };
    let reference = Reference::open(root.join("smollm2-135m.Q4_1.ref.safetensors"));
    for precision in [Precision::Strict, Precision::Fast] {
        let engine = open_with(Path::new(&path), 2, DType::F32, precision);
        for prompt in ["p0", "p2"] {
            let ids = reference.ids(&format!("{prompt}.ids"));
            let all = logits(&engine, &ids, ids.len());
            let last = &all[all.len() - engine.model().sizes().vocabulary..];
            let wanted = reference.floats(&format!("{prompt}.exact_last_first2048"));
            match precision {
                Precision::Strict => {
                    let far = distance(&last[..wanted.len()], &wanted);
                    assert!(far < 2e-3, "{prompt}: {far}");
                    let most = last.iter().copied().fold(f32::MIN, f32::max);
                    let first = reference.ids(&format!("{prompt}.greedy_exact"))[0];
                    assert_eq!(last[first as usize], most, "{prompt}");
                }
                // No farther than twice what llama.cpp itself loses by rounding activations.
                Precision::Fast => {
                    let far = relative(&last[..wanted.len()], &wanted);
                    assert!(far > 0.0 && far < 0.1, "{prompt}: {far}");
                }
            }
        }
    }
}
