//! Engines on folders: a tiny model of random weights that is made here, in every way in which a folder may hold it, and
//! folders that are wrong in one way each.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use forebay_device::{Device, DeviceOptions};
use forebay_tensor::{Affine, DType, quant::mlx};

use super::{Engine, EngineOptions};
use crate::{
    error::Result,
    formats::{
        gguf::builder::Builder,
        weights::{Access, Precision, Progress, Warning, Weights},
        write::{self, NamedTensor},
    },
    generate::{step::SequenceOptions, tokenizer::Tokenizer},
};

const WIDTH: usize = 32;
const FFN: usize = 64;
const ROWS: usize = 12;

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "vocab_size": 12, "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "eos_token_id": 9}"#;

const TOKENIZER: &str = r#"{"added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "unk_token": "a",
    "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6, "h": 7, "i": 8, "j": 9}}}"#;

/// A folder that goes when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-folder-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A folder with the small files and these tensors.
    fn of(tensors: &[Made]) -> Self {
        Self::new()
            .put("config.json", CONFIG)
            .put("tokenizer.json", TOKENIZER)
            .tensors("model.safetensors", tensors)
    }

    fn put(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    fn without(self, name: &str) -> Self {
        fs::remove_file(self.0.join(name)).unwrap();
        self
    }

    fn tensors(self, file: &str, tensors: &[Made]) -> Self {
        let named: Vec<NamedTensor<'_>> = tensors.iter().map(Made::named).collect();
        write::safetensors(self.0.join(file), &named).unwrap();
        self
    }

    fn open(&self) -> Result<Engine> {
        open(&self.0, Access::Mapped)
    }

    fn logits(&self) -> Vec<f32> {
        logits(&self.open().unwrap())
    }

    fn error(&self) -> String {
        let error = self.open().map(drop).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn open(path: &Path, access: Access) -> Result<Engine> {
    let options = EngineOptions::default().device(DeviceOptions::cpu().threads(1)).kv(DType::F32);
    Engine::open_with(path, &options.access(access).precision(Precision::Strict))
}

fn logits(engine: &Engine) -> Vec<f32> {
    let options = SequenceOptions { all_logits: true, ..engine.sequence_options() };
    let mut all = Vec::new();
    let mut sequence = engine.sequence_with(&options).unwrap();
    sequence
        .feed_each(&[1, 7, 8, 4, 0, 11], |rows| {
            all.extend_from_slice(rows);
            Ok(())
        })
        .unwrap();
    assert!(all.len() == 6 * ROWS && all.iter().all(|x| x.is_finite()) && all[0] != all[ROWS]);
    all
}

/// A tensor of a file.
#[derive(Clone)]
struct Made {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Made {
    fn named(&self) -> NamedTensor<'_> {
        let Self { name, dtype, shape, bytes } = self;
        NamedTensor { name, dtype: *dtype, shape, bytes }
    }
}

/// Numbers that depend on the name alone, and that bf16 holds.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 24) as f32 - 127.5) / 128.0
    };
    (0..count).map(|_| next()).collect()
}

fn floats(name: &str, shape: &[usize], numbers: &[f32]) -> Made {
    let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    Made { name: name.to_owned(), dtype: DType::F32, shape: shape.to_vec(), bytes }
}

