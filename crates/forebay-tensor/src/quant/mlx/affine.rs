//! MLX affine: groups of 32, 64 or 128 codes of 2, 3, 4, 5, 6 or 8 bits, a scale and a bias a group.
//!
//! An element is `scale * code + bias`. The scale may be negative: the bias is the element furthest from
//! zero, and the scale is bent so that zero lies on a code. The planes are drawn in the module above.

use half::{bf16, f16};

use super::{Planes, PlanesMut};
use crate::{Affine, DType, quant::block::u32_at};

pub(super) fn decode(affine: Affine, planes: &Planes<'_>, out: &mut [f32]) {
    let bits = affine.bits();
    let group_bytes = affine.group() * bits / 8;
    let groups = planes.codes.chunks_exact(group_bytes).zip(out.chunks_exact_mut(affine.group()));
    for (group, (codes, out)) in groups.enumerate() {
        let scale = float_at(planes.scale_type, planes.scales, group);
        let bias = float_at(planes.scale_type, planes.biases, group);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(code_at(codes, bits, i)) + bias;
        }
    }
}

pub(super) fn encode(affine: Affine, src: &[f32], planes: PlanesMut<'_>) {
    let bits = affine.bits();
    let top = ((1u32 << bits) - 1) as f32;
    let group_bytes = affine.group() * bits / 8;
    let groups = src.chunks_exact(affine.group()).zip(planes.codes.chunks_exact_mut(group_bytes));
    for (group, (x, codes)) in groups.enumerate() {
        let (scale, bias) = scale_and_bias(x, top);
        codes.fill(0);
        for (i, x) in x.iter().enumerate() {
            let code = ((x - bias) / scale).round_ties_even().clamp(0.0, top);
            put_code(codes, bits, i, code as u8);
        }
        put_float(planes.scale_type, planes.scales, group, scale);
        put_float(planes.scale_type, planes.biases, group, bias);
    }
}

/// The order of these operations is MLX's, so that the results are.
fn scale_and_bias(x: &[f32], top: f32) -> (f32, f32) {
    const LEAST: f32 = 1e-7;
    let low = x.iter().fold(f32::INFINITY, |low, x| low.min(*x));
    let high = x.iter().fold(f32::NEG_INFINITY, |high, x| high.max(*x));
    let scale = ((high - low) / top).max(LEAST);
    let (scale, edge) = if low.abs() > high.abs() { (scale, low) } else { (-scale, high) };
    let steps = (edge / scale).round_ties_even();
    if steps == 0.0 { (scale, 0.0) } else { (edge / steps, edge) }
}

/// Code `i` of the stream; none crosses more than one byte border.
fn code_at(codes: &[u8], bits: usize, i: usize) -> u8 {
    let (byte, shift) = (bits * i / 8, bits * i % 8);
    let next = codes.get(byte + 1).copied().unwrap_or(0);
    let both = u16::from_le_bytes([codes[byte], next]);
    (both >> shift) as u8 & (0xff >> (8 - bits))
}

/// Adds code `i` to a stream whose bits there are zero.
fn put_code(codes: &mut [u8], bits: usize, i: usize, code: u8) {
    let (byte, shift) = (bits * i / 8, bits * i % 8);
    let [low, high] = (u16::from(code) << shift).to_le_bytes();
    codes[byte] |= low;
    if high != 0 {
        codes[byte + 1] |= high;
    }
}

fn float_at(dtype: DType, plane: &[u8], i: usize) -> f32 {
    match dtype {
        DType::F16 => f16::from_le_bytes([plane[2 * i], plane[2 * i + 1]]).to_f32(),
        DType::BF16 => bf16::from_le_bytes([plane[2 * i], plane[2 * i + 1]]).to_f32(),
        _ => f32::from_bits(u32_at(plane, 4 * i)),
    }
}

fn put_float(dtype: DType, plane: &mut [u8], i: usize, value: f32) {
    match dtype {
        DType::F16 => plane[2 * i..2 * i + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes()),
        DType::BF16 => plane[2 * i..2 * i + 2].copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
        _ => plane[4 * i..4 * i + 4].copy_from_slice(&value.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_positive_only_where_the_lowest_is_furthest() {
        assert_eq!(scale_and_bias(&[-1.0, 0.5], 15.0), (0.1, -1.0));
        assert_eq!(scale_and_bias(&[-0.5, 1.0], 15.0), (-0.1, 1.0));
        assert_eq!(scale_and_bias(&[-1.0, 1.0], 15.0).0.signum(), -1.0);
    }

    #[test]
    fn groups_without_range_get_the_least_scale() {
        assert_eq!(scale_and_bias(&[0.0; 32], 15.0), (-1e-7, 0.0));
        let (scale, bias) = scale_and_bias(&[0.25; 32], 255.0);
        assert_eq!((scale, bias), (-1e-7, 0.25));
    }

    #[test]
    fn codes_of_every_width_come_back() {
        for bits in 1..=8 {
            let mut codes = [0; 32];
            let code = |i: usize| (i * 37 + 11) as u8 & (0xff >> (8 - bits));
            (0..32).for_each(|i| put_code(&mut codes, bits, i, code(i)));
            for i in 0..32 {
                assert_eq!(code_at(&codes[..4 * bits], bits, i), code(i), "{bits} bits, code {i}");
            }
        }
    }
}
