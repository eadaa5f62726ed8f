//! Files made smaller: against what llama.cpp made of the same file, and in every way that must be refused.

use std::{fs, ops::ControlFlow, path::PathBuf};

use forebay_device::MappedFile;
use forebay_tensor::{DType, quant};

use super::{Importance, Options, Progress, gguf};
use crate::{
    error::Result,
    formats::gguf::{Gguf, Value, builder::Builder},
};

/// Goes on to the end.
fn go(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("forebay-quantize-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn floats(count: usize, mut seed: u32) -> Vec<f32> {
    let mut number = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| number()).collect()
}

fn bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Two layers of two matrices, one of them of experts.
fn model() -> Builder {
    let mut file = Builder::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .u32("llama.attention.head_count", 4)
        .array("llama.attention.head_count_kv", 4, 2, &[2u32, 2].map(u32::to_le_bytes).concat())
        .u32("general.file_type", 0)
        .u32("general.alignment", 16)
        .u32("split.count", 0)
        .texts("tokenizer.ggml.tokens", &["a", "b"]);
    for layer in 0..2 {
        let values = bytes(&floats(32 * 256, layer));
        let experts = bytes(&floats(3 * 5 * 64, 7 + layer));
        file = file
            .tensor(&format!("blk.{layer}.attn_norm.weight"), 0, &[256], &values[..1024])
            .tensor(&format!("blk.{layer}.attn_v.weight"), 0, &[256, 32], &values)
            .tensor(&format!("blk.{layer}.ffn_down_exps.weight"), 0, &[64, 5, 3], &experts);
    }
    file.tensor("output.weight", 0, &[256, 2], &bytes(&floats(512, 5)))
}

