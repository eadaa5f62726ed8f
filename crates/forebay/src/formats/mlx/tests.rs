//! Packed folders, right and wrong, and those of the fixtures.

use super::*;
use crate::formats::safetensors::Safetensors;

/// A file of tensors of zeros.
fn shards(rows: &[(&str, &str, &[u64], u64)]) -> Shards {
    let (mut table, mut end) = (serde_json::Map::new(), 0);
    for (name, kind, shape, bytes) in rows {
        let row = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [end, end + bytes]});
        table.insert((*name).to_owned(), row);
        end += bytes;
    }
    let header = serde_json::to_vec(&table).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; end as usize]].concat();
    Shards::join(vec![Safetensors::parse("m.safetensors", &file).unwrap()], None).unwrap()
}

fn quantization(json: &str) -> Quantization {
    let config = format!(r#"{{"quantization": {json}}}"#);
    Quantization::parse("config.json", config.as_bytes()).unwrap().unwrap()
}

fn name(quantization: &Quantization, module: &str) -> Option<&'static str> {
    quantization.of(module).map(DType::name)
}

#[test]
fn modules_have_types_of_their_own() {
    let mixed = quantization(
        r#"{"bits": 4, "group_size": 64, "a": {"bits": 3}, "b": {"bits": 8, "group_size": 32}, "c": false,
            "d": true, "e": {"mode": "mxfp4", "bits": 4, "group_size": 32}}"#,
    );
    let types = ["a", "b", "c", "d", "e", "f"].map(|module| name(&mixed, module));
    let wanted =
        [Some("mlx_3g64"), Some("mlx_8g32"), None, Some("mlx_4g64"), Some("mlx_mxfp4"), Some("mlx_4g64")];
    assert_eq!(types, wanted);
    for (mode, bits, group) in [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)] {
        let json = format!(r#"{{"mode": "{mode}", "bits": {bits}, "group_size": {group}}}"#);
        assert_eq!(name(&quantization(&json), "x"), Some(format!("mlx_{mode}").as_str()));
    }
}

