//! Any bytes of any type and shape as a weight: an error, or a weight whose rows are those of the decoder, and whose
//! product is the same on every level of the CPU and writes nothing but its output.

#![no_main]

#[path = "../../crates/forebay-tensor/tests/formats/any.rs"]
mod any;

use arbitrary::Arbitrary;
use forebay_tensor::{DType, WeightBytes};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    dtype: u8,
    scale_type: u8,
    /// Taken as it is, or cut down so that there is enough memory for it.
    shape: (usize, usize),
    /// Whether bytes are repeated until they suit the shape.
    suits: bool,
    bytes: &'a [u8],
    rows_of_x: Vec<Vec<f32>>,
}

fuzz_target!(|input: Input<'_>| {
    let all: Vec<DType> = DType::all().collect();
    let dtype = all[usize::from(input.dtype) % all.len()];
    let scale_type = any::SCALE_TYPES[usize::from(input.scale_type) % any::SCALE_TYPES.len()];
    let (rows, width) = input.shape;
    if input.suits {
        let shape = [rows % 40, width % 9 * dtype.block_elements()];
        any::weight(dtype, scale_type, shape, input.bytes, &input.rows_of_x[..input.rows_of_x.len().min(5)]);
    } else if let Ok(bytes) = WeightBytes::of(dtype, [rows, width], input.bytes) {
        let wanted = dtype.row_bytes(width).unwrap().checked_mul(rows);
        assert_eq!(wanted, Some(input.bytes.len()), "{bytes:?}");
    }
});
