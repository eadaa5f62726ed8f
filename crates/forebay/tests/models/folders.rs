//! The same models in folders, as Hugging Face and MLX have them, against the systems that those folders are for.

use forebay_tensor::DType;

use forebay::{formats::weights::Precision, generate::tokenizer::Tokenizer};

use crate::fixtures::{Reference, distance, folder, greedy, logits, open, open_with, relative};

/// The families, and how far logits may be.
const FAMILIES: [(&str, f32); 10] = [
    ("llama", 1e-3),
    ("qwen2", 1e-3),
    ("qwen3", 1e-3),
    ("qwen3moe", 1e-3),
    ("qwen3next", 1e-3),
    ("qwen35", 1e-3),
    ("phi3", 1e-3),
    ("gptoss", 1e-3),
    ("gemma2", 2e-3),
    ("gemma3", 2e-3),
];

#[test]
fn unquantised_folders_give_the_logits_and_tokens_of_transformers() {
    for (family, near) in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        let reference = Reference::open(root.join("ref/hf.safetensors"));
        let engine = open(&root.join("hf"), 2, DType::F32);
        let far = distance(&logits(&engine, &reference.ids("promptA"), 32), &reference.floats("logitsA"));
        let all = logits(&engine, &reference.ids("promptB"), 37);
        let vocabulary = engine.model().sizes().vocabulary;
        let rows = reference.ids("rowsB");
        let row = |row: &u32| &all[*row as usize * vocabulary..][..vocabulary];
        let picked: Vec<f32> = rows.iter().flat_map(row).copied().collect();
        let far_b = distance(&picked, &reference.floats("logitsB_rows"));
        println!("{family}: {far:.2e}, long prompt {far_b:.2e}");
        assert!(far.max(far_b) <= near, "{family}: {far} and {far_b}");
        let fast = open_with(&root.join("hf"), 2, DType::F32, Precision::Fast);
        let rounded = relative(&logits(&fast, &reference.ids("promptA"), 32), &reference.floats("logitsA"));
        assert!(rounded < 2e-3, "{family}, in integers where weights are packed: {rounded}");
        let (wanted, gaps) = (reference.ids("greedyA"), reference.floats("gapA"));
        let got = greedy(&engine, &reference.ids("promptA"), wanted.len());
        if let Some(odd) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
            assert!(gaps[odd] < 3.0 * near, "{family}: token {odd} differs where the gap is {}", gaps[odd]);
        }
    }
}

#[test]
fn folders_of_mlx_give_the_logits_of_their_numbers() {
    let mut folders = 0;
    for (family, near) in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        for entry in std::fs::read_dir(&root).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(kind) = name.strip_prefix("mlx-") else { continue };
            folders += 1;
            let reference = Reference::open(root.join(format!("ref/{family}-{kind}.mlx.safetensors")));
            let (ids, wanted) = (reference.ids("promptA"), reference.floats("exact.logitsA"));
            let far = distance(&logits(&open(&path, 2, DType::F32), &ids, 32), &wanted);
            let fast = open_with(&path, 2, DType::F32, Precision::Fast);
            let rounded = relative(&logits(&fast, &ids, 32), &wanted);
            println!("{family} {name}: {far:.2e}, in integers {rounded:.4}");
            assert!(far <= near && rounded < 2e-3, "{family} {name}: {far} and {rounded}");
        }
    }
    assert!(folders >= 10, "{folders} folders");
}

#[test]
fn a_folder_cuts_text_as_its_gguf_file_does() {
    // Those of Qwen bring their letters into a normal form first, which their files do not.
    for family in ["llama", "gemma3", "phi3"] {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        let theirs = std::fs::read_dir(root.join("gguf")).unwrap().next().unwrap().unwrap().path();
        let [ours, theirs] = [root.join("hf"), theirs].map(|path| Tokenizer::open(path).unwrap());
        let text = "Once upon a time, 12 otters\n\tswam — naïvely!";
        assert_eq!(ours.encode(text, false).unwrap(), theirs.encode(text, false).unwrap(), "{family}");
        assert_eq!(ours.specials().ends.is_empty(), theirs.specials().ends.is_empty());
    }
}