#[test]
fn every_matrix_gets_the_type_of_the_recipe_and_the_bytes_of_the_encoder() {
    let dir = folder("types");
    let (input, output) = (dir.join("in.gguf"), dir.join("out.gguf"));
    fs::write(&input, model().bytes()).unwrap();
    let mut seen = Vec::new();
    for threads in [1, 3] {
        let options = Options::new("q4_k_m".parse().unwrap()).threads(threads);
        let report = gguf(&input, &output, &options, |progress| {
            seen.push(progress.tensor.to_owned());
            ControlFlow::Continue(())
        })
        .unwrap()
        .unwrap();
        assert_eq!(report.changed, 5);
        let map = MappedFile::open(&output).unwrap();
        let file = Gguf::parse(&output, map.bytes()).unwrap();
        let of = |name: &str| {
            let tensor = file.tensor(name).unwrap();
            (
                tensor.dtype().unwrap(),
                map.bytes()[tensor.range().start as usize..tensor.range().end as usize].to_vec(),
            )
        };
        let (dtype, found) = of("blk.1.attn_v.weight");
        let source = floats(32 * 256, 1);
        let mut wanted = vec![0; found.len()];
        for (row, out) in source.chunks(256).zip(wanted.chunks_mut(210)) {
            quant::encode(DType::Q6_K, row, None, out).unwrap();
        }
        assert!(dtype == DType::Q6_K && found == wanted);
        // Rows of 64 are no whole block of a K type.
        assert_eq!(of("blk.1.ffn_down_exps.weight").0, DType::Q8_0);
        assert_eq!(of("blk.0.attn_norm.weight"), (DType::F32, bytes(&floats(32 * 256, 0))[..1024].to_vec()));
        let metadata = file.metadata();
        assert_eq!(metadata.get::<u32>("general.file_type").unwrap(), 15);
        assert_eq!((metadata.value("split.count"), metadata.iter().len()), (None, 7));
        // The file that is read need not be aligned as the one that is written.
        assert_eq!((metadata.value("general.alignment"), file.alignment()), (None, 32));
        assert!(
            matches!(metadata.value("tokenizer.ggml.tokens"), Some(Value::Array(list)) if list.len() == 2)
        );
    }
    assert_eq!(seen.len(), 14);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn columns_that_count_more_are_kept_better_and_each_expert_has_its_own() {
    let dir = folder("importance");
    let (input, matrix, output) = (dir.join("in.gguf"), dir.join("i.gguf"), dir.join("out.gguf"));
    fs::write(&input, model().bytes()).unwrap();
    // For the second of three experts the first half counts, for the third the other.
    let half = |first: bool| (0..64).map(move |at| if (at < 32) == first { 800.0f32 } else { 0.008 });
    let squares: Vec<f32> = [vec![8.0; 64], half(true).collect(), half(false).collect()].concat();
    let file = Builder::new()
        .text("general.type", "imatrix")
        .tensor("blk.0.ffn_down_exps.weight.in_sum2", 0, &[64, 3], &bytes(&squares))
        .tensor("blk.0.ffn_down_exps.weight.counts", 0, &[1, 3], &bytes(&[8.0, 8.0, 8.0]));
    fs::write(&matrix, file.bytes()).unwrap();
    let mut options = Options::new("q4_1".parse().unwrap());
    let read = || -> Result<Vec<f32>> {
        let map = MappedFile::open(&output)?;
        let tensor = Gguf::parse(&output, map.bytes())?;
        let tensor = tensor.tensor("blk.0.ffn_down_exps.weight")?;
        let mut out = vec![0.0; 3 * 5 * 64];
        quant::decode(
            tensor.dtype()?,
            &map.bytes()[tensor.range().start as usize..tensor.range().end as usize],
            &mut out,
        )?;
        Ok(out)
    };
    gguf(&input, &output, &options, go).unwrap();
    let plain = read().unwrap();
    options.importance = Some(Importance::open(&matrix).unwrap());
    gguf(&input, &output, &options, go).unwrap();
    let weighted = read().unwrap();
    let source = floats(3 * 5 * 64, 7);
    let error = |found: &[f32], expert: usize| -> f32 {
        let columns = &squares[expert * 64..][..64];
        let rows = (expert * 5..expert * 5 + 5).flat_map(|row| (0..64).map(move |column| row * 64 + column));
        rows.map(|at| columns[at % 64] * (found[at] - source[at]).powi(2)).sum()
    };
    // Blocks hold 32 columns of like importance here, so what changes is nothing but rounding; a wrong expert would show.
    for expert in 0..3 {
        let (plain, weighted) = (error(&plain, expert), error(&weighted, expert));
        assert!(weighted <= plain * 1.0001, "expert {expert}: {weighted} against {plain}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn sums_without_columns_are_those_of_one_column() {
    let dir = folder("scalar");
    let path = dir.join("i.gguf");
    let one = bytes(&[4.0]);
    let file = Builder::new()
        .text("general.type", "imatrix")
        .tensor("x.weight.in_sum2", 0, &[], &one)
        .tensor("x.weight.counts", 0, &[1], &one);
    fs::write(&path, file.bytes()).unwrap();
    assert_eq!(Importance::open(&path).unwrap().len(), 1);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_would_lose_something_is_refused_and_leaves_no_file() {
    let dir = folder("refused");
    let (input, output) = (dir.join("in.gguf"), dir.join("out.gguf"));
    fs::write(&input, model().bytes()).unwrap();
    let options = Options::new("q8_0".parse().unwrap());
    let error = gguf(&input, &input, &options, go).unwrap_err().to_string();
    assert!(error.contains("another file than the input"), "{error}");

    gguf(&input, &output, &options, go).unwrap();
    let third = dir.join("third.gguf");
    let mut smaller = Options::new("q4_0".parse().unwrap());
    let error = gguf(&output, &third, &smaller, go).unwrap_err().to_string();
    assert!(error.contains("q8_0 already"), "{error}");
    smaller.again = true;
    gguf(&output, &third, &smaller, go).unwrap();
    fs::remove_file(&third).unwrap();

    let mut spoilt = floats(512, 5);
    spoilt[77] = f32::NAN;
    let file = Builder::new().text("general.architecture", "llama").tensor(
        "output.weight",
        0,
        &[256, 2],
        &bytes(&spoilt),
    );
    fs::write(&input, file.bytes()).unwrap();
    let error = gguf(&input, &third, &options, go).unwrap_err().to_string();
    assert!(error.contains("output.weight") && error.contains("in.gguf"), "{error}");
    let error = Importance::open(&input).unwrap_err().to_string();
    assert!(error.contains("imatrix"), "{error}");
    let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["in.gguf", "out.gguf"]);
    fs::remove_dir_all(dir).unwrap();
}

/// Types of all tensors, and the squared error of their elements against another file.
fn against(path: &PathBuf, original: &PathBuf) -> (Vec<(String, DType)>, f64) {
    let (map, exact) = (MappedFile::open(path).unwrap(), MappedFile::open(original).unwrap());
    let (file, exact_file) =
        (Gguf::parse(path, map.bytes()).unwrap(), Gguf::parse(original, exact.bytes()).unwrap());
    let decoded = |map: &MappedFile, file: &Gguf, name: &str| {
        let tensor = file.tensor(name).unwrap();
        let mut out = vec![0.0; tensor.elements() as usize];
        let range = tensor.range();
        quant::decode(
            tensor.dtype().unwrap(),
            &map.bytes()[range.start as usize..range.end as usize],
            &mut out,
        )
        .unwrap();
        out
    };
    let (mut types, mut error) = (Vec::new(), 0.0);
    for tensor in file.tensors() {
        types.push((tensor.name().to_owned(), tensor.dtype().unwrap()));
        let pairs =
            decoded(&map, &file, tensor.name()).into_iter().zip(decoded(&exact, &exact_file, tensor.name()));
        error += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    types.sort_by(|a, b| a.0.cmp(&b.0));
    (types, error)
}

#[test]
fn files_have_the_types_of_llama_cpps_and_no_larger_error() {
    let Some(fixtures) = std::env::var_os("FOREBAY_FIXTURES") else {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let dir = folder("fixtures");
    let models = PathBuf::from(fixtures).join("models/llama/gguf");
    let original = models.join("llama.BF16.gguf");
    for (recipe, pure, theirs) in [
        ("q3_k_m", false, "llama.Q3_K_M.gguf"),
        ("q4_k_m", false, "llama.Q4_K_M.gguf"),
        ("q5_k_m", false, "llama.Q5_K_M.gguf"),
        ("q4_0", true, "llama.pure-Q4_0.gguf"),
        ("q8_0", true, "llama.pure-Q8_0.gguf"),
    ] {
        let output = dir.join(theirs);
        let mut options = Options::new(recipe.parse().unwrap()).threads(2);
        options.pure = pure;
        gguf(&original, &output, &options, go).unwrap();
        let (ours, theirs) = (against(&output, &original), against(&models.join(theirs), &original));
        assert_eq!(ours.0, theirs.0);
        assert!(ours.1 <= theirs.1 * 1.000_01, "{recipe}: {} against {}", ours.1, theirs.1);
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn whoever_breaks_off_finds_nothing_left() {
    let dir = folder("broken");
    let (input, output) = (dir.join("in.gguf"), dir.join("out.gguf"));
    fs::write(&input, model().bytes()).unwrap();
    let options = Options::new("q8_0".parse().unwrap());
    let mut left = 3;
    let watch = |_: Progress<'_>| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(gguf(&input, &output, &options, watch).unwrap(), None);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    fs::remove_dir_all(dir).unwrap();
}
