//! Rounded rows: activations as the integer kernels read them, 32 elements in 64 bytes.
//!
//! ```text
//! byte 0                         32      36        40            48         52               60
//!      | codes, 32 signed bytes | d f32 | sum i32 | sums 2 x i32 | dsum f32 | dsums 2 x f32 | nothing |
//! ```
//! An element is `d * code`. `sum` is that of all codes, `sums` those of the first and the last 16; `dsum` and `dsums`
//! are `d` times these. They meet what is the same for all codes of a weight's group: its zero and its minimum.
//! No file holds this type.

use bytemuck::{Pod, Zeroable};

/// Elements of a block.
pub(crate) const ELEMENTS: usize = 32;

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Rounded {
    pub(crate) codes: [i8; ELEMENTS],
    pub(crate) d: f32,
    pub(crate) sum: i32,
    pub(crate) sums: [i32; 2],
    pub(crate) dsum: f32,
    pub(crate) dsums: [f32; 2],
    nothing: u32,
}

impl Rounded {
    /// Rounds to nearest, ties to even; the element furthest from zero gets 127 or -127. Not-a-number becomes zero, and
    /// an infinity makes not-a-number of all that meets the block.
    #[inline(always)]
    pub(crate) fn of(x: &[f32; ELEMENTS]) -> Self {
        // Comparing bits orders magnitudes, puts infinity above all numbers, and lets not-a-number be told apart.
        const INFINITE: u32 = 0x7f80_0000;
        // A number this much larger has no bits left for fractions: the sum is rounded, and its low bits are the code.
        const WHOLE: f32 = 12_582_912.0;
        // All of it is loops over whole blocks that halve them at the end, for the sake of machines with long vectors.
        let mut magnitudes = [0; ELEMENTS];
        for (magnitude, x) in magnitudes.iter_mut().zip(x) {
            let bits = x.to_bits() & 0x7fff_ffff;
            *magnitude = if bits > INFINITE { 0 } else { bits };
        }
        let mut half = ELEMENTS / 2;
        while half > 0 {
            for i in 0..half {
                magnitudes[i] = magnitudes[i].max(magnitudes[i + half]);
            }
            half /= 2;
        }
        let d = f32::from_bits(magnitudes[0]) / 127.0;
        let inverse = if d == 0.0 || d == f32::INFINITY { 0.0 } else { 1.0 / d };
        let mut words = [0; ELEMENTS];
        for (word, x) in words.iter_mut().zip(x) {
            let x = if x.is_finite() { x * inverse } else { 0.0 };
            let rounded = x.clamp(-127.0, 127.0) + WHOLE;
            *word = rounded.to_bits().cast_signed() << 24 >> 24;
        }
        let mut codes = [0; ELEMENTS];
        for (code, word) in codes.iter_mut().zip(&words) {
            *code = *word as i8;
        }
        let mut sums = [0; 2];
        for (sum, words) in sums.iter_mut().zip(words.as_chunks_mut::<16>().0) {
            let mut half = 8;
            while half > 0 {
                for i in 0..half {
                    words[i] += words[i + half];
                }
                half /= 2;
            }
            *sum = words[0];
        }
        let sum = sums[0] + sums[1];
        let dsums = [d * sums[0] as f32, d * sums[1] as f32];
        Self { codes, d, sum, sums, dsum: d * sum as f32, dsums, nothing: 0 }
    }

    /// What rounding took from elements.
    #[inline(always)]
    pub(crate) fn rest(&self, x: &[f32; ELEMENTS]) -> [f32; ELEMENTS] {
        let mut rest = *x;
        for (rest, code) in rest.iter_mut().zip(&self.codes) {
            *rest -= self.d * f32::from(*code);
        }
        rest
    }
}

/// Turns blocks into elements.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn decode(blocks: &[Rounded], out: &mut [f32]) {
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<ELEMENTS>().0) {
        *out = block.codes.map(|code| block.d * f32::from(code));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_nearest_with_ties_to_even_and_sums_are_theirs() {
        let mut x = [0.0; ELEMENTS];
        x[..7].copy_from_slice(&[254.0, 1.0, 3.0, 5.0, -1.0, -3.1, -254.0]);
        x[16..18].copy_from_slice(&[-6.0, 8.0]);
        let block = Rounded::of(&x);
        assert_eq!(block.codes[..7], [127, 0, 2, 2, 0, -2, -127]);
        assert_eq!((block.d, block.sums, block.sum), (2.0, [2, 1], 3));
        assert_eq!((block.dsum, block.dsums), (6.0, [4.0, 2.0]));
    }

    #[test]
    fn what_is_no_number_counts_as_zero_and_an_infinity_spoils_its_block() {
        let mut x = [1.0; ELEMENTS];
        x[3] = f32::NAN;
        let block = Rounded::of(&x);
        assert_eq!((block.codes[2], block.codes[3], block.sum), (127, 0, 31 * 127));
        x[5] = f32::NEG_INFINITY;
        let mut out = [0.0; ELEMENTS];
        decode(&[Rounded::of(&x)], &mut out);
        assert!(out.iter().all(|x| x.is_nan()));
        assert_eq!(Rounded::of(&[0.0; ELEMENTS]), bytemuck::Zeroable::zeroed());
        assert_eq!(Rounded::of(&[1e-44; ELEMENTS]).sum, 0, "a scale of zero has codes of zero");
    }
}
