//! A model of random weights with the rope scaling of Llama 3, in every format.

use forebay_tensor::DType;

use forebay::formats::weights::Precision;

use crate::fixtures::{Reference, distance, folder, ggufs, greedy, logits, open, open_with, relative};

#[test]
fn logits_of_every_format_agree_with_those_of_the_decoded_weights() {
    let Some(root) = folder("models/llama") else { return };
    let files = ggufs(&root);
    assert!(files.len() > 20);
    for (name, path) in files {
        let reference = Reference::open(root.join(format!("ref/llama.{name}.ref.safetensors")));
        let engine = open(&path, 2, DType::F32);
        let far =
            distance(&logits(&engine, &reference.ids("promptA"), 32), &reference.floats("exact.logitsA"));
        let rows = reference.ids("rowsB");
        let all = logits(&engine, &reference.ids("promptB"), 32);
        let vocabulary = engine.model().sizes().vocabulary;
        let picked: Vec<f32> =
            rows.iter().flat_map(|&row| &all[row as usize * vocabulary..][..vocabulary]).copied().collect();
        let far_b = distance(&picked, &reference.floats("exact.logitsB_rows"));
        println!("llama {name}: {far:.2e}, long prompt {far_b:.2e}");
        assert!(far.max(far_b) <= 1e-3, "{name}: {far} and {far_b}");
    }
}

#[test]
fn unquantised_files_agree_with_the_model_that_they_came_from() {
    let Some(root) = folder("models/llama") else { return };
    let reference = Reference::open(root.join("ref/hf.safetensors"));
    for name in ["F16", "BF16"] {
        let engine = open(&ggufs(&root)[name], 1, DType::F32);
        let far = distance(&logits(&engine, &reference.ids("promptA"), 32), &reference.floats("logitsA"));
        assert!(far <= 1e-3, "{name}: {far}");
    }
}

#[test]
fn greedy_tokens_are_those_of_the_decoded_weights() {
    let Some(root) = folder("models/llama") else { return };
    for (name, path) in ggufs(&root) {
        let reference = Reference::open(root.join(format!("ref/llama.{name}.ref.safetensors")));
        let (wanted, gaps) = (reference.ids("greedy.exact"), reference.floats("greedy.exact_gap"));
        let got = greedy(&open(&path, 1, DType::F32), &reference.ids("greedy.prompt"), wanted.len());
        if let Some(odd) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
            assert!(gaps[odd] < 0.01, "{name}: token {odd} differs where the gap is {}", gaps[odd]);
        }
    }
}

#[test]
fn integer_products_move_logits_no_further_than_those_of_the_system_that_made_the_files() {
    let Some(root) = folder("models/llama") else { return };
    for (name, path) in ggufs(&root) {
        let reference = Reference::open(root.join(format!("ref/llama.{name}.ref.safetensors")));
        let (exact, native) = (reference.floats("exact.logitsA"), reference.floats("native.logitsA"));
        let engine = open_with(&path, 2, DType::F32, Precision::Fast);
        let got = logits(&engine, &reference.ids("promptA"), 32);
        let (ours, theirs) = (relative(&got, &exact), relative(&native, &exact));
        println!("llama {name}: {ours:.4}, theirs {theirs:.4}");
        assert!(ours <= 1.2 * theirs, "{name}: {ours} and {theirs}");
        let (wanted, gaps) = (reference.ids("greedy.exact"), reference.floats("greedy.exact_gap"));
        let got = greedy(&engine, &reference.ids("greedy.prompt"), wanted.len());
        if let Some(odd) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
            assert!(
                f64::from(gaps[odd]) < 9.0 * theirs,
                "{name}: token {odd}, where the gap is {}",
                gaps[odd]
            );
        }
    }
}

#[test]
fn quantised_files_are_nearer_to_their_decoded_weights_than_the_system_that_made_them() {
    const FAMILIES: [&str; 10] =
        ["llama", "qwen2", "qwen3", "qwen3moe", "qwen35", "qwen3next", "gemma2", "gemma3", "phi3", "gptoss"];
    let (mut all, mut of_k) = (Vec::new(), Vec::new());
    for family in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        for (name, path) in ggufs(&root).into_iter().filter(|(name, _)| !name.ends_with("F16")) {
            let reference = Reference::open(root.join(format!("ref/{family}.{name}.ref.safetensors")));
            let (exact, native) = (reference.floats("exact.logitsA"), reference.floats("native.logitsA"));
            let engine = open_with(&path, 2, DType::F32, Precision::Fast);
            let got = logits(&engine, &reference.ids("promptA"), 32);
            let errors = [&got, &native].map(|logits| relative(logits, &exact));
            println!("{family} {name}: {:.4}, theirs {:.4}", errors[0], errors[1]);
            all.push(errors);
            if name.contains("_K") {
                of_k.push(errors);
            }
        }
    }
    let mean = |errors: &[[f64; 2]], whose: usize| {
        errors.iter().map(|errors| errors[whose]).sum::<f64>() / errors.len() as f64
    };
    assert!(all.len() > 30 && of_k.len() > 10, "{} files, {} of them of K", all.len(), of_k.len());
    assert!(mean(&all, 0) <= mean(&all, 1), "{:.4} and {:.4}", mean(&all, 0), mean(&all, 1));
    assert!(mean(&of_k, 0) <= 0.8 * mean(&of_k, 1), "{:.4} and {:.4}", mean(&of_k, 0), mean(&of_k, 1));
}