#[test]
fn what_is_not_known_is_named() {
    let error = |config: &str| Quantization::parse("config.json", config.as_bytes()).unwrap_err().to_string();
    assert!(error(r#"{"quantization": {"bits": 7, "group_size": 64}}"#).contains("\"quantization\""));
    assert!(error(r#"{"quantization": {"bits": 4, "mode": "odd"}}"#).contains("\"odd\""));
    assert!(error(r#"{"quantization": {"bits": 4, "mode": "nvfp4", "group_size": 32}}"#).contains("nvfp4"));
    assert!(error(r#"{"quantization": {"bits": 4, "a": {"bits": -1}}}"#).contains("quantization.a"));
    let gptq = error(r#"{"quantization_config": {"quant_method": "gptq", "bits": 4}}"#);
    assert!(gptq.contains("quantization_config.quant_method") && gptq.contains("gptq"), "{gptq}");
    assert!(error("{").contains("config.json: header"));
    for config in ["{}", r#"{"quantization_config": {"quant_method": "mxfp4"}}"#, "[]", "3"] {
        assert!(Quantization::parse("config.json", config.as_bytes()).unwrap().is_none());
    }
}

#[test]
fn planes_are_found_and_go_with_their_weight() {
    let model = shards(&[
        ("e.scales", "BF16", &[2, 3, 1], 12),
        ("e.weight", "U32", &[2, 3, 6], 144),
        ("e.biases", "BF16", &[2, 3, 1], 12),
        ("norm.weight", "BF16", &[5], 10),
        ("lone.scales", "F32", &[1], 4),
        ("q.bias", "F16", &[3], 6),
    ]);
    let three = quantization(r#"{"bits": 3, "group_size": 64}"#);
    let weights = weights(&model, Some(&three)).unwrap();
    let names: Vec<&str> = weights.iter().map(|weight| weight.name).collect();
    assert_eq!(names, ["e.weight", "norm.weight", "lone.scales", "q.bias"]);
    let packed = &weights[0];
    assert_eq!((packed.dtype.unwrap().name(), &packed.shape[..]), ("mlx_3g64", &[2, 3, 64][..]));
    assert_eq!(packed.scales.map(|(_, tensor)| tensor.name()), Some("e.scales"));
    assert_eq!(packed.biases.map(|(_, tensor)| tensor.name()), Some("e.biases"));
    assert_eq!((weights[1].dtype, weights[1].scales.is_none()), (Some(DType::BF16), true));
    assert_eq!(super::weights(&model, None).unwrap().len(), 6);
}

#[test]
fn blocks_and_their_scales_are_one_weight() {
    let (blocks, scales) =
        (("e.up_blocks", "U8", &[2, 3, 4, 16][..], 384), ("e.up_scales", "U8", &[2, 3, 4][..], 24));
    let model = shards(&[scales, blocks, ("e.up_bias", "BF16", &[2, 3], 12)]);
    let found = weights(&model, None).unwrap();
    assert_eq!((found.len(), found[0].name, &found[0].shape[..]), (2, "e.up", &[2, 3, 128][..]));
    assert_eq!(found[0].dtype, Some(DType::MlxMxfp4));
    assert_eq!(found[0].scales.map(|(_, tensor)| tensor.name()), Some("e.up_scales"));
    for other in [("e.up_scales", "U8", &[2, 3, 2][..], 12), ("e.up_scales", "F16", &[2, 3, 4], 48)] {
        let error = weights(&shards(&[blocks, other]), None).unwrap_err().to_string();
        assert!(error.contains("the scale of each"), "{error}");
    }
}

#[test]
fn planes_that_do_not_fit_are_named() {
    let fault = |rows: &[(&str, &str, &[u64], u64)], json: &str| match weights(
        &shards(rows),
        Some(&quantization(json)),
    ) {
        Err(Error::Format(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    const FOUR: &str = r#"{"bits": 4, "group_size": 32}"#;
    let codes = ("w.weight", "U32", &[2, 4][..], 32);
    let scales = ("w.scales", "F16", &[2, 1][..], 4);
    let biases = ("w.biases", "F16", &[2, 1][..], 4);
    assert!(fault(&[codes, scales], FOUR).contains("with biases beside them"));
    assert!(fault(&[codes, ("w.scales", "F16", &[2, 2], 8), biases], FOUR).contains("[2, 1] of F16"));
    assert!(fault(&[codes, ("w.scales", "U8", &[2, 1], 2), biases], FOUR).contains("of U8"));
    assert!(fault(&[("w.weight", "I32", &[2, 4], 32), scales, biases], FOUR).contains("rows of U32"));
    assert!(fault(&[("w.weight", "U32", &[2, 3], 24), scales, biases], FOUR).contains("whole groups of 32"));
    assert!(
        fault(&[codes, scales, biases], r#"{"bits": 4, "group_size": 32, "w": false}"#)
            .contains("by the config")
    );
    assert!(fault(&[codes, scales, biases], r#"{"mode": "mxfp4"}"#).contains("of U8"));
}

#[test]
fn folders_of_the_fixtures() {
    let Some(fixtures) = std::env::var_os("FOREBAY_FIXTURES") else {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let mut folders = Vec::new();
    for model in std::fs::read_dir(Path::new(&fixtures).join("models")).unwrap() {
        let inside = std::fs::read_dir(model.unwrap().path()).unwrap().map(|entry| entry.unwrap().path());
        folders.extend(inside.filter(|path| path.join("config.json").exists()));
    }
    let mut packed = 0;
    for folder in &folders {
        let config = std::fs::read(folder.join("config.json")).unwrap();
        let quantization = Quantization::parse(folder.join("config.json"), &config).unwrap();
        let is_mlx = folder.file_name().unwrap().to_str().unwrap().starts_with("mlx");
        assert_eq!(quantization.is_some(), is_mlx, "{}", folder.display());
        let file = folder.join("model.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        let shards = Shards::join(vec![Safetensors::parse(&file, &bytes).unwrap()], None).unwrap();
        for weight in weights(&shards, quantization.as_ref()).unwrap() {
            packed += usize::from(weight.scales.is_some());
            assert!(weight.dtype.is_some());
        }
    }
    assert!(folders.len() > 20 && packed > 100, "{} folders, {packed} packed weights", folders.len());
}
