//! TQ1_0: 256 elements -1, 0 or 1 times a scale in 54 bytes, five to a byte.
//!
//! ```text
//! byte 0                              48                              52      54
//!      | digits of 0 to 239, 48 bytes | digits of 240 to 255, 4 bytes | d f16 |
//! ```
//! A byte is five ternary digits read as a fraction: `ceil(256 * 0.abcde)` in base 3. The digits of one byte
//! lie far apart: of byte `m < 32` they are elements `32 n + m`, of byte `32 + m` elements `160 + 16 n + m`,
//! and the last four bytes hold four digits each, elements `240 + 4 n + m`.
//! An element is `d * (digit - 1)`.

use super::{
    block::{Weights, encode_blocks, f16_at, for_each_block, put_f16},
    search::{self, Integers},
};

pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for_each_block(bytes, out, |block: &[u8; 54], out: &mut [f32; 256]| {
        let d = f16_at(block, 52);
        for (i, out) in out.iter_mut().enumerate() {
            let (byte, digit) = place(i);
            *out = d * (f32::from(digit_of(block[byte], digit)) - 1.0);
        }
    });
}

pub(super) fn encode(src: &[f32], weights: Weights<'_>, out: &mut [u8]) {
    encode_blocks(src, weights, out, |x: &[f32; 256], w, block: &mut [u8; 54]| {
        let levels = Integers { low: -1, high: 1 };
        let d = search::best_scale(x, w, levels, search::as_f16);
        let mut codes = [0; 256];
        search::codes(x, d, levels, &mut codes);
        let mut digits = [0u16; 52];
        for (i, code) in codes.iter().enumerate() {
            let (byte, digit) = place(i);
            digits[byte] += u16::from(*code) * 3u16.pow(4 - digit);
        }
        for (digits, byte) in digits.iter().zip(&mut block[..52]) {
            *byte = (digits * 256).div_ceil(243) as u8;
        }
        put_f16(block, 52, d);
    });
}

/// Byte and digit of an element.
fn place(element: usize) -> (usize, u32) {
    let (byte, digit) = match element {
        0..160 => (element % 32, element / 32),
        160..240 => (32 + element % 16, (element - 160) / 16),
        _ => (48 + element % 4, (element - 240) / 4),
    };
    (byte, digit as u32)
}

/// Multiplying by 3 moves the next digit above the point; what is left of it falls off.
fn digit_of(byte: u8, digit: u32) -> u8 {
    let rest = byte.wrapping_mul(3u8.pow(digit));
    ((u16::from(rest) * 3) >> 8) as u8
}
