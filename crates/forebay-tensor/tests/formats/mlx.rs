//! MLX's formats against planes that MLX made and values that it decoded from them.

use crate::vectors::Vectors;
use forebay_tensor::{
    DType,
    quant::mlx::{self, Planes, PlanesMut},
};

/// Name in the vectors, type, and type of the scales.
fn cases() -> Vec<(String, DType, DType)> {
    let mut cases = Vec::new();
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            let dtype: DType = format!("mlx_{bits}g{group}").parse().unwrap();
            cases.push((format!("b{bits}g{group}.real"), dtype, DType::BF16));
            cases.push((format!("b{bits}g{group}.rand"), dtype, DType::F32));
        }
    }
    for name in ["mxfp4", "mxfp8", "nvfp4"] {
        cases.push((name.to_owned(), format!("mlx_{name}").parse().unwrap(), DType::U8));
    }
    cases
}

fn planes<'a>(vectors: &'a Vectors, stem: &str, scale_type: DType) -> Planes<'a> {
    let biases = if scale_type == DType::U8 { &[] } else { vectors.bytes(&format!("{stem}.biases")) };
    Planes {
        codes: vectors.bytes(&format!("{stem}.packed")),
        scales: vectors.bytes(&format!("{stem}.scales")),
        biases,
        scale_type,
    }
}

#[test]
fn decoding_is_within_one_ulp_of_the_vectors() {
    let vectors = Vectors::open("mlx_quant");
    for (stem, dtype, scale_type) in cases() {
        let wanted = vectors.floats(&format!("{stem}.deq"));
        let mut out = vec![f32::NAN; wanted.len()];
        mlx::decode(dtype, &planes(&vectors, &stem, scale_type), &mut out).unwrap();
        for (i, (ours, theirs)) in out.iter().zip(&wanted).enumerate() {
            let near = ours == theirs || ours.next_up() == *theirs || ours.next_down() == *theirs;
            assert!(near, "{stem}, element {i}: {ours} is not {theirs}");
        }
    }
}

#[test]
fn encoding_gives_the_planes_of_the_vectors() {
    let vectors = Vectors::open("mlx_quant");
    for (stem, dtype, scale_type) in cases().into_iter().filter(|(stem, ..)| !stem.ends_with("rand")) {
        let theirs = planes(&vectors, &stem, scale_type);
        let mut codes = vec![0xaa; theirs.codes.len()];
        let mut scales = vec![0xaa; theirs.scales.len()];
        let mut biases = vec![0xaa; theirs.biases.len()];
        let planes = PlanesMut { codes: &mut codes, scales: &mut scales, biases: &mut biases, scale_type };
        mlx::encode(dtype, &vectors.floats(&format!("{stem}.src")), planes).unwrap();
        for (plane, ours, theirs) in [
            ("codes", &codes, theirs.codes),
            ("scales", &scales, theirs.scales),
            ("biases", &biases, theirs.biases),
        ] {
            let wrong = ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
            assert_eq!(wrong, 0, "{stem}: wrong bytes of {} in {plane}", ours.len());
        }
    }
}
