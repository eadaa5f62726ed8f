//! Rounding of rows to nearest: what activations and caches go through at every step.
//!
//! Nothing is searched here; each block takes its scale from the element furthest from zero. The layouts are
//! drawn in the files of the formats. Input may be anything: not-a-number becomes the code of zero, and the
//! scale of a block with an infinity is infinite or not a number.

use super::block::{Weights, encode_blocks, pack_halves, put_f16};

/// Codes of 4 bits; the furthest element gets -8.
pub(super) fn q4_0(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], _, block: &mut [u8; 18]| {
        let d = furthest(x) / -8.0;
        let inverse = inverse_of(d);
        put_f16(block, 0, d);
        let codes = x.map(|x| if x.is_nan() { 8 } else { ((x * inverse + 8.5) as u8).min(15) });
        pack_halves(&codes, &mut block[2..]);
    });
}

/// Codes of 8 bits; the furthest element gets 127 or -127.
pub(super) fn q8_0(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], _, block: &mut [u8; 34]| {
        let (d, codes) = eight_bits(x);
        put_f16(block, 0, d);
        block[2..].copy_from_slice(&codes.map(|code| code as u8));
    });
}

/// As [`q8_0`], with the scaled sum of the codes.
pub(super) fn q8_1(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 32], _, block: &mut [u8; 36]| {
        let (d, codes) = eight_bits(x);
        let sum = codes.iter().copied().map(i32::from).sum::<i32>();
        put_f16(block, 0, d);
        put_f16(block, 2, sum as f32 * d);
        block[4..].copy_from_slice(&codes.map(|code| code as u8));
    });
}

/// Codes of 8 bits over 256 elements; the furthest gets -127, ties go to the even code.
pub(super) fn q8_k(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], _, block: &mut [u8; 292]| {
        let furthest = furthest(x);
        let inverse = if furthest == 0.0 { 0.0 } else { -127.0 / furthest };
        let codes = x.map(|x| (x * inverse).round_ties_even() as i8);
        block[..4].copy_from_slice(&inverse_of(inverse).to_le_bytes());
        block[4..260].copy_from_slice(&codes.map(|code| code as u8));
        for (codes, sum) in codes.as_chunks::<16>().0.iter().zip(block[260..].as_chunks_mut().0) {
            *sum = codes.iter().copied().map(i16::from).sum::<i16>().to_le_bytes();
        }
    });
}

fn eight_bits(x: &[f32; 32]) -> (f32, [i8; 32]) {
    let d = furthest(x).abs() / 127.0;
    let inverse = inverse_of(d);
    (d, x.map(|x| (x * inverse).round() as i8))
}

/// The element furthest from zero, the first of several.
fn furthest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |a: f32, b| if b.abs() > a.abs() { *b } else { a })
}

/// 1 over `scale`, and 0 for a scale of 0.
fn inverse_of(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero_in_blocks_of_32_and_to_even_in_blocks_of_256() {
        let mut x = [0.0; 256];
        x[..6].copy_from_slice(&[127.0, 0.5, 1.5, 2.5, -2.5, -3.5]);
        let (mut small, mut large) = ([0; 34], [0; 292]);
        q8_0(&x[..32], Weights::new(None), &mut small);
        q8_k(&x, Weights::new(None), &mut large);
        assert_eq!(small[2..8].iter().map(|code| *code as i8).collect::<Vec<_>>(), [127, 1, 2, 3, -3, -4]);
        assert_eq!(large[4..10].iter().map(|code| *code as i8).collect::<Vec<_>>(), [-127, 0, -2, -2, 2, 4]);
        assert_eq!(i16::from_le_bytes([large[260], large[261]]), -125);
    }
}
