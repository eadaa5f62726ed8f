//! NVFP4 of GGUF: 64 floats of 4 bits in 36 bytes, in four parts of 16.
//!
//! ```text
//! byte 0                  4                 36
//!      | scales, 4 x E4M3 | codes, 32 bytes |
//! ```
//! Code byte `8 p + j` holds element `16 p + j` in its low half and `16 p + 8 + j` in its high half. An
//! element is its part's scale times the E2M1 value of its code. Scales have no sign; the code 127 counts as
//! zero, as other readers take it.

use super::{
    block::{Weights, encode_blocks, for_each_block},
    search,
    small_float::{E2M1_DOUBLED, E2m1Doubled, e4m3_magnitude, nearest_e4m3},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 36], out: &mut [f32; 64]| {
        for part in 0..4 {
            let d = half_scale(block[part]);
            for j in 0..8 {
                let byte = block[4 + 8 * part + j];
                out[16 * part + j] = d * f32::from(E2M1_DOUBLED[usize::from(byte & 15)]);
                out[16 * part + 8 + j] = d * f32::from(E2M1_DOUBLED[usize::from(byte >> 4)]);
            }
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 64], w: &[f32; 64], block: &mut [u8; 36]| {
        for part in 0..4 {
            let here = 16 * part..16 * part + 16;
            let (x, w) = (&x[here.clone()], &w[here]);
            let scale = best_scale(x, w);
            let mut codes = [0; 16];
            search::codes(x, half_scale(scale), E2m1Doubled, &mut codes);
            block[part] = scale;
            for j in 0..8 {
                block[4 + 8 * part + j] = codes[j] | codes[j + 8] << 4;
            }
        }
    });
}

/// A scale that lets the furthest element land between 4 and a little above 6.
fn best_scale(x: &[f32], w: &[f32]) -> u8 {
    let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let first = nearest_e4m3(most / 6.0);
    let error = |code: u8| search::outcome(x, w, half_scale(code), E2m1Doubled).error;
    let candidates = first.saturating_sub(3)..=first.saturating_add(6).min(126);
    candidates.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0)
}

/// Half of a scale: it meets values that are doubled.
fn half_scale(code: u8) -> f32 {
    if code == 127 { 0.0 } else { e4m3_magnitude(code) * 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_that_is_no_number_counts_as_zero() {
        let mut block = [0x77; 36];
        block[..4].copy_from_slice(&[127, 126, 0, 255]);
        let mut out = [1.0; 64];
        decode(&block, &mut out);
        assert_eq!([out[0], out[16], out[32], out[48]], [0.0, 448.0 * 6.0, 0.0, 480.0 * 6.0]);
    }
}
