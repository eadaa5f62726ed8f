//! Folders written as GGUF files: the same model, which cuts text into the same tokens.

use std::{fs, ops::ControlFlow};

use forebay::{
    formats::weights::Precision,
    generate::tokenizer::Tokenizer,
    quantize::{self, Options, Progress},
};
use forebay_tensor::DType;

use crate::fixtures::{Reference, distance, folder, logits, open, open_with, relative};

const FAMILIES: [&str; 10] =
    ["llama", "qwen2", "qwen3", "qwen3moe", "qwen3next", "qwen35", "phi3", "gptoss", "gemma2", "gemma3"];

#[test]
fn a_folder_and_the_file_made_of_it_are_one_model() {
    let dir = std::env::temp_dir().join(format!("forebay-converted-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let go = |_: Progress<'_>| ControlFlow::Continue(());
    let text = "Once upon a time, 12345 otters\n\n\tdon't swim — naïvely!  <|im_end|> ÉTÉ";
    for family in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        let ids = Reference::open(root.join("ref/hf.safetensors")).ids("promptA");
        for (from, recipe, again) in [("hf", "f32", false), ("hf", "q8_0", false), ("mlx-4g64", "f32", true)]
        {
            let from = root.join(from);
            if !from.exists() {
                continue;
            }
            let file = dir.join(format!("{family}.gguf"));
            let mut options = Options::new(recipe.parse().unwrap()).threads(2);
            options.again = again;
            let report = quantize::gguf(&from, &file, &options, go).unwrap().unwrap();
            let wanted = logits(&open(&from, 2, DType::F32), &ids, 32);
            let made = open_with(&file, 2, DType::F32, Precision::Strict);
            let found = logits(&made, &ids, 32);
            let (far, rounded) = (distance(&found, &wanted), relative(&found, &wanted));
            println!("{family} {recipe}: {far:.2e}, {rounded:.4}, {} changed", report.changed);
            match recipe {
                "f32" => assert!(far < 1e-4, "{family}: {far}"),
                _ => assert!(rounded < 0.2 && rounded > 1e-5, "{family}: {rounded}"),
            }
            let [ours, theirs] = [&file, &from].map(|path| Tokenizer::open(path).unwrap());
            for bos in [false, true] {
                assert_eq!(ours.encode(text, bos).unwrap(), theirs.encode(text, bos).unwrap(), "{family}");
            }
            let missing = theirs.specials().ends.iter().find(|id| !ours.is_end(**id));
            assert_eq!(missing, None, "{family}");
        }
    }
    fs::remove_dir_all(dir).unwrap();
}
