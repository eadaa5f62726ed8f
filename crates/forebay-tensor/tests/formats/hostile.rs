//! Formats against bytes and numbers that nobody meant: they give some numbers or an error, and touch nothing else.

use forebay_device::{Device, DeviceOptions};
use forebay_tensor::{
    DType, Error, Level, Weight, WeightBytes,
    quant::{
        self,
        mlx::{self, Planes, PlanesMut},
    },
};

use crate::any::{SCALE_TYPES, decode_guarded, weight};

/// Repeatable bytes, as many as wanted.
fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Bytes of every hostile kind: noise, all alike, and every f16 in them not a number, or infinite.
fn hostile(len: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        (1..40).map(|seed: u64| noise(len, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    all.extend([0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff].map(|byte| vec![byte; len]));
    let pairs: [[u8; 2]; 4] = [[0x00, 0x7e], [0x00, 0x7c], [0x00, 0xfc], [0x01, 0x7c]];
    all.extend(pairs.map(|pair| pair.into_iter().cycle().take(len).collect()));
    all
}

#[test]
fn any_bytes_decode() {
    for format in quant::formats() {
        let dtype = format.dtype();
        let elements = 3 * dtype.block_elements();
        for bytes in hostile(dtype.row_bytes(elements).unwrap()) {
            decode_guarded(dtype.name(), elements, |out| quant::decode(dtype, &bytes, out).unwrap());
        }
    }
}

#[test]
fn any_planes_decode() {
    for dtype in DType::all() {
        for scale_type in SCALE_TYPES {
            let elements = 3 * dtype.block_elements();
            let Ok(sizes) = mlx::plane_bytes(dtype, scale_type, elements) else { continue };
            let all = hostile(sizes.codes.max(sizes.scales));
            for (codes, scales) in all.iter().zip(all.iter().rev()) {
                let planes = Planes {
                    codes: &codes[..sizes.codes],
                    scales: &scales[..sizes.scales],
                    biases: &codes[..sizes.biases],
                    scale_type,
                };
                decode_guarded(dtype.name(), elements, |out| mlx::decode(dtype, &planes, out).unwrap());
            }
        }
    }
}

/// Weights of hostile bytes, and in turn scales that are no numbers, meet rows of activations with infinities and zeros.
#[test]
fn any_bytes_make_a_weight_that_is_the_same_on_every_level() {
    let rows = [vec![0.5, -3.0, 1e-30], vec![0.0], vec![1.0, f32::INFINITY, f32::NAN], vec![-1e38, 1e38]];
    for dtype in DType::all() {
        for scale_type in SCALE_TYPES {
            let block = dtype.block_elements();
            let all = hostile(dtype.block_bytes() + 7);
            for (i, bytes) in all.iter().enumerate().filter(|(i, _)| i % 6 == 0 || *i > 38) {
                let shape = [[1, block], [17, 2 * block], [3, 0], [0, block]][i % 4];
                weight(dtype, scale_type, shape, bytes, &rows[..1 + i % rows.len()]);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_weight_are_errors_with_the_values() {
    for dtype in DType::all() {
        let block = dtype.block_elements();
        let shape = [3, 2 * block];
        let wanted = 6 * dtype.block_bytes();
        if quant::format_of(dtype).is_err() {
            let error = WeightBytes::of(dtype, shape, &vec![0; wanted]).unwrap_err();
            assert_eq!(error, Error::NoFormat { dtype: dtype.name() });
            continue;
        }
        for given in [0, wanted - 1, wanted + 1] {
            let error = WeightBytes::of(dtype, shape, &vec![0; given]).unwrap_err();
            let elements = 6 * block;
            let bytes = Error::ByteLength { what: "bytes", dtype: dtype.name(), elements, given, wanted };
            assert_eq!(error, bytes);
        }
        let huge = WeightBytes::of(dtype, [usize::MAX / block, 2 * block], &[]).unwrap_err();
        assert!(matches!(huge, Error::Shape { .. }), "{dtype}: {huge}");
        if block > 1 {
            let error = WeightBytes::of(dtype, [1, block + 1], &vec![0; wanted]).unwrap_err();
            assert_eq!(error, Error::PartialBlock { dtype: dtype.name(), elements: block + 1, block });
        }
        // No rows, however long they are said to be.
        let device = Device::open(&DeviceOptions::cpu().threads(3)).unwrap();
        for width in [0, block, (isize::MAX as usize / 16 / block) * block] {
            let none = WeightBytes::of(dtype, [0, width], &[]).unwrap();
            match Weight::pack(&device, &none, Level::Plain, "none", |_| ()) {
                Ok(weight) => assert_eq!((weight.shape(), weight.buffer().len()), ([0, width], 0)),
                Err(error) => assert!(matches!(error, Error::NoPanels { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn lengths_that_do_not_match_are_errors_with_the_values() {
    for format in quant::formats() {
        let dtype = format.dtype();
        let block = dtype.block_elements();
        let bytes = vec![0; 2 * dtype.block_bytes()];
        let mut out = vec![0.0; 2 * block];
        for given in [0, 1, bytes.len() - 1] {
            let error = quant::decode(dtype, &bytes[..given], &mut out).unwrap_err();
            let (what, wanted) = ("bytes", bytes.len());
            assert_eq!(
                error,
                Error::ByteLength { what, dtype: dtype.name(), elements: 2 * block, given, wanted }
            );
            let src = vec![0.0; 2 * block];
            let error = quant::encode(dtype, &src, None, &mut bytes.clone()[..given]).unwrap_err();
            let what = "out";
            assert_eq!(
                error,
                Error::ByteLength { what, dtype: dtype.name(), elements: 2 * block, given, wanted }
            );
        }
        if block > 1 {
            let error = quant::decode(dtype, &bytes, &mut out[1..]).unwrap_err();
            let elements = 2 * block - 1;
            assert_eq!(error, Error::PartialBlock { dtype: dtype.name(), elements, block });
            assert_eq!(
                error.to_string(),
                format!("a row of {elements} elements is no whole number of {dtype} blocks of {block}")
            );
        }
        quant::decode(dtype, &[], &mut []).unwrap();
        quant::encode(dtype, &[], None, &mut []).unwrap();
    }
}

#[test]
fn types_without_a_format_are_errors() {
    for dtype in [DType::F64, DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U32] {
        let error = Error::NoFormat { dtype: dtype.name() };
        assert_eq!(quant::decode(dtype, &[], &mut []), Err(error.clone()));
        assert_eq!(quant::encode(dtype, &[], None, &mut []), Err(error));
        let error = Error::NoPlanes { dtype: dtype.name() };
        assert_eq!(mlx::plane_bytes(dtype, DType::F32, 0), Err(error));
    }
    let error = Error::NoRounding { dtype: "q4_k" };
    assert_eq!(quant::quantise_row(DType::Q4_K, &[], &mut []), Err(error));
}

#[test]
fn planes_that_do_not_match_are_errors_with_the_values() {
    let dtype: DType = "mlx_3g64".parse().unwrap();
    let planes = Planes { codes: &[0; 24], scales: &[0; 2], biases: &[0; 1], scale_type: DType::BF16 };
    let error =
        Error::ByteLength { what: "planes.biases", dtype: "mlx_3g64", elements: 64, given: 1, wanted: 2 };
    assert_eq!(mlx::decode(dtype, &planes, &mut [0.0; 64]), Err(error));
    let error = Error::PartialBlock { dtype: "mlx_3g64", elements: 32, block: 64 };
    assert_eq!(mlx::decode(dtype, &planes, &mut [0.0; 32]), Err(error));
    let error = Error::ScaleType { dtype: "mlx_3g64", scale_type: "u8" };
    assert_eq!(mlx::plane_bytes(dtype, DType::U8, 64), Err(error));
    let error = Error::ScaleType { dtype: "mlx_mxfp8", scale_type: "f16" };
    assert_eq!(mlx::plane_bytes(DType::MlxMxfp8, DType::F16, 64), Err(error));
}

#[test]
fn numbers_that_cannot_be_encoded_are_errors_with_their_place() {
    for format in quant::formats().iter().filter(|format| !format.dtype().is_plain()) {
        let dtype = format.dtype();
        let elements = 2 * dtype.block_elements();
        let mut out = vec![0; dtype.row_bytes(elements).unwrap()];
        for bad in [f32::INFINITY, f32::NEG_INFINITY] {
            let mut src = vec![1.0; elements];
            src[elements - 3] = bad;
            let error = Error::BadValue { what: "src", index: elements - 3, value: bad };
            assert_eq!(quant::encode(dtype, &src, None, &mut out), Err(error));
        }
        let src = vec![1.0; elements];
        let mut importance = vec![1.0; elements];
        importance[2] = -0.5;
        let error = Error::BadValue { what: "importance", index: 2, value: -0.5 };
        assert_eq!(quant::encode(dtype, &src, Some(&importance), &mut out), Err(error));
        importance[2] = f32::NAN;
        let error = quant::encode(dtype, &src, Some(&importance), &mut out);
        assert!(
            matches!(error, Err(Error::BadValue { what: "importance", index: 2, value }) if value.is_nan())
        );
        let error = quant::encode(dtype, &src, Some(&[]), &mut out).unwrap_err();
        assert_eq!(error, Error::ElementCount { what: "importance", given: 0, wanted: elements });
        let long = vec![1.0; 2 * elements];
        let error = quant::encode(dtype, &src, Some(&long), &mut out).unwrap_err();
        assert_eq!(error, Error::ElementCount { what: "importance", given: 2 * elements, wanted: elements });
        let error = quant::encode(dtype, &src, Some(&long[1..elements]), &mut out).unwrap_err();
        let block = dtype.block_elements();
        assert_eq!(error, Error::PartialBlock { dtype: dtype.name(), elements: elements - 1, block });
    }
}

/// Rows of two blocks that encoders meet seldom, with their names.
fn seldom(elements: usize) -> Vec<(&'static str, Vec<f32>)> {
    let wave = |i: usize| (i as f32 * 0.7).sin();
    let row = |f: &dyn Fn(usize) -> f32| (0..elements).map(f).collect();
    vec![
        ("zeros", vec![0.0; elements]),
        ("minus zeros", vec![-0.0; elements]),
        ("a constant", vec![0.3; elements]),
        ("a negative constant", vec![-0.3; elements]),
        ("one element", row(&|i| if i == 5 { -3.0 } else { 0.0 })),
        ("an outlier", row(&|i| if i == 7 { 1e3 } else { wave(i) })),
        ("far from zero", row(&|i| 40.0 + wave(i))),
        ("tiny", row(&|i| 1e-7 * wave(i))),
        ("below all f16", row(&|i| 1e-12 * wave(i))),
        ("subnormal", row(&|i| 1e-41 * wave(i))),
        ("large", row(&|i| 3e4 * wave(i))),
        ("half empty", row(&|i| if i % 64 < 32 { 0.0 } else { wave(i) })),
        ("ramp", row(&|i| i as f32 - elements as f32 / 2.0)),
    ]
}

#[test]
fn encoding_is_never_worse_than_zeros() {
    for format in quant::formats().iter().filter(|format| !format.dtype().is_plain()) {
        let dtype = format.dtype();
        let elements = 2 * dtype.block_elements();
        for (name, src) in seldom(elements) {
            let mut bytes = vec![0xaa; dtype.row_bytes(elements).unwrap()];
            quant::encode(dtype, &src, None, &mut bytes).unwrap();
            let back =
                decode_guarded(dtype.name(), elements, |out| quant::decode(dtype, &bytes, out).unwrap());
            let energy: f64 = src.iter().map(|x| f64::from(*x).powi(2)).sum();
            let error: f64 =
                src.iter().zip(&back).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            assert!(error <= energy * (1.0 + 1e-6), "{dtype}, {name}: error {error} of energy {energy}");
        }
    }
}

#[test]
fn the_largest_numbers_encode_to_finite_ones() {
    for format in quant::formats().iter().filter(|format| !format.dtype().is_plain()) {
        let dtype = format.dtype();
        if matches!(dtype, DType::Q8_1 | DType::Q8_K) {
            continue;
        }
        let elements = dtype.block_elements();
        let src: Vec<f32> = (0..elements).map(|i| if i % 3 == 0 { f32::MAX } else { -1e30 }).collect();
        let mut bytes = vec![0; dtype.row_bytes(elements).unwrap()];
        quant::encode(dtype, &src, None, &mut bytes).unwrap();
        let mut back = vec![f32::NAN; elements];
        quant::decode(dtype, &bytes, &mut back).unwrap();
        assert!(back.iter().all(|x| x.is_finite()), "{dtype}: {back:?}");
    }
}

#[test]
fn importance_lowers_the_error_where_it_lies() {
    for format in quant::formats().iter().filter(|format| !format.dtype().is_plain()) {
        let dtype = format.dtype();
        if matches!(dtype, DType::Q8_1 | DType::Q8_K) {
            continue;
        }
        let (columns, rows) = (2 * dtype.block_elements(), 4);
        let src: Vec<f32> = noise(4 * columns * rows, 77)
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| four.iter().map(|byte| f32::from(*byte) - 127.5).sum::<f32>() / 128.0)
            .collect();
        let importance: Vec<f32> = (0..columns).map(|i| if i % 5 == 0 { 100.0 } else { 0.01 }).collect();
        let error = |given: Option<&[f32]>| {
            let mut bytes = vec![0; dtype.row_bytes(src.len()).unwrap()];
            quant::encode(dtype, &src, given, &mut bytes).unwrap();
            let mut back = vec![f32::NAN; src.len()];
            quant::decode(dtype, &bytes, &mut back).unwrap();
            let off = src.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2));
            off.zip(importance.iter().cycle()).map(|(off, w)| off * f64::from(*w)).sum::<f64>()
        };
        let (with, without) = (error(Some(&importance)), error(None));
        assert!(with < without, "{dtype}: weighted error {with}, without weights {without}");
    }
}

#[test]
fn importance_of_zero_everywhere_is_no_importance() {
    for format in quant::formats() {
        let dtype = format.dtype();
        let columns = 2 * dtype.block_elements();
        let src: Vec<f32> = (0..columns).map(|i| (i as f32 * 0.9).sin()).collect();
        let encoded = |importance: Option<&[f32]>| {
            let mut bytes = vec![0; dtype.row_bytes(columns).unwrap()];
            quant::encode(dtype, &src, importance, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(encoded(Some(&vec![0.0; columns])), encoded(None), "{dtype}");
        assert_eq!(encoded(Some(&vec![1e-30; columns])), encoded(None), "{dtype}");
        assert_eq!(encoded(Some(&vec![f32::MAX; columns])), encoded(None), "{dtype}");
    }
}

#[test]
fn rounding_takes_what_is_no_number() {
    for dtype in [DType::Q4_0, DType::Q8_0, DType::Q8_1, DType::Q8_K] {
        let elements = 2 * dtype.block_elements();
        let mut src = vec![1.0; elements];
        src[3] = f32::NAN;
        src[elements - 1] = f32::INFINITY;
        let mut bytes = vec![0; dtype.row_bytes(elements).unwrap()];
        quant::quantise_row(dtype, &src, &mut bytes).unwrap();
        let mut back = vec![0.0; elements];
        quant::decode(dtype, &bytes, &mut back).unwrap();
        assert!((back[0] - 1.0).abs() < 0.01, "{dtype}: {} beside not-a-number", back[0]);
        assert_eq!(back[3], 0.0, "{dtype}");
    }
}

#[test]
fn mlx_planes_survive_extremes() {
    for dtype in DType::all() {
        for scale_type in SCALE_TYPES {
            let elements = 2 * dtype.block_elements();
            let Ok(sizes) = mlx::plane_bytes(dtype, scale_type, elements) else { continue };
            for (name, src) in seldom(elements) {
                let mut codes = vec![0xaa; sizes.codes];
                let (mut scales, mut biases) = (vec![0xaa; sizes.scales], vec![0xaa; sizes.biases]);
                let planes =
                    PlanesMut { codes: &mut codes, scales: &mut scales, biases: &mut biases, scale_type };
                mlx::encode(dtype, &src, planes).unwrap();
                let planes = Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
                let back =
                    decode_guarded(dtype.name(), elements, |out| mlx::decode(dtype, &planes, out).unwrap());
                let range = src.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                if dtype == DType::MlxNvfp4 && range > 448.0 * 6.0 {
                    continue;
                }
                let near = src.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 0.7 * range + 1e-6);
                assert!(near, "{dtype} with {scale_type} scales, {name}");
            }
            let bad = vec![f32::NAN; elements];
            let planes = PlanesMut {
                codes: &mut vec![0; sizes.codes],
                scales: &mut vec![0; sizes.scales],
                biases: &mut vec![0; sizes.biases],
                scale_type,
            };
            let error = mlx::encode(dtype, &bad, planes);
            assert!(matches!(error, Err(Error::BadValue { what: "src", index: 0, .. })));
        }
    }
}
