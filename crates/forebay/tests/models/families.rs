//! Models of random weights of every other family, against the system that made the files.

use forebay_tensor::DType;

use crate::fixtures::{Reference, distance, folder, ggufs, greedy, logits, open};

/// The families, and how far logits may be: that system takes the curve of Gemma's networks from a table of f16.
const FAMILIES: [(&str, f32); 5] =
    [("qwen2", 1e-3), ("qwen3", 1e-3), ("phi3", 1e-3), ("gemma2", 1e-2), ("gemma3", 1e-2)];

#[test]
fn every_family_gives_the_logits_and_tokens_of_its_decoded_weights() {
    for (family, near) in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        for (name, path) in ggufs(&root) {
            let reference = Reference::open(root.join(format!("ref/{family}.{name}.ref.safetensors")));
            let engine = open(&path, 2, DType::F32);
            let far =
                distance(&logits(&engine, &reference.ids("promptA"), 32), &reference.floats("exact.logitsA"));
            // Past every window, and in chunks that do not end where windows do.
            let all = logits(&engine, &reference.ids("promptB"), 37);
            let vocabulary = engine.model().sizes().vocabulary;
            let rows = reference.ids("rowsB");
            let row = |row: &u32| &all[*row as usize * vocabulary..][..vocabulary];
            let picked: Vec<f32> = rows.iter().flat_map(row).copied().collect();
            let far_b = distance(&picked, &reference.floats("exact.logitsB_rows"));
            println!("{family} {name}: {far:.2e}, long prompt {far_b:.2e}");
            assert!(far.max(far_b) <= near, "{family} {name}: {far} and {far_b}");

            let (wanted, gaps) = (reference.ids("greedy.exact"), reference.floats("greedy.exact_gap"));
            let got = greedy(&engine, &reference.ids("greedy.prompt"), wanted.len());
            if let Some(odd) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
                assert!(
                    gaps[odd] < 3.0 * near,
                    "{family} {name}: token {odd} differs where the gap is {}",
                    gaps[odd]
                );
            }
        }
    }
}
