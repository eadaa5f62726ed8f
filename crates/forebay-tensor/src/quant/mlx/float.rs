//! MLX's floats: mxfp4 (E2M1, an E8M0 scale for 32), mxfp8 (E4M3, likewise), nvfp4 (E2M1, an E4M3 scale for
//! 16).
//!
//! An element is its group's scale times the value of its code; codes lie in order, two a byte or one. The
//! scale 255 of the first two is infinite, as MLX computes it. The planes are drawn in the module above.

use super::{Planes, PlanesMut};
use crate::quant::small_float::{E2M1_DOUBLED, e4m3_magnitude, e8m0_half, nearest_e4m3};

pub(super) fn decode_mxfp4(planes: &Planes<'_>, out: &mut [f32]) {
    decode_4_bits(planes, out, 32, power_of_two);
}

pub(super) fn decode_nvfp4(planes: &Planes<'_>, out: &mut [f32]) {
    decode_4_bits(planes, out, 16, signed_e4m3);
}

pub(super) fn decode_mxfp8(planes: &Planes<'_>, out: &mut [f32]) {
    let groups = planes.codes.chunks_exact(32).zip(out.chunks_exact_mut(32));
    for ((codes, out), scale) in groups.zip(planes.scales) {
        let scale = power_of_two(*scale);
        for (code, out) in codes.iter().zip(out) {
            *out = signed_e4m3(*code) * scale;
        }
    }
}

pub(super) fn encode_mxfp4(src: &[f32], planes: PlanesMut<'_>) {
    for ((x, codes), scale) in src.chunks_exact(32).zip(planes.codes.chunks_exact_mut(16)).zip(planes.scales)
    {
        *scale = power_above(furthest(x) / 6.0);
        encode_4_bits(x, power_of_two(*scale), codes);
    }
}

pub(super) fn encode_nvfp4(src: &[f32], planes: PlanesMut<'_>) {
    for ((x, codes), scale) in src.chunks_exact(16).zip(planes.codes.chunks_exact_mut(8)).zip(planes.scales) {
        *scale = nearest_e4m3(furthest(x) / 6.0);
        encode_4_bits(x, e4m3_magnitude(*scale), codes);
    }
}

pub(super) fn encode_mxfp8(src: &[f32], planes: PlanesMut<'_>) {
    for ((x, codes), scale) in src.chunks_exact(32).zip(planes.codes.chunks_exact_mut(32)).zip(planes.scales)
    {
        *scale = power_above(furthest(x) / 448.0);
        for (x, code) in x.iter().zip(codes) {
            let x = x / power_of_two(*scale);
            *code = nearest_e4m3(x.abs()) | u8::from(x.is_sign_negative()) << 7;
        }
    }
}

fn decode_4_bits(planes: &Planes<'_>, out: &mut [f32], group: usize, scale_of: impl Fn(u8) -> f32) {
    let groups = planes.codes.chunks_exact(group / 2).zip(out.chunks_exact_mut(group));
    for ((codes, out), scale) in groups.zip(planes.scales) {
        let scale = scale_of(*scale);
        for (i, out) in out.iter_mut().enumerate() {
            let code = codes[i / 2] >> (4 * (i % 2)) & 15;
            *out = signed_e2m1(code) * scale;
        }
    }
}

/// Codes of the elements divided by the scale; a scale of zero makes all codes zero.
fn encode_4_bits(x: &[f32], scale: f32, codes: &mut [u8]) {
    for (pair, byte) in x.chunks_exact(2).zip(codes) {
        *byte = nearest_e2m1(pair[0] / scale) | nearest_e2m1(pair[1] / scale) << 4;
    }
}

fn furthest(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |most, x| most.max(x.abs()))
}

/// What an E2M1 code is worth; the code 8 is minus zero.
fn signed_e2m1(code: u8) -> f32 {
    let doubled = f32::from(E2M1_DOUBLED[usize::from(code & 15)]);
    if code == 8 { -0.0 } else { doubled * 0.5 }
}

/// The E2M1 code nearest to `x`; ties go towards zero, and zero has no sign. What is no finite number becomes
/// zero.
fn nearest_e2m1(x: f32) -> u8 {
    const MIDDLES: [f32; 7] = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0];
    if !x.is_finite() {
        return 0;
    }
    let magnitude = MIDDLES.iter().filter(|middle| x.abs() > **middle).count() as u8;
    if magnitude == 0 || x > 0.0 { magnitude } else { magnitude | 8 }
}

fn signed_e4m3(code: u8) -> f32 {
    if code >> 7 == 1 { -e4m3_magnitude(code) } else { e4m3_magnitude(code) }
}

/// The power of two that an E8M0 code names.
fn power_of_two(code: u8) -> f32 {
    e8m0_half(code) * 2.0
}

/// The E8M0 code of the least power of two that is not below `scale`; zero counts as one.
fn power_above(scale: f32) -> u8 {
    if scale == 0.0 {
        return 127;
    }
    (scale.log2().ceil() + 127.0).clamp(0.0, 254.0) as u8
}
