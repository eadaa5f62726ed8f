//! Folders written as GGUF files, the same model, which cuts text into the same tokens; and as folders of MLX.

use std::{collections::BTreeMap, fs, ops::ControlFlow};

use forebay::{
    formats::{
        safetensors::{self, Safetensors},
        weights::Precision,
    },
    generate::tokenizer::Tokenizer,
    quantize::{self, Mixed, MlxOptions, Options, Progress},
};
use forebay_tensor::DType;

use crate::fixtures::{Reference, distance, folder, ggufs, logits, open, open_with, relative};

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

/// The tensors of a file: their type, shape and bytes.
fn tensors(path: &std::path::Path) -> BTreeMap<String, (String, Vec<u64>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = Safetensors::parse(path, &bytes).unwrap();
    let of = |tensor: &safetensors::Tensor| {
        let range = tensor.range().start as usize..tensor.range().end as usize;
        (tensor.name().to_owned(), (tensor.kind().to_owned(), tensor.shape().to_vec(), bytes[range].to_vec()))
    };
    file.tensors().iter().map(of).collect()
}

#[test]
fn folders_for_mlx_are_those_that_mlx_makes_to_the_bit() {
    let dir = std::env::temp_dir().join(format!("forebay-converted-mlx-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let go = |_: Progress<'_>| ControlFlow::Continue(());
    let mut folders = 0;
    for family in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        for entry in fs::read_dir(&root).unwrap() {
            let theirs = entry.unwrap().path();
            let name = theirs.file_name().unwrap().to_str().unwrap().to_owned();
            let options = match name.strip_prefix("mlx-") {
                Some("mxfp4" | "keep") => MlxOptions::new(DType::MlxMxfp4),
                Some(mixed) if mixed.contains("mixed") => Ok(MlxOptions::mixed(Mixed::named(mixed).unwrap())),
                Some(affine) => MlxOptions::new(format!("mlx_{affine}").parse().unwrap()),
                _ => continue,
            };
            let ours = dir.join(format!("{family}-{name}"));
            let report = quantize::mlx(root.join("hf"), &ours, &options.unwrap(), go).unwrap().unwrap();
            let (found, wanted) =
                (tensors(&ours.join("model.safetensors")), tensors(&theirs.join("model.safetensors")));
            println!("{family} {name}: {} tensors, {} packed", found.len(), report.changed);
            for (tensor, wanted) in &wanted {
                // The reference kept everything but experts as it was.
                if name != "mlx-keep" || tensor.contains("experts") || !tensor.ends_with("weight") {
                    assert!(found.get(tensor) == Some(wanted), "{family} {name}: {tensor}");
                }
            }
            assert!(found.len() == wanted.len() || name == "mlx-keep", "{family} {name}");
            // It opens, and is the model that the reference is.
            let ids = Reference::open(root.join("ref/hf.safetensors")).ids("promptA");
            let logits = [&ours, &theirs].map(|path| logits(&open(path, 2, DType::F32), &ids, 32));
            assert!(logits[0] == logits[1] || name == "mlx-keep", "{family} {name}");
            folders += 1;
        }
    }
    assert!(folders >= 10, "{folders} folders");
    let there = MlxOptions::new("mlx_4g64".parse().unwrap()).unwrap();
    let Some(root) = folder("models/llama") else { return };
    let error = quantize::mlx(root.join("hf"), &dir, &there, go).unwrap_err().to_string();
    assert!(error.contains("is there"), "{error}");
    let again = quantize::mlx(root.join("mlx-4g64"), dir.join("again"), &there, go).unwrap_err().to_string();
    assert!(again.contains("already"), "{again}");
    let broken = quantize::mlx(root.join("hf"), dir.join("broken"), &there, |_| ControlFlow::Break(()));
    assert_eq!(broken.unwrap(), None);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), folders);
    fs::remove_dir_all(dir).unwrap();
}

/// The elements of a tensor of floats.
fn floats(tensor: &(String, Vec<u64>, Vec<u8>)) -> Vec<f32> {
    let dtype = match tensor.0.as_str() {
        "F32" => DType::F32,
        "BF16" => DType::BF16,
        other => panic!("{other}"),
    };
    let mut floats = vec![0.0; tensor.2.len() / dtype.block_bytes()];
    forebay_tensor::quant::decode(dtype, &tensor.2, &mut floats).unwrap();
    floats
}

