//! Floats without blocks: little-endian f32, f16 and bf16.
//!
//! Widening is exact. Narrowing rounds to nearest, ties to even; NaN stays NaN.

use half::{bf16, f16};

use super::block::Weights;

pub(super) fn decode_f32(bytes: &[u8], out: &mut [f32]) {
    for (element, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = f32::from_le_bytes(*element);
    }
}

pub(super) fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    for (element, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = f16::from_le_bytes(*element).to_f32();
    }
}

pub(super) fn decode_bf16(bytes: &[u8], out: &mut [f32]) {
    for (element, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = bf16::from_le_bytes(*element).to_f32();
    }
}

pub(super) fn encode_f32(src: &[f32], _weights: Weights<'_>, out: &mut [u8]) {
    for (x, out) in src.iter().zip(out.as_chunks_mut().0) {
        *out = x.to_le_bytes();
    }
}

pub(super) fn encode_f16(src: &[f32], _weights: Weights<'_>, out: &mut [u8]) {
    for (x, out) in src.iter().zip(out.as_chunks_mut().0) {
        *out = f16::from_f32(*x).to_le_bytes();
    }
}

pub(super) fn encode_bf16(src: &[f32], _weights: Weights<'_>, out: &mut [u8]) {
    for (x, out) in src.iter().zip(out.as_chunks_mut().0) {
        *out = bf16::from_f32(*x).to_le_bytes();
    }
}