/// The tensors of the model.
fn plain() -> Vec<Made> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![ROWS, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        ("lm_head.weight".to_owned(), vec![ROWS, WIDTH]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![WIDTH / 2, WIDTH]),
            ("self_attn.v_proj", vec![WIDTH / 2, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("mlp.gate_proj", vec![FFN, WIDTH]),
            ("mlp.up_proj", vec![FFN, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, FFN]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let made = |(name, shape): (String, Vec<usize>)| {
        let numbers = numbers(&name, shape.iter().product());
        floats(&name, &shape, &numbers)
    };
    shapes.into_iter().map(made).collect()
}

fn index(files: &[(&str, &[Made])]) -> String {
    let pairs = files.iter().flat_map(|(file, tensors)| {
        tensors.iter().map(move |made| (made.name.clone(), serde_json::Value::from(*file)))
    });
    serde_json::json!({ "weight_map": serde_json::Map::from_iter(pairs) }).to_string()
}

#[test]
fn however_a_folder_holds_a_model_it_computes_the_same() {
    let tensors = plain();
    let whole = Folder::of(&tensors);
    let wanted = whole.logits();
    assert_eq!(logits(&open(&whole.0, Access::Read).unwrap()), wanted, "read instead of mapped");
    assert_eq!(
        logits(&open(&whole.0.join("config.json"), Access::Mapped).unwrap()),
        wanted,
        "named by a file"
    );

    let (first, second) = tensors.split_at(7);
    let files: [(&str, &[Made]); 2] = [("a-1.safetensors", first), ("a-2.safetensors", second)];
    let shards =
        Folder::of(&[]).without("model.safetensors").put("model.safetensors.index.json", index(&files));
    let shards = shards.tensors(files[0].0, first).tensors(files[1].0, second);
    assert_eq!(shards.logits(), wanted, "in shards");

    let halves: Vec<Made> = tensors
        .iter()
        .map(|made| Made {
            dtype: DType::BF16,
            bytes: made.bytes.chunks(4).flat_map(|x| x[2..].to_vec()).collect(),
            ..made.clone()
        })
        .collect();
    assert_eq!(Folder::of(&halves).logits(), wanted, "in bf16, which holds these numbers");

    let renamed =
        |made: &Made| Made { name: made.name.replacen("model.", "model.language_model.", 1), ..made.clone() };
    let mut parts: Vec<Made> = tensors.iter().map(renamed).collect();
    parts.push(floats("model.visual.patch.weight", &[3], &[1.0; 3]));
    parts.push(floats("vision_tower.x", &[3], &[1.0; 3]));
    let parts = Folder::of(&parts);
    let engine = parts.open().unwrap();
    assert_eq!(logits(&engine), wanted, "with other parts");
    let [Warning::OtherParts { parts, .. }] = engine.warnings() else { panic!("{:?}", engine.warnings()) };
    assert_eq!(parts[..], ["vision_tower", "visual"]);
}

#[test]
fn the_embedding_stands_for_an_output_that_is_tied_to_it() {
    let mut tensors = plain();
    let embedding = tensors[0].bytes.clone();
    let untied = Folder::of(&tensors).logits();
    let tied = |tensors: &[Made]| {
        Folder::of(tensors)
            .put("config.json", CONFIG.replace("embeddings\": false", "embeddings\": true"))
            .logits()
    };
    // Whatever the file holds as an output.
    let wanted = tied(&tensors);
    assert_ne!(wanted, untied);
    tensors[2].bytes = embedding;
    assert_eq!(Folder::of(&tensors).logits(), wanted);
    tensors.remove(2);
    assert_eq!(tied(&tensors), wanted);
    let error = Folder::of(&tensors).error();
    assert!(error.contains(r#"model.safetensors: has no tensor "lm_head.weight""#), "{error}");
}

/// The same model with matrices as MLX packs them, and with what is left of them in floats.
fn packed(dtype: DType, scale_type: DType, groups: usize) -> (Vec<Made>, Vec<Made>) {
    let (mut planes, mut decoded) = (Vec::new(), Vec::new());
    for made in plain() {
        let &[rows, width] = &made.shape[..] else {
            planes.push(made.clone());
            decoded.push(made);
            continue;
        };
        let numbers = numbers(&made.name, rows * width);
        let sizes = mlx::plane_bytes(dtype, scale_type, rows * width).unwrap();
        let [mut codes, mut scales, mut biases] =
            [sizes.codes, sizes.scales, sizes.biases].map(|size| vec![0; size]);
        let out = mlx::PlanesMut { codes: &mut codes, scales: &mut scales, biases: &mut biases, scale_type };
        mlx::encode(dtype, &numbers, out).unwrap();
        let mut back = vec![0.0; rows * width];
        let read = mlx::Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
        mlx::decode(dtype, &read, &mut back).unwrap();
        decoded.push(floats(&made.name, &made.shape, &back));
        let words = vec![rows, codes.len() / rows / 4];
        let stem = made.name.strip_suffix(".weight").unwrap();
        planes.push(Made { name: made.name.clone(), dtype: DType::U32, shape: words, bytes: codes });
        let side = vec![rows, width / groups];
        planes.push(Made {
            name: format!("{stem}.scales"),
            dtype: scale_type,
            shape: side.clone(),
            bytes: scales,
        });
        if !biases.is_empty() {
            planes.push(Made {
                name: format!("{stem}.biases"),
                dtype: scale_type,
                shape: side,
                bytes: biases,
            });
        }
    }
    (planes, decoded)
}

#[test]
fn weights_of_mlx_compute_what_their_numbers_do() {
    let affine = |bits| DType::Affine(Affine::new(bits, 32).unwrap());
    for (dtype, scale_type, group, config) in [
        (affine(4), DType::F16, 32, r#"{"bits": 4, "group_size": 32}"#),
        (affine(3), DType::BF16, 32, r#"{"bits": 3, "group_size": 32, "mode": "affine"}"#),
        (DType::MlxMxfp4, DType::U8, 32, r#"{"bits": 4, "group_size": 32, "mode": "mxfp4"}"#),
        (DType::MlxMxfp8, DType::U8, 32, r#"{"bits": 8, "group_size": 32, "mode": "mxfp8"}"#),
        (DType::MlxNvfp4, DType::U8, 16, r#"{"bits": 4, "group_size": 16, "mode": "nvfp4"}"#),
    ] {
        let (planes, decoded) = packed(dtype, scale_type, group);
        let config = CONFIG.replacen('{', &format!(r#"{{"quantization": {config}, "#), 1);
        let folder = Folder::of(&planes).put("config.json", &config);
        assert_eq!(folder.logits(), Folder::of(&decoded).logits(), "{dtype}");
        // Packed for integers, near the same.
        let options = EngineOptions::default().device(DeviceOptions::cpu().threads(1)).kv(DType::F32);
        let (fast, wanted) = (logits(&Engine::open_with(&folder.0, &options).unwrap()), folder.logits());
        let square = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let far =
            square(&mut fast.iter().zip(&wanted).map(|(a, b)| a - b)) / square(&mut wanted.iter().copied());
        assert!(far.sqrt() < 2e-3, "{dtype}: {}", far.sqrt());
    }
}

#[test]
fn large_matrices_stay_where_they_lie() {
    let bytes: Vec<u8> = (0..2 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = Made { name: "lm_head.weight".into(), dtype: DType::BF16, shape: vec![1024, 1024], bytes };
    // One byte before it, so that nothing is aligned by chance.
    let odd = Made { name: "model.norm.weight".into(), dtype: DType::U8, shape: vec![1], bytes: vec![1] };
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    for (tensors, mapped) in [(vec![large.clone()], true), (vec![odd, large.clone()], false)] {
        let folder = Folder::of(&tensors);
        for access in [Access::Mapped, Access::Read] {
            let mut weights = Weights::open(&folder.0, &device, access, Precision::Fast).unwrap();
            let tensor = weights.take("output.weight", &[1024, 1024]).unwrap();
            assert!(tensor.buffer().read::<u8>().unwrap()[..] == large.bytes[..]);
            let stays = tensor.buffer().write::<u8>().is_err();
            assert_eq!(stays, mapped && access == Access::Mapped, "{access:?}");
            let rows = weights.take_rows("output.weight", [1024, 1024], 3..5).unwrap();
            assert!(rows.buffer().read::<u8>().unwrap()[..] == large.bytes[3 * 2048..5 * 2048]);
            assert!(weights.take_rows("output.weight", [1024, 1024], 1023..1025).is_err());
        }
    }
}

#[test]
fn loading_tells_how_far_it_is() {
    let folder = Folder::of(&plain());
    let told = Arc::new(Mutex::new(Vec::new()));
    let also = told.clone();
    let progress = Progress::new(move |done, all| also.lock().unwrap().push((done, all)));
    let options = EngineOptions::default().device(DeviceOptions::cpu().threads(1)).progress(progress);
    Engine::open_with(&folder.0, &options).unwrap();
    let told = told.lock().unwrap();
    let all: usize = plain().iter().map(|made| made.bytes.len()).sum();
    assert!(
        told.iter().all(|(_, of)| *of == all as u64) && told.windows(2).all(|pair| pair[0].0 <= pair[1].0)
    );
    assert!(told.len() > 10 && told[told.len() - 1].0 == all as u64 && told[0].0 < told[1].0, "{told:?}");
}

#[test]
fn settings_and_ends_come_from_the_folder() {
    let folder = Folder::of(&plain());
    assert_eq!(folder.open().unwrap().settings().ends, [9]);
    let folder =
        folder.put("generation_config.json", r#"{"eos_token_id": [3, 5], "top_k": 7, "do_sample": true}"#);
    let engine = folder.open().unwrap();
    let settings = engine.settings();
    assert_eq!((&settings.ends[..], settings.top_k, settings.sample), (&[3, 5][..], Some(7), Some(true)));
    assert!(engine.tokenizer().is_end(5) && !engine.tokenizer().is_end(9));
}

#[test]
fn folders_that_are_wrong_in_one_way_say_which() {
    let error = |folder: Folder| folder.error();
    let good = || Folder::of(&plain());
    let config = |from: &str, to: &str| good().put("config.json", CONFIG.replacen(from, to, 1)).error();

    let empty = Folder::new();
    assert!(empty.error().ends_with("holds no model: neither a config.json nor a GGUF file"));
    assert!(
        error(good().without("model.safetensors"))
            .ends_with("has no model.safetensors; fetch it into the folder")
    );
    assert!(
        error(good().without("tokenizer.json")).ends_with("has no tokenizer.json; fetch it into the folder")
    );
    assert!(error(good().put("tokenizer.json", "{")).contains("tokenizer.json: tokenizer: "));
    assert!(error(good().put("config.json", "[")).contains("config.json: header, byte 0: "));
    assert!(
        config("LlamaForCausalLM", "OtterModel")
            .contains(r#"no model family is called "OtterModel"; known are Gemma2"#)
    );
    assert!(config(r#""hidden_size": 32, "#, "").contains(r#"config.json: has no key "hidden_size""#));
    assert!(
        config("\"vocab_size\": 12", "\"vocab_size\": 13")
            .contains(r#"tensor "model.embed_tokens.weight" has shape [12, 32], the model needs [13, 32]"#)
    );
    for method in ["fp8", "gptq", "awq", "bitsandbytes"] {
        let error = config("{", &format!(r#"{{"quantization_config": {{"quant_method": "{method}"}}, "#));
        assert!(error.contains("quantization_config.quant_method") && error.contains(method), "{error}");
        assert!(error.contains("a folder that is not quantised, or by MLX, or a GGUF file"), "{error}");
    }
    let mode = config("{", r#"{"quantization": {"bits": 4, "group_size": 32, "mode": "mystery"}, "#);
    assert!(mode.contains(r#""mystery""#) && mode.contains("affine, mxfp4, mxfp8 or nvfp4"), "{mode}");
    let words = TOKENIZER.replace(r#""j": 9"#, r#""j": 9, "k": 10, "l": 11, "m": 12"#);
    let error = good().put("tokenizer.json", words).error();
    assert!(error.contains("token 12 has no row in the model, which has 12"), "{error}");
}

#[test]
fn tensors_that_are_missing_or_too_many_go_by_the_names_of_the_folder() {
    let mut tensors = plain();
    tensors.push(floats("model.layers.0.self_attn.extra.weight", &[3], &[1.0; 3]));
    let error = Folder::of(&tensors).error();
    let wanted = r#"holds 1 tensors that this model does not use, the first is "model.layers.0.self_attn.extra.weight""#;
    assert!(error.contains(wanted), "{error}");
    tensors.retain(|made| !made.name.contains("extra") && !made.name.contains("1.self_attn.v_proj"));
    let error = Folder::of(&tensors).error();
    assert!(error.contains(r#"has no tensor "model.layers.1.self_attn.v_proj.weight""#), "{error}");
    let tensors = plain();
    let files: [(&str, &[Made]); 2] = [("a.safetensors", &tensors[..7]), ("b.safetensors", &tensors[7..])];
    let shards =
        Folder::of(&[]).without("model.safetensors").put("model.safetensors.index.json", index(&files));
    let error = shards.tensors("a.safetensors", files[0].1).error();
    assert!(
        error.contains("b.safetensors: is missing, ") && error.contains("index.json names it"),
        "{error}"
    );
}

#[test]
fn a_folder_with_one_gguf_model_is_that_model() {
    let vocabulary = || {
        Builder::new()
            .text("general.architecture", "otter")
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &["<unk>", "a"])
            .f32s("tokenizer.ggml.scores", &[0.0, 0.0])
            .i32s("tokenizer.ggml.token_type", &[2, 1])
            .bytes()
    };
    let folder = Folder::new().put("m.gguf", vocabulary()).put("mmproj-m.gguf", "no model");
    assert!(folder.error().contains(r#"m.gguf: no model family is called "otter""#));
    assert_eq!(Tokenizer::open(&folder.0).unwrap().size(), 2);
    let folder = folder.put("n.gguf", vocabulary());
    assert!(folder.error().ends_with("holds several GGUF files, name one of them: m.gguf, n.gguf"));
    let parts =
        Folder::new().put("m-00001-of-00002.gguf", vocabulary()).put("m-00002-of-00002.gguf", vocabulary());
    assert!(parts.error().contains("m-00001-of-00002.gguf: no model family"));
}