#[test]
fn a_folder_for_mlx_is_the_same_by_way_of_a_file() {
    let dir = std::env::temp_dir().join(format!("forebay-refolded-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let go = |_: Progress<'_>| ControlFlow::Continue(());
    let text = "Once upon a time, 12345 otters\n\n\tdon't swim — naïvely!  <|im_end|> <s>  ÉTÉ</s> ";
    for family in FAMILIES {
        let Some(root) = folder(&format!("models/{family}")) else { return };
        let (file, straight, around) =
            (dir.join("m.gguf"), dir.join(format!("{family}-a")), dir.join(format!("{family}-b")));
        quantize::gguf(root.join("hf"), &file, &Options::new("bf16".parse().unwrap()), go).unwrap();
        let options = MlxOptions::new("mlx_4g64".parse().unwrap()).unwrap();
        quantize::mlx(root.join("hf"), &straight, &options, go).unwrap();
        quantize::mlx(&file, &around, &options, go).unwrap();
        let [wanted, found] = [&straight, &around].map(|folder| tensors(&folder.join("model.safetensors")));
        assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{family}");
        for (name, wanted) in &wanted {
            let found = &found[name];
            let same = match name.ends_with("A_log") {
                // It went through an exponential.
                true => floats(found).iter().zip(floats(wanted)).all(|(a, b)| (a - b).abs() < 1e-6),
                false => found == wanted,
            };
            assert!(same, "{family}: {name}, {:?} {:?}, {:?} {:?}", found.0, found.1, wanted.0, wanted.1);
        }
        let ids = Reference::open(root.join("ref/hf.safetensors")).ids("promptA");
        let logits = [&straight, &around].map(|path| logits(&open(path, 2, DType::F32), &ids, 32));
        assert!(distance(&logits[0], &logits[1]) < 1e-4, "{family}");
        let [ours, theirs] = [&around, &root.join("hf")].map(|path| Tokenizer::open(path).unwrap());
        for bos in [false, true] {
            assert_eq!(ours.encode(text, bos).unwrap(), theirs.encode(text, bos).unwrap(), "{family}");
        }
        // Files name tokens also where the folder leaves them to the model's configuration.
        let (mut ends, wanted) = (ours.specials().clone(), theirs.specials());
        ends.bos = ends.bos.filter(|_| wanted.bos.is_some());
        ends.padding = ends.padding.filter(|_| wanted.padding.is_some());
        assert_eq!(&ends, wanted, "{family}");
        for id in 0..theirs.size() as u32 {
            // Rows that the folder has no token for have none afterwards.
            if let Ok(bytes) = theirs.bytes(id) {
                assert_eq!(ours.bytes(id).unwrap(), bytes, "{family}: {id}");
                assert_eq!(ours.is_control(id), theirs.is_control(id), "{family}: {id}");
            }
        }
        // What is made of a file that is quantised needs to be asked for.
        let small = dir.join("small.gguf");
        quantize::gguf(&file, &small, &Options::new("q8_0".parse().unwrap()), go).unwrap();
        let mut again = MlxOptions::new("mlx_8g64".parse().unwrap()).unwrap();
        let refused = quantize::mlx(&small, dir.join("again"), &again, go).unwrap_err().to_string();
        assert!(refused.contains("already"), "{family}: {refused}");
        again.again = true;
        let twice = dir.join(format!("{family}-c"));
        quantize::mlx(&small, &twice, &again, go).unwrap().unwrap();
        let wanted = crate::fixtures::logits(&open(&root.join("hf"), 2, DType::F32), &ids, 32);
        let far = relative(&crate::fixtures::logits(&open(&twice, 2, DType::F32), &ids, 32), &wanted);
        println!("{family}: {far:.4} off by 8 bits twice");
        assert!(far < 0.4 && far > 1e-5, "{family}: {far}");
        // Files of others, which say less.
        for (name, file) in ggufs(&root) {
            let others = dir.join(format!("{family}-{name}"));
            quantize::mlx(&file, &others, &again, go).unwrap().unwrap();
            let [ours, wanted] =
                [&others, &file].map(|path| crate::fixtures::logits(&open(path, 2, DType::F32), &ids, 32));
            let far = relative(&ours, &wanted);
            println!("{family} {name}: {far:.4} off");
            assert!(far < 0.4, "{family} {name}: {far}");
        }
    }
    fs::remove_dir_all(dir).unwrap();
}
