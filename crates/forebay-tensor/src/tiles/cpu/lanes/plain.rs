//! The plain level: what any machine can do, 16 rows in arrays. It is what the other levels are compared with.

use half::f16;

use super::{Job, Lanes};
use crate::quant::panel::ROWS;

/// The plain level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Lanes for Plain {
    const N: usize = ROWS;
    type Words = [u32; ROWS];
    type Floats = [f32; ROWS];

    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Output {
        job.run(self)
    }

    #[inline(always)]
    fn words(self, bytes: &[u8]) -> [u32; ROWS] {
        let quads = bytes.as_chunks::<4>().0;
        std::array::from_fn(|row| u32::from_le_bytes(quads[row]))
    }

    #[inline(always)]
    fn put_words(self, words: [u32; ROWS], bytes: &mut [u8]) {
        for (word, quad) in words.iter().zip(bytes.as_chunks_mut::<4>().0) {
            *quad = word.to_le_bytes();
        }
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> [u32; ROWS] {
        std::array::from_fn(|row| u32::from(bytes[row]))
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8]) -> [u32; ROWS] {
        std::array::from_fn(|row| i32::from(bytes[row].cast_signed()).cast_unsigned())
    }

    #[inline(always)]
    fn quad(self, bytes: [i8; 4]) -> [u32; ROWS] {
        [u32::from_le_bytes(bytes.map(i8::cast_unsigned)); ROWS]
    }

    #[inline(always)]
    fn integer(self, x: i32) -> [u32; ROWS] {
        [x.cast_unsigned(); ROWS]
    }

    #[inline(always)]
    fn mask(self, a: [u32; ROWS], byte: u8) -> [u32; ROWS] {
        a.map(|a| a & u32::from_ne_bytes([byte; 4]))
    }

    #[inline(always)]
    fn or(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|row| a[row] | b[row])
    }

    #[inline(always)]
    fn down(self, a: [u32; ROWS], bits: u32) -> [u32; ROWS] {
        a.map(|a| a >> bits)
    }

    #[inline(always)]
    fn up(self, a: [u32; ROWS], bits: u32) -> [u32; ROWS] {
        a.map(|a| a << bits)
    }

    #[inline(always)]
    fn mask_words(self, a: [u32; ROWS], word: u32) -> [u32; ROWS] {
        a.map(|a| a & word)
    }

    #[inline(always)]
    fn down_words(self, a: [u32; ROWS], bits: u32) -> [u32; ROWS] {
        a.map(|a| a >> bits)
    }

    #[inline(always)]
    fn up_words(self, a: [u32; ROWS], bits: u32) -> [u32; ROWS] {
        a.map(|a| a << bits)
    }

    #[inline(always)]
    fn flip(self, a: [u32; ROWS], byte: u8) -> [u32; ROWS] {
        a.map(|a| a ^ u32::from_ne_bytes([byte; 4]))
    }

    #[inline(always)]
    fn apart(self, a: [u32; ROWS], pair: usize) -> [u32; ROWS] {
        a.map(|a| {
            let two = a >> (16 * pair) & 0xffff;
            let pairs = (two | two << 8) & 0x00ff_00ff;
            (pairs | pairs << 4) & 0x0f0f_0f0f
        })
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], a: [u32; ROWS]) -> [u32; ROWS] {
        a.map(|a| u32::from_le_bytes(a.to_le_bytes().map(|code| table[usize::from(code & 15)])))
    }

    #[inline(always)]
    fn dot(self, sum: [u32; ROWS], a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        self.dot_wide(sum, a, b)
    }

    #[inline(always)]
    fn dot_wide(self, sum: [u32; ROWS], a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|row| {
            let (a, b) = (a[row].to_le_bytes(), b[row].to_le_bytes());
            let product = |i: usize| i32::from(a[i]) * i32::from(b[i].cast_signed());
            sum[row].wrapping_add_signed(product(0) + product(1) + product(2) + product(3))
        })
    }

    #[inline(always)]
    fn add_integers(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|row| a[row].wrapping_add(b[row]))
    }

    #[inline(always)]
    fn mul_integers(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|row| a[row].wrapping_mul(b[row]))
    }

    #[inline(always)]
    fn floats(self, a: [u32; ROWS]) -> [f32; ROWS] {
        a.map(|a| a.cast_signed() as f32)
    }

    #[inline(always)]
    fn float(self, x: f32) -> [f32; ROWS] {
        [x; ROWS]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> [f32; ROWS] {
        std::array::from_fn(|row| from[row])
    }

    #[inline(always)]
    fn f32s(self, bytes: &[u8]) -> [f32; ROWS] {
        let words = bytes.as_chunks::<4>().0;
        std::array::from_fn(|row| f32::from_le_bytes(words[row]))
    }

    #[inline(always)]
    fn f16s(self, bytes: &[u8]) -> [f32; ROWS] {
        let halves = bytes.as_chunks::<2>().0;
        std::array::from_fn(|row| f16::from_le_bytes(halves[row]).to_f32_const())
    }

    #[inline(always)]
    fn bf16s(self, bytes: &[u8]) -> [f32; ROWS] {
        let halves = bytes.as_chunks::<2>().0;
        std::array::from_fn(|row| f32::from_bits(u32::from(u16::from_le_bytes(halves[row])) << 16))
    }

    #[inline(always)]
    fn store(self, a: [f32; ROWS], to: &mut [f32]) {
        to[..ROWS].copy_from_slice(&a);
    }

    #[inline(always)]
    fn add(self, a: [f32; ROWS], b: [f32; ROWS]) -> [f32; ROWS] {
        std::array::from_fn(|row| a[row] + b[row])
    }

    #[inline(always)]
    fn mul(self, a: [f32; ROWS], b: [f32; ROWS]) -> [f32; ROWS] {
        std::array::from_fn(|row| a[row] * b[row])
    }

    #[inline(always)]
    fn widen(self, halves: &[u8; 2 * ROWS]) -> [f32; ROWS] {
        let halves = halves.as_chunks::<2>().0;
        std::array::from_fn(|row| f16::from_le_bytes(halves[row]).to_f32_const())
    }

    #[inline(always)]
    fn fetch(self, _: &[u8], _: usize) {}
}
