//! MXFP4 of GGUF: 32 floats of 4 bits in 17 bytes.
//!
//! ```text
//! byte 0        1                 17
//!      | e E8M0 | codes, 16 bytes |
//! ```
//! Byte `j` of the codes holds element `j` in its low half and element `j + 16` in its high half. An element
//! is `2^(e - 127)` times the E2M1 value of its code. The code 255, not-a-number elsewhere, counts as 2^128
//! here, as other readers of these files take it.

use super::{
    block::{Weights, encode_blocks, for_each_block, pack_halves},
    search,
    small_float::{E2M1_DOUBLED, E2m1Doubled, e8m0_half},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 17], out: &mut [f32; 32]| {
        let d = e8m0_half(block[0]);
        for j in 0..16 {
            let byte = block[1 + j];
            out[j] = d * f32::from(E2M1_DOUBLED[usize::from(byte & 15)]);
            out[j + 16] = d * f32::from(E2M1_DOUBLED[usize::from(byte >> 4)]);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], w, block: &mut [u8; 17]| {
        let e = best_exponent(x, w);
        let mut codes = [0; 32];
        search::codes(x, e8m0_half(e), E2m1Doubled, &mut codes);
        block[0] = e;
        pack_halves(&codes, &mut block[1..]);
    });
}

/// The exponent that lets the furthest element land on 6 or below, or one beside it.
fn best_exponent(x: &[f32; 32], w: &[f32; 32]) -> u8 {
    // With any larger exponent the code of 6 would be infinite.
    const LARGEST: i32 = 252;
    let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let biased = i32::from((most.to_bits() >> 23) as u8).min(253);
    // Errors are compared with the furthest element brought to about 1, where no square can overflow.
    let near_one = x.map(|x| x * f32::from_bits((254 - biased as u32) << 23));
    let error = |below: i32| search::outcome(&near_one, w, e8m0_half((127 - below) as u8), E2m1Doubled).error;
    let candidates = (biased - LARGEST).max(0)..=4;
    let below = candidates.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0);
    (biased - below).max(0) as u8
}
