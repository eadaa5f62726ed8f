//! Formats of one plane of bytes against blocks that other software encoded and decoded.

use std::collections::BTreeSet;

use crate::vectors::Vectors;
use forebay_tensor::{DType, quant};

#[test]
fn decoding_is_bit_equal_to_the_vectors() {
    let vectors = Vectors::open("gguf_dequant");
    let mut seen = BTreeSet::from(["f32"]);
    for raw in vectors.names().filter(|name| name.ends_with(".raw")) {
        let stem = raw.trim_end_matches(".raw");
        let Ok(format) = quant::format_of(stem.split('.').next().unwrap().parse().unwrap()) else { continue };
        let wanted = vectors.floats(&format!("{stem}.deq"));
        let mut out = vec![f32::NAN; wanted.len()];
        quant::decode(format.dtype(), vectors.bytes(raw), &mut out).unwrap();
        let wrong = out.iter().zip(&wanted).position(|(a, b)| a.to_bits() != b.to_bits());
        if let Some(i) = wrong {
            panic!("{stem}, element {i}: {} is not {}", out[i], wanted[i]);
        }
        seen.insert(format.dtype().name());
    }
    assert_eq!(seen.len(), quant::formats().len(), "only {seen:?} were there");
}

#[test]
fn encoding_has_no_more_squared_error_than_the_vectors() {
    let vectors = Vectors::open("gguf_dequant");
    for format in quant::formats().iter().filter(|format| format.dtype() != DType::F32) {
        let stem = format!("{}.real", format.dtype().name().to_uppercase());
        let src = vectors.floats(&format!("{stem}.src"));
        let theirs = squared_error(&src, &vectors.floats(&format!("{stem}.deq")));
        let mut bytes = vec![0; format.dtype().row_bytes(src.len()).unwrap()];
        quant::encode(format.dtype(), &src, None, &mut bytes).unwrap();
        let mut back = vec![f32::NAN; src.len()];
        quant::decode(format.dtype(), &bytes, &mut back).unwrap();
        let ours = squared_error(&src, &back);
        println!("{:8} ours {ours:.6e} theirs {theirs:.6e} ratio {:.4}", format.dtype(), ours / theirs);
        assert!(ours <= theirs, "{}: squared error {ours} is above {theirs}", format.dtype());
    }
}

#[test]
fn rounding_gives_the_bytes_of_the_vectors() {
    let vectors = Vectors::open("gguf_dequant");
    for dtype in [DType::F16, DType::BF16, DType::Q4_0, DType::Q8_0, DType::Q8_1, DType::Q8_K] {
        let stem = format!("{}.real", dtype.name().to_uppercase());
        let raw = vectors.bytes(&format!("{stem}.raw"));
        let mut out = vec![0xaa; raw.len()];
        quant::quantise_row(dtype, &vectors.floats(&format!("{stem}.src")), &mut out).unwrap();
        let wrong = out.iter().zip(raw).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "{dtype}: byte");
    }
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}
