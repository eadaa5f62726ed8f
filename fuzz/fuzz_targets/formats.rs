//! Any bytes as blocks or planes of any format: they decode to as many numbers as they hold, and nothing else is touched.

#![no_main]

#[path = "../../crates/forebay-tensor/tests/formats/any.rs"]
#[allow(dead_code, reason = "decoders only")]
mod any;

use any::{SCALE_TYPES, decode_guarded};
use arbitrary::Arbitrary;
use forebay_tensor::{
    DType, Error,
    quant::{
        self,
        mlx::{self, Planes},
    },
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    dtype: u8,
    scale_type: u8,
    /// How many elements are asked for too few or too many.
    off: i8,
    bytes: &'a [u8],
    scales: &'a [u8],
    /// What a row is encoded from.
    numbers: Vec<f32>,
}

fn blocks(dtype: DType, input: &Input<'_>) {
    let decode = |bytes: &[u8], elements| {
        decode_guarded(dtype.name(), elements, |out| quant::decode(dtype, bytes, out).unwrap());
    };
    let whole = input.bytes.len() / dtype.block_bytes();
    let bytes = &input.bytes[..whole * dtype.block_bytes()];
    let elements = whole * dtype.block_elements();
    decode(bytes, elements);
    let other = elements.saturating_add_signed(input.off.into());
    if other != elements {
        assert!(quant::decode(dtype, bytes, &mut vec![0.0; other]).is_err());
    }
    let row = &input.numbers[..input.numbers.len() / dtype.block_elements() * dtype.block_elements()];
    let mut encoded = vec![0; dtype.row_bytes(row.len()).unwrap()];
    match quant::encode(dtype, row, None, &mut encoded) {
        Ok(()) => decode(&encoded, row.len()),
        Err(error) => assert!(matches!(error, Error::BadValue { what: "src", .. }), "{error}"),
    }
    if quant::quantise_row(dtype, row, &mut encoded).is_ok() {
        decode(&encoded, row.len());
    }
}

fn planes(dtype: DType, input: &Input<'_>) {
    let scale_type = SCALE_TYPES[usize::from(input.scale_type) % SCALE_TYPES.len()];
    let Ok(one) = mlx::plane_bytes(dtype, scale_type, dtype.block_elements()) else { return };
    let groups = (input.bytes.len() / one.codes).min(input.scales.len() / (one.scales + one.biases));
    let (scales, biases) = input.scales.split_at(groups * one.scales);
    let planes = Planes {
        codes: &input.bytes[..groups * one.codes],
        scales,
        biases: &biases[..groups * one.biases],
        scale_type,
    };
    let elements = groups * dtype.block_elements();
    decode_guarded(dtype.name(), elements, |out| mlx::decode(dtype, &planes, out).unwrap());
    let other = elements.saturating_add_signed(input.off.into());
    if other != elements {
        assert!(mlx::decode(dtype, &planes, &mut vec![0.0; other]).is_err());
    }
}

fuzz_target!(|input: Input<'_>| {
    let all: Vec<DType> = DType::all().collect();
    let dtype = all[usize::from(input.dtype) % all.len()];
    if quant::format_of(dtype).is_ok() {
        blocks(dtype, &input);
    } else {
        assert!(quant::decode(dtype, input.bytes, &mut [0.0; 256]).is_err());
    }
    planes(dtype, &input);
});
